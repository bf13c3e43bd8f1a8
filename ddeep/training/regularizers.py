"""Regularizers at work: pooled responses with their gradients, handed to a term of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..errors import ConfigError, suggestion
from ..networks.anatomy import count_filters, find_anatomy, get_layers
from ..networks.layer import Layer, get_module
from ..networks.trace import example_images, record
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
    recording = record(module, example_images(module, size))
    options: dict[str, Any] = {**spec.options, **config.options}
    pool = layer.pool if layer else "mean"
    if not spec.head:
        layers = get_layers(recording, _patterns(spec, config), pool)
        filters = count_filters(recording, layers)
        return Regularizer(spec.name, resolve(spec.build)(classes, filters, **options), layers)
    if head is None or layer is None:
        found = find_anatomy(recording, head)
        head, layer = found.head, layer or found.layer
    if head is None or layer is None:
        raise ConfigError(f"The regularizer {spec.name!r} needs a final linear layer and the layer that feeds it.")
    layers = get_layers(recording, config.layers or [layer.name], pool)
    filters = count_filters(recording, layers)
    return Regularizer(
        spec.name, resolve(spec.build)(classes, filters, head=get_module(module, head, "head"), **options), layers
    )


def _patterns(spec: RegularizerSpec, config: RegularizerConfig) -> tuple[str, ...]:
    patterns = config.layers or spec.layers
    if not patterns:
        raise ConfigError(f"The regularizer {spec.name!r} has no layers of its own: name some with --layers.")
    return patterns
