"""Damage, as hypothesis draws it: bytes flipped, cut, doubled and spliced; JSON values replaced, removed and moved."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

_TOKENS = [
    b"\x00", b"\xff" * 8, b"[" * 50, b"{" * 50, b'"', b"\\u0000", b"\x1b[31m", b"../../", b"NaN", b"-1", b"1e999",
    b"9" * 400, b"null", b"\xe2\x80\xae", b"\r\n", b"PK\x03\x04", b"\x80\x02", b"cposix\nsystem\n", b"R.", b"\x93NUMPY",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of the valid files, damaged in one to four places."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        place, length = draw(st.integers(0, len(content) - 1)), draw(st.integers(1, 64))
        kind = draw(st.sampled_from(["flip", "set", "cut", "drop", "double", "insert", "splice", "number"]))
        if kind == "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set":
            content[place] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[place:]
        elif kind == "drop":
            del content[place : place + length]
        elif kind == "double":
            content[place:place] = content[place : place + length]
        elif kind == "insert":
            content[place:place] = draw(st.sampled_from(_TOKENS))
        elif kind == "splice":
            other = draw(st.sampled_from(seeds))
            start = draw(st.integers(0, len(other)))
            content[place : place + length] = other[start : start + length]
        else:
            width = draw(st.sampled_from([1, 2, 4, 8]))
            number = draw(st.sampled_from([0, 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1]))
            content[place : place + width] = number.to_bytes(width, "little")
    return bytes(content)


_SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308, float("inf"), float("nan"), 0.5])
    | st.integers()
    | st.floats()
    | st.sampled_from(
        ["", "\x1b]0;title\x07", "../../etc/passwd", "/dev/zero", "\x00", "\ud800", "a" * 5000, "0", "nan"]
    )
    | st.text(max_size=8)
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every container of the document with every key in it."""
    found, waiting = [], [document]
    while waiting:
        parent = waiting.pop()
        keys = list(parent) if isinstance(parent, dict) else range(len(parent)) if isinstance(parent, list) else ()
        found += [(parent, key) for key in keys]
        waiting += [parent[key] for key in keys]
    return found


@st.composite
def rewritten(draw: st.DrawFn, documents: Sequence[dict[str, Any]]) -> bytes:
    """One of the valid documents with one to three of its values replaced, removed, doubled or exchanged."""
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(["replace", "replace", "remove", "double", "exchange", "deepen"]))
        if kind == "replace":
            parent[key] = draw(VALUES)
        elif kind == "remove":
            del parent[key]
        elif kind == "double" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == "double":
            parent[draw(st.text(max_size=6))] = copy.deepcopy(parent[key])
        elif kind == "exchange":
            other, there = draw(st.sampled_from(places))
            parent[key] = copy.deepcopy(other[there])
        else:
            for _ in range(draw(st.sampled_from([1, 5, 100]))):
                parent[key] = [parent[key]]
    return json.dumps(document).encode("utf-8", "surrogatepass")
