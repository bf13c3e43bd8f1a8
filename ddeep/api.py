"""ddeep in a few lines, for any ``nn.Module`` and any ``DataLoader`` of ``(images, labels)``.

>>> selection = ddeep.select(model, train_loader, strategy="paper", k=5, layer="layer4")
>>> decomposed = ddeep.decompose(model, selection)
>>> refitted = ddeep.refit(model, train_loader, selection)
>>> ddeep.evaluate(refitted, test_loader), ddeep.measure(model, train_loader, selection, layer="layer4")
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from .errors import ConfigError, DataError
from .evidence.collector import Gathering
from .evidence.context import Context
from .evidence.evidence import Evidence, count_classes, gather_kept
from .heads.decomposed import decompose, find_head, linear_head, set_head
from .heads.refit import refit as refit_head
from .networks.anatomy import find_anatomy, find_layers
from .networks.inference import prepare, resolve_device
from .networks.layer import Layer, find_module
from .networks.network import head_if_fed
from .results.run import load
from .selections.measure import SplitEvidence, always_measured, find_metric
from .selections.measure import measure as run_metrics
from .selections.measure import needed as needed_by_metrics
from .selections.select import choose, find_strategy, needed, parse_k
from .selections.selection import Selection
from .statistics.statistic import Statistic

__all__ = ["decompose", "evaluate", "gather", "load", "measure", "refit", "select"]

Batches = Iterable[tuple[Tensor, Tensor]]


class _Batch(NamedTuple):
    images: Tensor
    labels: Int64[Tensor, " n"]
    indices: Int64[Tensor, " n"]


def gather(
    module: nn.Module,
    batches: Batches,
    *,
    layer: str | Layer | None = None,
    statistics: Iterable[Statistic] = (),
    head: str | None = None,
    device: str = "auto",
) -> Evidence:
    """Run ``module`` once over ``batches``; return the statistics and the responses ``(N, K)`` of ``layer``.

    Labels are integers (N,), the numbers of the outputs. By default ``head`` is found by its output, or else the last
    ``nn.Linear``, and ``layer`` is the one that feeds it. The module itself is not changed.
    """
    place = resolve_device(device)
    example = _first_images(batches)
    tapped, final = _find_parts(module, example, layer, head)
    classes = linear_head(module, final).out_features
    images = _count(batches)
    labels = torch.full((images,), -1)

    def numbered() -> Iterator[_Batch]:
        start = 0
        for shown, truth in batches:
            if start + len(truth) > images:
                raise DataError(f"The batches hold more images than the {images} they announced.")
            indices = torch.arange(start, start + len(truth))
            labels[indices] = _checked_labels(truth, classes)
            start += len(truth)
            yield _Batch(shown.to(place), labels[indices].to(place), indices.to(place))

    wanted = list(statistics)
    gathering = Gathering(
        prepare(module, [tapped], place, example),
        {tapped: wanted},
        classes=classes,
        device=place,
        keep=lambda _layer, filters: torch.zeros(images, filters),
    )
    evidence = gathering.run(numbered()).finish("train")[tapped]
    assert evidence.responses is not None
    evidence.responses, evidence.labels = evidence.responses[labels >= 0], labels[labels >= 0]
    gather_kept(evidence, wanted, place)
    return evidence


def select(
    module: nn.Module,
    batches: Batches,
    *,
    strategy: str,
    k: int | float,
    layer: str | Layer | None = None,
    head: str | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Selection:
    """The ``k`` filters of ``layer`` that matter most to each class, by a strategy's name. See ``gather``."""
    spec, k = find_strategy(strategy), parse_k(k)
    evidence = gather(module, batches, layer=layer, statistics=needed(spec, [k]), head=head, device=device)
    found = choose(spec, evidence, k, _context(module, batches, evidence.layer, head, seed))
    return replace(found, source={"strategy": spec.name, "k": k, "layer": evidence.layer.name, **found.source})


def refit(
    module: nn.Module,
    batches: Batches,
    selection: Selection,
    *,
    layer: str | Layer | None = None,
    head: str | None = None,
    device: str = "auto",
) -> nn.Module:
    """``decompose`` the network, and fit its decomposed head to the labels of ``batches``, the rest as it is.

    One pass over ``batches``, the train split; the layer, by default that of the selection, must feed the head. See
    ``gather``. Raises ConfigError where it does not, and SelectionError for a selection that does not fit.
    """
    wanted = layer if layer is not None else selection.source.get("layer")
    tapped, final = _find_parts(module, _first_images(batches), wanted, head)
    dense = _context(module, batches, tapped, final, seed=0).needed_head()
    decomposed = decompose(module, selection, head=final)
    evidence = gather(module, batches, layer=tapped, head=final, device=device)
    found = refit_head(*evidence.cached_responses(), *dense, selection.mask())
    set_head(decomposed, final, found.weight, found.bias)
    return decomposed


