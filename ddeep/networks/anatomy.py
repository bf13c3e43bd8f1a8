"""The parts of a network: its layers, its head, and the layer that feeds the head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from ..errors import ConfigError, suggestion
from ..registry.specs import ModelSpec, Pool, resolve
from .head import head_pool
from .layer import INPUT, Axes, Layer, layer_with
from .trace import Call, Recording, example_images, record

# The pooled layer counts as the head's input when no element is further off than this share of the largest one.
TOLERANCE = 1e-4

# What a model without weights of its own is examined with.
_SIZE, _CLASSES = 224, 10


@dataclass(frozen=True)
class LayerRow:
    """One submodule as a forward pass saw it at its last call. ``problem`` says why it cannot be a layer, if so."""

    name: str
    type: str
    shape: tuple[int, ...] | None
    axes: Axes | None
    filters: int | None
    calls: int
    problem: str


@dataclass(frozen=True)
class Anatomy:
    """The head (final linear layer) and the layer whose pooled output is its input, if need be ``<head>:input``.

    What was not found is None, and ``problem`` says why; otherwise ``problem`` is empty.
    """

    head: str | None
    layer: Layer | None
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Examined:
    """A freshly built model and what a pass of noise, ``size`` × ``size`` pixels, showed of it."""

    module: nn.Module
    size: int
    layers: list[LayerRow]
    anatomy: Anatomy


def examine(spec: ModelSpec, size: int | None = None) -> Examined:
    """Build the model of ``spec`` with fresh weights and look at it, on images of its weights' size unless told.

    Raises ConfigError where it does not run on such images.
    """
    weights = spec.weights[0] if spec.weights else None
    size = size or (weights.size if weights else _SIZE)
    module = resolve(spec.build)(weights.num_classes if weights and weights.num_classes else _CLASSES)
    try:
        recording = record(module, example_images(module, size))
        layers, anatomy = describe_layers(recording), find_anatomy(recording, spec.head)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{spec.name} does not run on images of {size} × {size}: {reason.rstrip('.')}. Try another --size."
        ) from error
    if spec.head and spec.layer:
        axes = next((row.axes for row in layers if row.name == spec.layer), None)
        anatomy = Anatomy(spec.head, layer_with(spec.layer, spec.pool, axes))
    return Examined(module, size, layers, anatomy)


def describe_layers(recording: Recording) -> list[LayerRow]:
    """Every submodule that the pass called, in the module's order."""
    last = recording.last
    times = Counter(call.name for call in recording.calls)
    return [
        LayerRow(name, type(child).__name__, call.shape, call.axes, call.filters, times[name], call.problem)
        for name, child in recording.module.named_modules()
        if (call := last.get(name)) is not None
    ]


