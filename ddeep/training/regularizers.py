"""Regularizers at work: pooled responses with their gradients, handed to a term of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import ConfigError, suggestion
from ..networks.anatomy import find_anatomy, find_layers
from ..networks.layer import Layer, check_output, find_module, pool_responses
from ..networks.trace import example_images
from ..registry.registry import registry
from ..registry.specs import RegularizerSpec, resolve

Term = Callable[[Mapping[str, Float[Tensor, "n k"]], Int64[Tensor, " n"]], Float[Tensor, ""]]


@dataclass(frozen=True)
class Regularizer:
    """A term of the loss, its name, and the layers whose responses it takes."""

    name: str
    term: Term
    layers: Sequence[Layer]

    def learned(self) -> dict[str, Tensor]:
        """The parameters of a term that has some, named ``<regularizer>.<parameter>``."""
        if not isinstance(self.term, nn.Module):
            return {}
        return {f"{self.name}.{name}": value for name, value in self.term.state_dict().items()}


class Responses:
    """Pools the outputs of layers, gradients and all, while a module runs. A context manager: hooks go when it ends."""

    def __init__(self, module: nn.Module, layers: Sequence[Layer]) -> None:
        self.latest: dict[str, Tensor] = {}
        self._module = module
        self._layers = layers
        self._handles: list[Any] = []

    def __enter__(self) -> Responses:
        for layer in self._layers:
            submodule = find_module(self._module, layer.name)
            self._handles.append(submodule.register_forward_hook(self._hook(layer)))
        return self

    def __exit__(self, *_: object) -> None:
        while self._handles:
            self._handles.pop().remove()

    def _hook(self, layer: Layer) -> Callable[..., None]:
        def read(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.latest[layer.name] = pool_responses(check_output(layer, output), layer)

        return read


@dataclass(frozen=True)
class RegularizerConfig:
    """A regularizer by name, with its options (``alpha``, …) and the layers, as names or globs; none: its defaults."""

    name: str
    options: Mapping[str, float] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


def build_regularizer(
    config: RegularizerConfig | None,
    module: nn.Module,
    *,
    size: int,
    classes: int,
    head: str | None = None,
    layer: Layer | None = None,
) -> Regularizer | None:
    """The regularizer that ``config`` names, for ``module`` on images of ``size``. Unknown options are an error.

    ``head`` and ``layer`` (which feeds it) are found by tracing where they are not given and needed.
    """
    if config is None:
        return None
    spec = registry().find("regularizer", config.name)
    unknown = sorted(set(config.options) - set(spec.options))
    if unknown:
        known = ", ".join(spec.options) or "none"
        raise ConfigError(
            f"The regularizer {spec.name!r} has no option {unknown[0]!r} (it has {known})."
            f"{suggestion(unknown[0], spec.options)}"
        )
    example = example_images(module, size)
    options: dict[str, Any] = {**spec.options, **config.options}
    pool = layer.pool if layer else "mean"
    if not spec.head:
        layers = find_layers(module, _patterns(spec, config), example, pool)
        filters = _count_filters(module, layers, example)
        return Regularizer(spec.name, resolve(spec.build)(classes, filters, **options), layers)
    if head is None or layer is None:
        found = find_anatomy(module, example, head)
        head, layer = found.head, layer or found.layer
    if head is None or layer is None:
        raise ConfigError(f"The regularizer {spec.name!r} needs a final linear layer and the layer that feeds it.")
    layers = find_layers(module, config.layers or [layer.name], example, pool)
    filters = _count_filters(module, layers, example)
    return Regularizer(
        spec.name, resolve(spec.build)(classes, filters, head=find_module(module, head, "head"), **options), layers
    )


def _patterns(spec: RegularizerSpec, config: RegularizerConfig) -> tuple[str, ...]:
    patterns = config.layers or spec.layers
    if not patterns:
        raise ConfigError(f"The regularizer {spec.name!r} has no layers of its own: name some with --layers.")
    return patterns


def _count_filters(module: nn.Module, layers: Sequence[Layer], example: Tensor) -> dict[str, int]:
    was_training = module.training
    with torch.no_grad(), Responses(module.eval(), layers) as responses:
        module(example)
    module.train(was_training)
    return {layer.name: responses.latest[layer.name].shape[1] for layer in layers}
