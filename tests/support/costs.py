"""What code costs without a clock: multiplications of products and gathers, and the most bytes of tensors at once."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Costs(TorchDispatchMode):
    """Counts while it is entered: ``products`` (multiply-adds), ``exponentials``, and ``peak`` of bytes made within."""

    def __init__(self) -> None:
        super().__init__()
        self.products = self.exponentials = self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for given in torch.utils._pytree.tree_leaves((args, kwargs)):
            if isinstance(given, Tensor):
                self._meet(given, new=False)
        out = func(*args, **(kwargs or {}))
        self._count(func, args, out)
        for made in torch.utils._pytree.tree_leaves(out):
            if isinstance(made, Tensor):
                self._meet(made, new=True)
        return out

    def _meet(self, tensor: Tensor, *, new: bool) -> None:
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes() if new else 0
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size

    def _count(self, func: Any, args: Any, out: Any) -> None:
        name = func.overloadpacket
        if name in (aten.mm, aten.bmm):
            self.products += out.numel() * args[0].shape[-1]
        elif name in (aten.addmm, aten.baddbmm):
            self.products += out.numel() * args[1].shape[-1]
        elif name in (aten._embedding_bag, aten._embedding_bag_forward_only):
            self.products += args[1].numel() * args[0].shape[1]
        elif name is aten._embedding_bag_per_sample_weights_backward:
            self.products += args[2].numel() * args[1].shape[1]
        elif name in (aten.exp, aten.exp_, aten._softmax):
            self.exponentials += out.numel()