def measure(
    module: nn.Module,
    batches: Batches,
    selection: Selection | None = None,
    *,
    layer: str | Layer | None = None,
    metrics: Collection[str] | None = None,
    test_batches: Batches | None = None,
    head: str | None = None,
    device: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """Metrics of a layer and a selection by name (default: those that every run shows). See ``gather``.

    The layer is by default that of the selection, or else the one that feeds the head.
    """
    if layer is None and selection is not None:
        layer = selection.source.get("layer")
    specs = always_measured() if metrics is None else [find_metric(name) for name in metrics]
    of_test = needed_by_metrics(specs, "test")
    if of_test and test_batches is None:
        raise ConfigError("These metrics read the test split: give test_batches.")
    train = gather(module, batches, layer=layer, statistics=needed_by_metrics(specs, "train"), head=head, device=device)
    test = None
    if test_batches is not None:
        test = gather(module, test_batches, layer=layer, statistics=of_test, head=head, device=device)
    context = _context(module, batches, train.layer, head, seed)
    return run_metrics(specs, SplitEvidence(train, test), selection, context)


def evaluate(module: nn.Module, batches: Batches, *, device: str = "auto") -> float:
    """Accuracy of ``module`` in percent, in eval mode."""
    place = resolve_device(device)
    ready = prepare(module, [], place)
    right = torch.zeros((), dtype=torch.int64, device=place)
    images = 0
    with torch.no_grad():
        for shown, labels in batches:
            right += (ready(shown.to(place)).argmax(1) == labels.to(place)).sum()
            images += len(labels)
    if images == 0:
        raise DataError("There are no images to evaluate on.")
    return 100.0 * int(right) / images


def _context(module: nn.Module, batches: Batches, layer: Layer, head: str | None, seed: int) -> Context:
    """The context of strategies and metrics at ``layer``."""
    example = _first_images(batches)
    _, final = _find_parts(module, example, layer, head)
    fed = head_if_fed(prepare(module, [], example.device), final, layer, example)
    return Context(find_module(module, layer.name), fed, seed)


def _find_parts(module: nn.Module, example: Tensor, layer: str | Layer | None, head: str | None) -> tuple[Layer, str]:
    """The layer asked for, as its output asks to be read, and the head."""
    plain = prepare(module, [], example.device)
    final = head or find_anatomy(plain, example).head or find_head(module)
    if isinstance(layer, Layer):
        find_module(module, layer.name)
        return layer, final
    anatomy = find_anatomy(plain, example, final)
    if anatomy.layer is not None and layer in (None, anatomy.layer.name):
        return anatomy.layer, final
    if layer is None:
        raise ConfigError(
            f"No layer feeds the head: {anatomy.problem}. Make what the head reads a submodule's output (nn.ReLU for "
            "torch.relu, say), or choose a layer with layer=."
        )
    found = find_layers(plain, [layer], example)
    if len(found) > 1:
        raise ConfigError(f"{layer!r} stands for {len(found)} layers. Choose one.")
    return found[0], final


def _first_images(batches: Batches) -> Tensor:
    """A few images, on the CPU."""
    for shown, _ in batches:
        return shown[:8].cpu()
    raise DataError("The batches hold no images.")


def _checked_labels(labels: Tensor, classes: int) -> Int64[Tensor, " n"]:
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise DataError(f"Labels must be integers (N,), one class number per image, not {_shown(labels)}.")
    labels = labels.cpu().long()
    count_classes(labels, classes)
    return labels


def _shown(labels: Tensor) -> str:
    return f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"


def _count(batches: Batches) -> int:
    """How many images ``batches`` holds, without reading them where it can say."""
    for part in ("sampler", "dataset"):  # a sampler may draw fewer images, or more
        held = getattr(batches, part, None)
        if isinstance(held, Sized):
            return len(held)
    if isinstance(batches, Sequence):
        return sum(len(labels) for _, labels in batches)
    raise ConfigError(
        "ddeep reads the batches more than once: give a DataLoader over a dataset with a length, or a list of "
        "(images, labels)."
    )
