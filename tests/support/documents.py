"""Documents on disk, without the seal that vouches for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_document(path: Path) -> dict[str, Any]:
    """A document as a command returns it. Written back as plain JSON it is one that nobody vouches for."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del document["sealed"]
    return document
