"""Tensors to a safetensors file, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from .atomic import written_whole


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Replace the file at ``path``. A failure (a full disk, say) leaves the one before it.

    Tensors that share memory (tied weights) are each written in full: the format knows no ties. With one entry of
    metadata at most, the same tensors give the same bytes; the library writes several in any order.
    """
    plain: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        there = tensor.detach().cpu().contiguous()
        memory = there.untyped_storage().data_ptr()  # views of one tensor share it, wherever they begin
        plain[name] = there.clone() if memory in seen else there
        seen.add(memory)
    data = save(plain, dict(metadata or {}))
    with written_whole(path) as temporary:
        temporary.write_bytes(data)