def match_layers(module: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """The submodules that ``patterns`` (dotted names, or globs over them) stand for, each once, in order.

    Patterns that end in ``:input`` stand for what linear layers are given. Raises ConfigError for a pattern that
    matches nothing, with the nearest names.
    """
    modules = list(module.named_modules())
    names = [name for name, _ in modules if name]
    inputs = [f"{name}{INPUT}" for name, child in modules if name and isinstance(child, nn.Linear)]
    chosen: set[str] = set()
    for pattern in patterns:
        known = inputs if pattern.endswith(INPUT) else names
        matches = [name for name in known if name == pattern or fnmatchcase(name, pattern)]
        if not matches:
            raise ConfigError(
                f"No layer of {type(module).__name__} matches {pattern!r}.{suggestion(pattern, known)} "
                "`ddeep layers MODEL` lists all of them."
            )
        chosen.update(matches)
    return tuple(name for name in names + inputs if name in chosen)


def get_layers(recording: Recording, patterns: Sequence[str], pool: Pool = "mean") -> list[Layer]:
    """The layers that ``patterns`` stand for, with the layout that the pass showed of each.

    A layer asked for by its full name must be usable, or ConfigError says why it is not; a glob stands for the usable
    ones among its matches, and must have one.
    """
    rows = recording.last
    layers: dict[str, Layer] = {}
    for pattern in patterns:
        names = match_layers(recording.module, [pattern])
        problems = {name: rows[name].problem if name in rows else "is never called" for name in names}
        usable = [name for name in names if not problems[name]]
        if pattern in problems and pattern not in usable:
            raise ConfigError(f"Layer {pattern!r} {problems[pattern]}. Choose one inside or after it: {_SEE}")
        if not usable:
            raise ConfigError(
                f"No layer that {pattern!r} matches can be read: {names[0]!r} {problems[names[0]]}. {_SEE}"
            )
        layers.update({name: layer_with(name, pool, rows[name].axes) for name in usable})
    return [layers[name] for name in match_layers(recording.module, patterns) if name in layers]


def find_anatomy(recording: Recording, head: str | None = None) -> Anatomy:
    """Find the head (unless given) and the layer that feeds it, by value.

    The head is the ``nn.Linear`` whose output, pooled where it has positions, is the network's; where several give the
    same, none is chosen for the user. The layer is a submodule whose output at its last call is the head's input:
    averaged over positions, at the class token, or as it is (``TOLERANCE``). Of several, the choice falls on one that
    still has positions, then on one with parameters, then on the least nested, then on the last called; on the first
    called among those without parameters, so that no dropout comes before it. Where there is none, the layer is the
    head's input itself.
    """
    calls, logits = recording.calls, recording.output
    linears = [call for call in calls if isinstance(call.module, nn.Linear)]
    if head is not None:
        found = next((call for call in reversed(linears) if call.name == head), None)
        if found is None:
            raise ConfigError(_why_not_a_head(recording.module, head, [call.name for call in linears]))
        return _with_layer(found, recording)
    fitting = {call.name: call for call in linears if _is_logits(call, logits)}
    if len(fitting) > 1:
        return Anatomy(None, None, f"the logits are the output of {_joined(fitting)} alike: name one as the head")
    found = next(iter(fitting.values()), None)
    return _with_layer(found, recording) if found else Anatomy(None, None, _why_no_head(calls, logits))


def count_filters(recording: Recording, layers: Sequence[Layer]) -> dict[str, int]:
    """K of every layer, by name. Raises ConfigError for a layer that the pass did not call, or cannot be read."""
    counts = {}
    for layer in layers:
        responses = recording.responses(layer)
        if responses is None:
            raise ConfigError(f"Layer {layer.name!r} has no responses of this layout in the forward pass. {_SEE}")
        counts[layer.name] = responses.shape[1]
    return counts


_SEE = "`ddeep layers MODEL` lists them."


def _with_layer(head: Call, recording: Recording) -> Anatomy:
    calls, last = recording.calls, recording.last
    times = sum(call.name == head.name for call in calls)
    if times > 1:
        return Anatomy(head.name, None, f"the head {head.name!r} is called {times} times in one pass")
    pool, own = head_pool(recording, head.name), f"{head.name}{INPUT}"
    given = recording.responses(Layer(own, pool, "NHWC")) if pool is not None else None
    if given is None:
        return Anatomy(head.name, None, f"the head {head.name!r} is not given one vector an image")
    matches = [
        (_rank(call, position), layer)
        for position, call in enumerate(calls[: calls.index(head)])
        if last[call.name] is call and (call.name == own or not call.name.endswith(INPUT))
        for layer, pooled in call.pooled.items()
        if _same(pooled, given) and layer == layer_with(call.name, layer.pool, call.axes)
    ]
    _, layer = max(matches, key=lambda match: match[0])
    return Anatomy(head.name, layer)


def _rank(call: Call, position: int) -> tuple[bool, bool, bool, int, int]:
    has_parameters = next(call.module.parameters(), None) is not None
    own = call.name.endswith(INPUT)
    return not own, call.has_positions, has_parameters, -call.name.count("."), position if has_parameters else -position


def _is_logits(call: Call, logits: Any) -> bool:
    given = logits if isinstance(logits, Tensor) and logits.ndim == 2 else None
    return given is not None and any(_same(pooled, given) for pooled in call.pooled.values())


def _same(given: Tensor, wanted: Tensor) -> bool:
    if len(given) != len(wanted) or given.numel() != wanted.numel():
        return False
    difference = given.flatten(1).float() - wanted.flatten(1).float()
    return bool(difference.abs().max() <= TOLERANCE * wanted.abs().max())


def _why_no_head(calls: Sequence[Call], logits: Any) -> str:
    if not isinstance(logits, Tensor):
        return f"the network returns a {type(logits).__name__}, not logits (N, C)"
    if logits.ndim != 2:
        return f"the network returns a tensor of shape {tuple(logits.shape)}, not logits (N, C)"
    convolution = next(
        (c.name for c in reversed(calls) if isinstance(c.module, nn.Conv2d) and _is_logits(c, logits)), ""
    )
    if convolution:
        return f"the logits are the output of the convolution {convolution!r}, not of a linear layer"
    alike = {c.name for c in calls if isinstance(c.module, nn.Linear) and c.shape == tuple(logits.shape)}
    if alike:
        return f"the logits are computed from {_joined(alike)}, not the output of one of them"
    return "the logits are not the output of a linear layer"


def _joined(names: Iterable[str]) -> str:
    return " and ".join(map(repr, sorted(names)))


def _why_not_a_head(module: nn.Module, head: str, linears: Sequence[str]) -> str:
    modules = dict(module.named_modules())
    known = f" The linear layers it ends with are: {', '.join(linears[-3:])}." if linears else ""
    if head not in modules:
        return f"{type(module).__name__} has no head {head!r}.{suggestion(head, linears)}{known}"
    return f"The head {head!r} is a {type(modules[head]).__name__}, not an nn.Linear that is called.{known}"
