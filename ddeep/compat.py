"""Repairs for libraries that do not import everywhere they install."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

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
