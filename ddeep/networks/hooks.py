"""Forward hooks: set and removed in one place, and pooling a layer's output on the spot, so that no map outlives it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Self

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from ..errors import ConfigError
from .layer import INPUT, Layer, check_output, get_module, maps_of, pool_responses, sum_positions
from .logits import read_logits

Look = Callable[[Tensor], Tensor]  # maps (N, K, positions) to something an image each: (N, K), (N, K, …)
Extra = str | Look
Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]


class _Finished(Exception):  # noqa: N818 - a jump out of the forward pass, not an error
    """Raised once the last tapped layer has been read."""


@contextmanager
def forward_hooks(module: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """While the block runs, each named submodule shows its inputs and output to its hook, which may return another.

    Under ``<name>:input`` the output is what the submodule is about to be given. The hooks are gone afterwards,
    whatever happens. Raises ConfigError for a name that is none, before any is set.
    """
    found = [(get_module(module, name.removesuffix(INPUT)), name, hook) for name, hook in hooks.items()]
    with ExitStack() as stack:
        for submodule, name, hook in found:
            if name.endswith(INPUT):
                handle = submodule.register_forward_pre_hook(partial(_before, hook))
            else:
                handle = submodule.register_forward_hook(hook)
            stack.callback(handle.remove)
        yield


def _before(hook: Hook, submodule: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Show ``hook`` the first of the inputs, and put what it returns in its place."""
    other = hook(submodule, inputs, inputs[0] if inputs else None)
    return None if other is None else (other, *inputs[1:])


class ResponseHooks:
    """Reads layers of a module while it runs. A context manager: the hooks are gone when it ends, whatever happens.

    A module called several times in one forward pass is read at its last call. ``extras`` are the names of what
    statistics need beyond responses, or functions of the maps ``(N, K, positions)``, called on the spot. Without
    logits to compute, the pass stops after the last tapped layer.
    """

    def __init__(self, module: nn.Module, layers: Iterable[Layer], extras: Collection[Extra] = ()) -> None:
        self.module = module
        self.layers = {layer.name: layer for layer in layers}
        self.extras = frozenset(extras)
        self.responses: dict[str, Tensor] = {}
        self.zeros: dict[str, Tensor] = {}
        self.looked: dict[str, dict[Look, Tensor]] = {}
        self._outputs: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self._latest: tuple[str, int] | None = None
        self._last: tuple[str, int] | None = None
        self._stack = ExitStack()

    @property
    def gradients(self) -> bool:
        """Whether a backward pass is asked for."""
        return "gradient_activation" in self.extras

    def __enter__(self) -> Self:
        self._stack.enter_context(forward_hooks(self.module, {name: self._hook(name) for name in self.layers}))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hook(self, name: str) -> Callable[..., Any]:
        layer = self.layers[name]

        def read(_module: nn.Module, _inputs: Any, result: Any) -> Tensor | None:
            output = check_output(layer, result)
            self.responses[name] = pool_responses(output.detach(), layer)
            if "zeros" in self.extras:
                self.zeros[name] = pool_responses((output.detach() == 0).float(), layer)
            looks = [extra for extra in self.extras if not isinstance(extra, str)]
            if looks:
                maps = maps_of(output.detach(), layer)
                self.looked[name] = {look: look(maps) for look in looks}
            self._calls[name] = self._calls.get(name, 0) + 1
            self._latest = (name, self._calls[name])
            if self._latest == self._last:
                raise _Finished
            if not self.gradients:
                return None
            self._outputs[name] = output
            return output.clone()  # what follows may work in place

        return read

    def run(self, images: Tensor) -> Tensor | None:
        """Run the module on a batch; return its logits if they are asked for, or None."""
        for previous in (self.responses, self.zeros, self.looked, self._outputs, self._calls):
            previous.clear()  # a layer that this batch does not reach must not show the last one's
        try:
            output = self.module(images)
        except _Finished:
            return None
        if not self.extras & {"logits", "gradient_activation"}:
            self._last = self._latest  # the next pass may stop here
            return None
        return read_logits(output)

    def run_with_gradients(self, images: Tensor, labels: Int64[Tensor, " n"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run forward and backward; return the logits and, by layer, gradient times activation ``(N, K)``.

        The gradient is that of each image's true logit, the sum runs over positions
        (docs/mathematics.md, Gradient times activation).
        """
        with torch.enable_grad():
            logits = self.run(images.detach().requires_grad_())
            assert logits is not None
            cut = [name for name, output in self._outputs.items() if not output.requires_grad]
            if cut or not logits.requires_grad:
                raise _no_gradient(cut[0] if cut else next(iter(self.layers)))
            true = logits.gather(1, labels[:, None]).sum()
            gradients = torch.autograd.grad(true, list(self._outputs.values()), allow_unused=True)
        product = {}
        for (name, output), gradient in zip(self._outputs.items(), gradients, strict=True):
            if gradient is None:
                raise _no_gradient(name)
            product[name] = sum_positions(gradient * output.detach(), self.layers[name])
        self._outputs.clear()  # and with them the graph
        return logits.detach(), product


def _no_gradient(name: str) -> ConfigError:
    return ConfigError(
        f"No gradient of the logits reaches layer {name!r}: the forward pass cuts it (torch.no_grad, detach), or does "
        "not use the layer. Choose another layer, or what needs no gradients."
    )


class TrainingHooks:
    """Pools the outputs of layers, gradients and all, while a module runs. A context manager: hooks go when it ends."""

    def __init__(self, module: nn.Module, layers: Sequence[Layer]) -> None:
        self.latest: dict[str, Tensor] = {}
        self._module = module
        self._layers = layers
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        hooks = {layer.name: self._hook(layer) for layer in self._layers}
        self._stack.enter_context(forward_hooks(self._module, hooks))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hook(self, layer: Layer) -> Callable[..., None]:
        def read(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.latest[layer.name] = pool_responses(check_output(layer, output), layer)

        return read
