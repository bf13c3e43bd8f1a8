"""A network ready to be examined: a module, its head, the layer that feeds it, and how it wants its images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .. import console
from ..data.images import Images, TensorImages
from ..data.preprocessing import Preprocessing
from ..errors import ConfigError, DataError, WeightsError, suggestion
from ..registry.own_code import is_own_code
from ..registry.registry import registry
from ..registry.specs import Interpolation, ModelSpec, WeightsSpec, resolve
from .anatomy import find_anatomy, get_layers
from .head import Head, set_head
from .layer import Layer
from .outputs import name_outputs
from .recipe_beside import recipe_beside
from .state_dicts import check_state_dict
from .trace import Recording
from .weights import build_fitting, find_weights, fitting, load_strictly, load_weights, read_state_dict, weights_hash
from .weights_file import describe_file, split_final_head, split_learned

_SIDE = 224  # of files of images, where nothing says another


@dataclass(frozen=True)
class Network:
    """A trained module in eval mode, on the CPU, and what ddeep must know of it.

    ``layer`` is the one that feeds ``head``; both are None where the architecture has no such pair, and ``problem``
    says why. ``final`` is the decomposed head that the weights of the paper's authors carry beside the dense one,
    ``learned`` what a regularizer has learned along with the weights, ``build`` what made the module.
    ``preprocessing`` is None where the network takes responses for images.
    """

    name: str
    module: nn.Module
    head: str | None
    layer: Layer | None
    preprocessing: Preprocessing | None
    weights: str
    weights_hash: str
    classes: tuple[str, ...]
    problem: str = ""
    k: int | float = field(default=5)
    final: Head | None = None
    learned: Mapping[str, Tensor] = field(default_factory=dict)
    build: Callable[..., Any] | None = None

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The preprocessing as JSON-ready data."""
        return self.preprocessing.identity() if self.preprocessing is not None else None

    @property
    def recipe_line(self) -> str:
        """The preprocessing in one line."""
        return str(self.preprocessing) if self.preprocessing is not None else "none, responses alone"

    def needed_preprocessing(self) -> Preprocessing:
        """How images are prepared, or an error where the network takes responses alone."""
        if self.preprocessing is None:
            raise ConfigError("This needs images and the network itself; the run is of responses alone (--responses).")
        return self.preprocessing


