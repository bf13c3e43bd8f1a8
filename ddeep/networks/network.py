"""A network ready to be examined: a module, its head, the layer that feeds it, and how it wants its images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..data.images import Images
from ..data.preprocessing import Preprocessing
from ..errors import ConfigError, DataError, WeightsError
from ..registry.specs import ModelSpec, WeightsSpec, resolve
from .anatomy import find_anatomy, get_layers
from .head import Head, set_head
from .layer import Layer
from .trace import Recording
from .weights import find_weights, load_strictly, load_weights, read_state_dict, weights_hash
from .weights_file import describe_file, split_final_head, split_learned


@dataclass(frozen=True)
class Network:
    """A trained module in eval mode, on the CPU, and what ddeep must know of it.

    ``layer`` is the one that feeds ``head``; both are None where the architecture has no such pair, and ``problem``
    says why. ``final`` is the decomposed head that the weights of the paper's authors carry beside the dense one,
    ``learned`` what a regularizer has learned along with the weights. ``preprocessing`` is None where the network takes
    responses for images.
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

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The preprocessing as JSON-ready data."""
        return self.preprocessing.identity() if self.preprocessing is not None else None

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
    head: str | None = None,
) -> Network:
    """Build the model of ``spec`` and load its weights strictly.

    ``weights`` is a file, or the name of one of the spec's WeightsSpecs; by default those for ``dataset``, found under
    ``data_dir/weights`` or packaged, else downloaded.
    """
    chosen = choose_weights(spec, dataset, data_dir, weights)
    if chosen is None:
        assert weights is not None
        state, label = read_state_dict(Path(weights)), weights
        chosen = describe_file(Path(weights))
        recipe = Preprocessing.of(chosen) if chosen else _recipe_for_file(spec, dataset, mean, std)
    else:
        state, label, recipe = load_weights(chosen, data_dir), chosen.name, Preprocessing.of(chosen)
    state, learned = split_learned(state)
    state, final = split_final_head(state)
    outputs = chosen.num_classes if chosen is not None and chosen.num_classes else len(images.classes)
    module = resolve(spec.build)(outputs).eval()
    load_strictly(module, state, label)
    if mean is not None or std is not None:
        recipe = replace(recipe, mean=tuple(mean or recipe.mean), std=tuple(std or recipe.std))
    return Network(
        name=spec.name,
        module=module,
        head=head or spec.head,
        layer=Layer(spec.layer, spec.pool) if spec.layer else None,
        preprocessing=recipe,
        weights=label,
        weights_hash=weights_hash(state),
        classes=_outputs(images, chosen, outputs, label),
        k=spec.k,
        final=final,
        learned=learned,
    )


def choose_weights(spec: ModelSpec, dataset: str, data_dir: Path, given: str | None) -> WeightsSpec | None:
    """The WeightsSpec that ``given`` names, or the first for ``dataset`` that is at hand; None for a file."""
    named = {weights.name: weights for weights in spec.weights}
    if given is not None:
        return None if given not in named or Path(given).is_file() else named[given]
    fitting = [weights for weights in spec.weights if weights.dataset == dataset]
    if not fitting:
        known = ", ".join(sorted({w.dataset for w in spec.weights})) or "no dataset"
        raise WeightsError(
            f"{spec.name} has no weights for the dataset {dataset!r} (it has some for {known}). Give your own with "
            f"--weights FILE, or train some: ddeep train --model {spec.name} --dataset {dataset}"
        )
    for weights in fitting:
        if weights.state is not None or find_weights(weights, data_dir, download=False) is not None:
            return weights
    return fitting[0]


def _recipe_for_file(
    spec: ModelSpec, dataset: str, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Preprocessing:
    fitting = [weights for weights in spec.weights if weights.dataset == dataset] or list(spec.weights)
    if fitting:
        return Preprocessing.of(fitting[0])
    if mean is None or std is None:
        raise ConfigError(
            f"How were the weights' images preprocessed? {spec.name} does not say: give --mean and --std."
        )
    raise ConfigError(f"{spec.name} does not say the image size its weights expect; add a WeightsSpec to its plugin.")


def _outputs(images: Images, weights: WeightsSpec | None, outputs: int, label: str) -> tuple[str, ...]:
    """Names of the network's outputs; an error where the dataset's classes are others."""
    names = weights.classes if weights is not None and weights.classes else images.classes
    if len(names) != outputs:
        raise DataError(
            f"The dataset has {len(images.classes)} classes, but the weights {label!r} are for {outputs}. "
            "Choose a dataset with the classes the weights were trained on, or other weights."
        )
    strangers = sorted(set(images.classes) - set(names))
    if strangers:
        raise DataError(f"The dataset's class {strangers[0]!r} is not among the {outputs} outputs of {label!r}.")
    return tuple(names)


def with_parts(network: Network, recording: Recording) -> Network:
    """Fill in the head and layer that the spec left out, and the layout of a layer it names, from a ``recording``."""
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
