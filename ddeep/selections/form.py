"""The forms that a head's weights may take, from the freest on (docs/mathematics.md, Forms of a head)."""

from __future__ import annotations

from typing import Literal, get_args

HeadForm = Literal["real", "shared", "ternary", "binary"]
FORMS: tuple[HeadForm, ...] = get_args(HeadForm)