def load_network(
    spec: ModelSpec,
    images: Images,
    *,
    dataset: str,
    data_dir: Path,
    weights: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | None = None,
    resize: int | None = None,
    interpolation: Interpolation | None = None,
    ema: bool | None = None,
    head: str | None = None,
) -> Network:
    """Build the model of ``spec`` and load its weights strictly.

    ``weights`` is a file, or the name of one of the spec's WeightsSpecs; by default those for ``dataset``, found under
    ``data_dir/weights`` or packaged, else downloaded; the user's own code may come with its weights. ``ema`` says which
    of a checkpoint's weights (``read_state_dict``); ``size``, ``resize``, ``interpolation``, ``mean`` and ``std`` how
    images are prepared, where that is not the weights' own. Where a file does not say, the one beside it may
    (``recipe_beside``); else the spec's weights' recipe is taken, with a warning.
    """
    if weights is None and is_own_code(spec.name):
        chosen, state, label = None, _own_weights(spec, len(images.classes)), "its own"
    elif (chosen := choose_weights(spec, dataset, data_dir, weights)) is None:
        assert weights is not None
        if not Path(weights).exists():
            own = ", ".join(repr(one.name) for one in spec.weights)
            raise WeightsError(
                f"There is no weights file {weights} in {Path().resolve()}, and {spec.name} has "
                f"{f'weights called {own}' if own else 'no weights of its own'}."
                f"{suggestion(weights, [one.name for one in spec.weights])}"
            )
        state, label = read_state_dict(Path(weights), ema=ema), weights
        chosen = describe_file(Path(weights))
    else:
        state, label = load_weights(chosen, data_dir), chosen.name
    told = any(one is not None for one in (mean, std, size, resize, interpolation))
    beside = recipe_beside(Path(weights)) if weights is not None and chosen is None else None
    if beside is not None:
        recipe = beside[0]
        console.note(f"How images are prepared is from {beside[1]}.")
    else:
        recipe = Preprocessing.of(chosen) if chosen else _recipe_for_file(spec, images, dataset, mean, std, size)
        if chosen is None and weights is not None and not told:
            console.warn(
                f"{weights} does not say how its images were prepared, so it is examined as {spec.name}'s own weights "
                f"are: {recipe}. If they were not, give --size, --resize, --interpolation, --mean and --std."
            )
    state, learned = split_learned(state)
    state, final = split_final_head(state)
    outputs = chosen.num_classes if chosen is not None and chosen.num_classes else len(images.classes)
    state, published = _published(state, outputs)
    if spec.convert is None:
        module = build_fitting(resolve(spec.build), outputs, state, label).eval()
    else:
        module = resolve(spec.build)(outputs).eval()
        if fitting(state, module.state_dict()) is None:
            state = resolve(spec.convert)(state, outputs)
    state = load_strictly(module, state, label)
    if mean is not None or std is not None:
        recipe = replace(recipe, mean=tuple(mean or recipe.mean), std=tuple(std or recipe.std))
    if size is not None and size != recipe.size:
        recipe = replace(recipe, size=size, resize=max(size, recipe.resize * size // recipe.size))
    if resize is not None or interpolation is not None:
        recipe = replace(recipe, resize=resize or recipe.resize, interpolation=interpolation or recipe.interpolation)
    return Network(
        name=spec.name,
        module=module,
        head=head or spec.head,
        layer=Layer(spec.layer, spec.pool) if spec.layer else None,
        preprocessing=recipe,
        weights=label,
        weights_hash=weights_hash(state),
        classes=name_outputs(images.classes, outputs, (chosen and chosen.classes) or (), label),
        k=spec.k,
        final=final,
        learned={**published, **learned},
        build=resolve(spec.build),
    )


def _published(state: Mapping[str, Tensor], outputs: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's own tensors, and those beside them that a regularizer knows by the name others give them."""
    own, learned = dict(state), dict[str, Tensor]()
    for spec in registry().regularizers.values():
        for theirs, parameter in spec.published.items():
            if theirs in own and own[theirs].ndim == 2 and len(own[theirs]) == outputs:
                learned[f"{spec.name}.{parameter}"] = own.pop(theirs)
    return own, learned


def choose_weights(spec: ModelSpec, dataset: str, data_dir: Path, given: str | None) -> WeightsSpec | None:
    """The WeightsSpec that ``given`` names, or the first for ``dataset`` that is at hand; None for a file."""
    named = {weights.name: weights for weights in spec.weights}
    if given is not None:
        return None if given not in named or Path(given).is_file() else named[given]
    suited = [weights for weights in spec.weights if weights.dataset in (dataset, None)]
    if not suited:
        known = ", ".join(sorted({str(w.dataset) for w in spec.weights})) or "no dataset"
        raise WeightsError(
            f"{spec.name} has no weights for the dataset {dataset!r} (it has some for {known}). Give your own with "
            f"--weights FILE, or train some: ddeep train --model {spec.name} --dataset {dataset}"
        )
    for weights in suited:
        if weights.state is not None or find_weights(weights, data_dir, download=False) is not None:
            return weights
    return suited[0]


def _own_weights(spec: ModelSpec, classes: int) -> dict[str, Tensor]:
    """The weights that a network of the user's own comes with; an error where they are random."""
    once, again = (resolve(spec.build)(classes).state_dict() for _ in range(2))
    if weights_hash(once) != weights_hash(again):
        raise WeightsError(
            f"{spec.name} has other weights each time it is built, so they are not trained. Give some with --weights "
            f"FILE, or train: ddeep train --model {spec.name} --dataset NAME"
        )
    return check_state_dict(once, spec.name)


def _recipe_for_file(
    spec: ModelSpec,
    images: Images,
    dataset: str,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    size: int | None,
) -> Preprocessing:
    known = [weights for weights in spec.weights if weights.dataset in (dataset, None)] or list(spec.weights)
    if known:
        return Preprocessing.of(known[0])
    if mean is None or std is None:
        raise ConfigError(
            f"How were the weights' images preprocessed? {spec.name} does not say: give --mean and --std, and --size "
            "if the network does not see images at their own size."
        )
    if size is None:
        own = images.pixels.shape[1:3] if isinstance(images, TensorImages) else getattr(images, "size", None)
        size = min(own) if own is not None else _SIDE
    return Preprocessing(tuple(mean), tuple(std), size, size)


def with_parts(network: Network, recording: Recording) -> Network:
    """Fill in the head and layer that the spec left out, and the layout of a layer it names, from a ``recording``.

    Raises DataError where the network has other outputs than classes.
    """
    logits = recording.output
    if isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[1] != len(network.classes):
        raise DataError(
            f"{network.name} gives {logits.shape[1]} logits, but there are {len(network.classes)} classes. Choose the "
            "dataset it was trained on; a network of your own takes their number as num_classes."
        )
    if network.layer is not None:
        named = get_layers(recording, [network.layer.name], network.layer.pool)
        network = replace(network, layer=named[0])
    if network.head is not None and network.layer is not None:
        return network
    found = find_anatomy(recording, network.head)
    return replace(network, head=network.head or found.head, layer=network.layer or found.layer, problem=found.problem)


RESPONSES, HEAD = "responses", "head"  # the parts of a network that continues from responses


def response_module(classes: int, filters: int) -> nn.Module:
    """What is left of a network whose responses are given: its head, ``(N, K) -> (N, C)``."""
    return nn.Sequential(OrderedDict([(RESPONSES, nn.Identity()), (HEAD, nn.Linear(filters, classes))])).eval()


def response_network(head: Head, classes: tuple[str, ...], weights: str) -> Network:
    """The network that continues from given responses with ``head``; ``weights`` says where that comes from."""
    module = response_module(*head.weight.shape)
    set_head(module, HEAD, *head)
    return Network(
        name=RESPONSES,
        module=module,
        head=HEAD,
        layer=Layer(RESPONSES, "none"),
        preprocessing=None,
        weights=weights,
        weights_hash=weights_hash(module.state_dict()),
        classes=classes,
    )
