"""Which promises a spec breaks."""

from __future__ import annotations

from pathlib import Path

from ddeep.registry.specs import Spec
from ddeep.testing import BrokenPromise, Check, Unchecked
from ddeep.testing.contract import _promises


def broken(kind: str, spec: Spec, tmp_path: Path, only: str = "") -> dict[str, str]:
    """The promises that ``spec`` breaks, with the messages; with ``only``, of that one promise."""
    found = {}
    for promise in _promises(kind, spec):
        if only in ("", promise.text):
            try:
                Check(kind, spec, promise, tmp_path)()
            except BrokenPromise as error:
                found[promise.text] = str(error)
            except Unchecked:
                pass
    return found
