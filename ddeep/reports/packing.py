"""Tables of numbers, small enough for a page: their bytes, which its script reads as they are."""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Literal

import numpy as np
from torch import Tensor

Kind = Literal["u1", "i1", "u2", "i2", "u4", "i4", "f4"]


def packed(values: Tensor, kind: Kind) -> dict[str, Any]:
    """The numbers in row order, little-endian: ``kind`` says the type, as NumPy does, ``shape`` the axes."""
    raw = np.ascontiguousarray(values.numpy(), dtype=f"<{kind}").tobytes()
    return {"kind": kind, "shape": list(values.shape), "bytes": b64encode(raw).decode("ascii")}


def scaled(values: Tensor, levels: int = 32767) -> dict[str, Any]:
    """Numbers as whole multiples of a step, ``levels`` of which reach their largest magnitude; NaN becomes 0.

    With 32767 levels an entry takes two bytes, and is off by at most 1/65534 of the largest; with 127 one, and 1/254.
    """
    known = values.double().nan_to_num()
    step = float(known.abs().max()) / levels if known.numel() else 0.0
    whole = (known / step).round() if step else known
    return {**packed(whole, "i2" if levels > 127 else "i1"), "step": step}
