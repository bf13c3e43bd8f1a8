"""How the C library hands memory back to the system: for a network's passes, better not at all."""

from __future__ import annotations

import ctypes
import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's <malloc.h>
_MOST = 2**31 - 1
_OLD_MOST = 2**25  # what glibc before 2.35 takes for the second


def keep_freed_memory() -> bool:
    """Make glibc keep what is freed; False where the C library is another, which is left as it is.

    A forward pass frees and asks for the same feature maps batch after batch. By default glibc returns megabytes to
    the system at once and has them back a page at a time, zeroed: a third of a pass (benchmarks/log.md). The
    process's peak stays what it was. Process-wide, so for a process that is ddeep's own.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    kept = mallopt(_TRIM_THRESHOLD, _MOST)
    mapped = mallopt(_MMAP_THRESHOLD, _MOST) or mallopt(_MMAP_THRESHOLD, _OLD_MOST)
    return bool(kept and mapped)


# torchvision registers fake kernels for these two while it is being imported.
_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class _TorchvisionRepair:
    """Declares torchvision's box operators where its compiled library cannot be loaded.

    The package index carries torchvision built for CUDA only. Beside a CPU build of torch its library does not load,
    and `import torchvision` (hence `import timm`) ends with "operator torchvision::nms does not exist".
    Models and transforms need none of its operators, so declaring them is enough.
    """

    def find_spec(
        self,
        fullname: str,
        path: Any,  # of strings or None; that of a namespace package is not quite a sequence
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            _declare_missing_operators(Path(spec.origin).parent)
        return spec


def _declare_missing_operators(package: Path) -> None:
    import torch

    for library in package.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except OSError:
            continue
    for name, schema in _SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


def repair_torchvision_imports() -> None:
    """Make the next `import torchvision` succeed beside a CPU build of torch. Costs nothing until then."""
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _TorchvisionRepair())
