"""What models and families of models promise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..data.preprocessing import Preprocessing
from ..errors import WeightsError
from ..networks.anatomy import describe_layers, find_anatomy
from ..networks.hooks import forward_hooks
from ..networks.layer import get_module, layer_with, pool_responses
from ..networks.logits import read_logits
from ..networks.trace import example_images, record
from ..networks.weights import find_weights, load_strictly, load_weights
from ..registry.registry import registry
from ..registry.specs import ModelFamily, ModelSpec, WeightsSpec, resolve
from ..selections.k import parse_k
from .contract import Promise, Unchecked, broken_unless

_CLASSES = 7
_SIZE = 224  # for models without weights
_TOLERANCE = 1e-4


@lru_cache(maxsize=1)
def _built(spec: ModelSpec) -> tuple[nn.Module, Float[Tensor, "n 3 s s"]]:
    """The model for ``_CLASSES`` classes, in eval mode, and four images of the size its weights expect."""
    torch.manual_seed(0)
    module = resolve(spec.build)(_CLASSES)
    broken_unless(isinstance(module, nn.Module), f"`build` returned a {type(module).__name__}", "return an nn.Module")
    example = example_images(module, spec.weights[0].size if spec.weights else _SIZE)
    return module.eval(), torch.cat([example, example.flip(3) + 0.1])


def _logits(module: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return read_logits(module(images))


def _gives_logits(spec: ModelSpec, _data_dir: Path) -> None:
    module, images = _built(spec)
    logits = _logits(module, images)
    broken_unless(
        isinstance(logits, Tensor) and logits.shape == (len(images), _CLASSES),
        f"For {len(images)} images and {_CLASSES} classes, the output is "
        f"{tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__}",
        "return logits (N, C) for the number of classes that `build` is given",
    )
    broken_unless(
        logits.is_floating_point() and torch.isfinite(logits).all(),
        "The logits are not finite",
        "check the forward pass",
    )


def _judges_each_image_alone(spec: ModelSpec, _data_dir: Path) -> None:
    module, images = _built(spec)
    together = _logits(module, images)
    alone = torch.cat([_logits(module, image[None]) for image in images])
    reversed_ = _logits(module, images.flip(0)).flip(0)
    broken_unless(
        _close(alone, together) and _close(reversed_, together),
        "In eval mode, an image's logits depend on the other images of its batch or on their order",
        "use statistics of the batch in training mode only",
    )


def _is_deterministic(spec: ModelSpec, _data_dir: Path) -> None:
    module, images = _built(spec)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    once, again = _logits(module, images), _logits(module, images)
    broken_unless(
        torch.equal(once, again), "In eval mode, two passes of the same images differ", "no noise in eval mode"
    )
    changed = [name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])]
    broken_unless(
        not changed, f"A pass in eval mode changed {', '.join(changed[:3])}", "update buffers in training only"
    )
    left = any(child.training or child._forward_hooks for child in module.modules())
    broken_unless(not left, "A pass left a hook, or a submodule in training mode", "restore both in `finally`")


def _names_its_head_and_layer(spec: ModelSpec, _data_dir: Path) -> None:
    module, images = _built(spec)
    recording = record(module, images)
    found = find_anatomy(recording, spec.head)
    axes = {row.name: row.axes for row in describe_layers(recording)}
    layer = layer_with(spec.layer, spec.pool, axes.get(spec.layer)) if spec.layer else found.layer
    broken_unless(
        found.head is not None and layer is not None,
        f"No head, or no layer that feeds it, is found: {found.problem}",
        "name them: head='…' (an nn.Linear), layer='…', pool='mean', 'token' or 'none'",
    )
    assert found.head is not None
    assert layer is not None
    head = get_module(module, found.head, "head")
    broken_unless(
        isinstance(head, nn.Linear) and head.out_features == _CLASSES,
        f"The head {found.head!r} is {head}",
        f"name the nn.Linear with one output for each of the {_CLASSES} classes",
    )
    with _outputs_of(module, layer.name) as outputs:
        logits = _logits(module, images)
    broken_unless(outputs, f"The layer {layer.name!r} is never called", "`ddeep layers` lists those that are")
    rebuilt = _logits(head, pool_responses(outputs[-1], layer))
    broken_unless(
        rebuilt.shape == logits.shape and _close(rebuilt, logits),
        f"The head {found.head!r} on the responses of {layer.name!r} (pool {layer.pool!r}) does not give the logits",
        "name the submodule whose pooled output is the head's input, or leave `layer` out and have it found",
    )


def _trains(spec: ModelSpec, _data_dir: Path) -> None:
    torch.manual_seed(0)
    module = resolve(spec.build)(_CLASSES).train()
    _, images = _built(spec)
    logits = read_logits(module(images))
    broken_unless(
        logits.shape == (len(images), _CLASSES),
        f"In training mode the logits have the shape {tuple(logits.shape)}",
        "return the logits (N, C) first, or named `logits`",
    )
    logits.logsumexp(1).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in module.parameters() if p.requires_grad]
    broken_unless(
        any(g is not None and g.any() for g in gradients)
        and all(g is None or torch.isfinite(g).all() for g in gradients),
        "The gradients are missing or not finite",
        "keep the forward pass differentiable; check the initialisation",
    )


def _describes_its_weights(spec: ModelSpec, _data_dir: Path) -> None:
    parse_k(spec.k)
    if spec.dataset is not None:
        known = registry().datasets
        broken_unless(spec.dataset in known, f"dataset={spec.dataset!r} is unknown", f"name one of {', '.join(known)}")
    for weights in spec.weights:
        sources = [name for name in ("file", "url", "state", "filename") if getattr(weights, name)]
        broken_unless(
            sources, f"The weights {weights.name!r} come from nowhere", "give one of file, url (with sha256) and state"
        )
        Preprocessing.of(weights)
        if weights.url is not None:
            broken_unless(
                urlsplit(weights.url).scheme == "https" and (weights.sha256 or "-" in weights.url),
                f"{weights.url} of {weights.name!r} cannot be checked",
                "give an https address and the sha256 of its file",
            )


def _loads_its_weights(spec: ModelSpec, data_dir: Path) -> None:
    present = [weights for weights in spec.weights if _at_hand(weights, data_dir)]
    if not present:
        raise Unchecked(f"No weights of {spec.name!r} are at hand under {data_dir}/weights.")
    for weights in present:
        outputs = weights.num_classes
        if not outputs and weights.dataset is not None:
            outputs = registry().find("dataset", weights.dataset).num_classes
        broken_unless(outputs, f"How many classes the weights {weights.name!r} are for is not said", "give num_classes")
        module = resolve(spec.build)(outputs).eval()
        load_strictly(module, load_weights(weights, data_dir), weights.name)
        logits = _logits(module, example_images(module, weights.size))
        broken_unless(
            torch.isfinite(logits).all(),
            f"With the weights {weights.name!r} the logits are not finite",
            "check the file",
        )


def _at_hand(weights: WeightsSpec, data_dir: Path) -> bool:
    try:
        return find_weights(weights, data_dir, download=False) is not None
    except WeightsError as error:
        raise Unchecked(str(error)) from error


def _resolves_lazily(family: ModelFamily, _data_dir: Path) -> None:
    names = list(resolve(family.names)())
    broken_unless(
        all(isinstance(name, str) for name in names) and len(set(names)) == len(names),
        "`names` returned the same one twice, or something else than text",
        "return a list of names without the prefix",
    )
    if not names:
        raise Unchecked(f"`names` of {family.name!r} lists none here: its models are named by where they are.")
    for name in (names[0], names[-1]):
        spec = registry().find("model", f"{family.name}/{name}")
        broken_unless(
            spec.name == f"{family.name}/{name}",
            f"`resolve({name!r})` gave the spec {spec.name!r}",
            f"name it {family.name}/{name}: result files show it",
        )


def _refuses_unknown_names(family: ModelFamily, _data_dir: Path) -> None:
    unknown = "no-such-model"
    try:
        resolve(family.resolve)(unknown)
    except LookupError:
        return
    except Exception as error:
        broken_unless(
            False, f"`resolve({unknown!r})` raised {type(error).__name__}: {error}", "raise LookupError or KeyError"
        )
    broken_unless(False, f"`resolve({unknown!r})` raised nothing", "raise LookupError or KeyError")


@contextmanager
def _outputs_of(module: nn.Module, name: str) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []
    with forward_hooks(module, {name: lambda _module, _inputs, output: outputs.append(output)}):
        yield outputs


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= _TOLERANCE * other.abs().max().clamp(min=1e-6))


PROMISES = [
    Promise("it gives logits (N, C)", _gives_logits),
    Promise("each image is judged by itself", _judges_each_image_alone),
    Promise("a pass changes nothing and can be repeated", _is_deterministic),
    Promise("its layer, pooled, feeds its head", _names_its_head_and_layer),
    Promise("it trains", _trains),
    Promise("its weights are described", _describes_its_weights),
    Promise("its weights load", _loads_its_weights),
]
FAMILY = [
    Promise("its names resolve", _resolves_lazily),
    Promise("unknown names are refused", _refuses_unknown_names),
]
