"""ddeep in a few lines, for any ``nn.Module`` and any ``DataLoader`` of ``(images, labels)``.

>>> selection = ddeep.select(model, train_loader, strategy="paper", k=5, layer="layer4")
>>> decomposed = ddeep.decompose(model, selection)
>>> refitted = ddeep.refit(model, train_loader, selection)
>>> ddeep.evaluate(refitted, test_loader), ddeep.measure(model, train_loader, selection, layer="layer4")
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import console
from .data.batches import read_batch
from .data.labels import check_labels
from .errors import ConfigError, DataError
from .evidence.evidence import Evidence
from .evidence.given import Batches, collect, first_images, look, run_on_given
from .exports.cut import cut_network
from .exports.forget import forget
from .exports.formats import Format, write_network
from .exports.plain import plain_network
from .exports.plan import CutPlan
from .heads.decomposed import decompose, head_of
from .heads.penalty import fit
from .networks.device import resolve_device
from .networks.head import set_head
from .networks.inference import batch_bound, batch_warning, prepare
from .networks.layer import Layer
from .networks.logits import check_logits
from .networks.wrappers import unwrapped
from .results.run import load
from .selections.form import HeadForm
from .selections.k import parse_k
from .selections.measure import SplitEvidence, always_measured, get_metric, keeps
from .selections.measure import measure as run_metrics
from .selections.measure import needed as needed_by_metrics
from .selections.select import choose, get_strategy, needed
from .selections.selection import Selection
from .statistics.statistic import Statistic

__all__ = ["cut", "decompose", "evaluate", "export", "forget", "gather", "load", "measure", "refit", "select"]


# Networks made in inference mode could never be run with gradients.
_outside_inference_mode = torch.inference_mode(mode=False)


@_outside_inference_mode
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

    Batches are ``(images, labels, …)`` or mappings that name both; labels are integers (N,), the numbers of the
    outputs. Where the network returns more than its logits, they are the first of a tuple, or named ``logits``. By
    default ``head`` is the ``nn.Linear`` whose output is the network's, and ``layer`` is the one that feeds it: where
    no submodule does, the head's input itself, ``<head>:input``. The module is not changed; compiled, DataParallel and
    averaged ones are read as the network inside.
    """
    return collect(look(module, batches, layer, head), batches, statistics, device)


@_outside_inference_mode
def select(
    module: nn.Module,
    batches: Batches,
    *,
    strategy: str,
    k: int | float,
    budget: int | None = None,
    layer: str | Layer | None = None,
    head: str | None = None,
    device: str = "auto",
    seed: int = 0,
) -> Selection:
    """The ``k`` filters of ``layer`` that matter most to each class, by a strategy's name. See ``gather``.

    With a ``budget`` all classes together have no more than so many different ones.
    """
    spec, k = get_strategy(strategy), parse_k(k)
    parts = look(module, batches, layer, head)
    evidence = collect(parts, batches, needed(spec, [k]), device)
    found = choose(spec, evidence, k, replace(parts.context(seed, resolve_device(device)), budget=budget))
    fed = parts.head if parts.context().head is not None else None
    source = {"strategy": spec.name, "k": k, "budget": budget, "layer": evidence.layer.name, "head": fed}
    return replace(found, source={**source, **found.source})


@_outside_inference_mode
def refit(
    module: nn.Module,
    batches: Batches,
    selection: Selection,
    *,
    layer: str | Layer | None = None,
    head: str | None = None,
    device: str = "auto",
    l2: float | None = None,
    seed: int = 0,
    form: HeadForm = "real",
) -> nn.Module:
    """``decompose`` the network, and fit its decomposed head to the labels of ``batches``, the rest as it is.

    One pass over ``batches``, the train split; layer and head are by default those of the selection, and the one must
    feed the other. See ``gather``. The penalty ``l2`` is by default chosen on a tenth of the images, drawn with
    ``seed``; where no refit is better there than the decomposed head as it is, that one is kept, with a warning.
    ``form`` is real, shared, ternary or binary: what the weights may be (docs/heads.md). Raises ConfigError where the
    layer does not feed the head, and SelectionError for a selection that does not fit.
    """
    wanted = layer if layer is not None else selection.source.get("layer")
    parts = look(module, batches, wanted, head or head_of(selection))
    dense, name = parts.context().needed_head(), parts.named_head()
    decomposed = decompose(module, selection, head=name)
    evidence = collect(parts, batches, (), device)
    masks, place = selection.mask()[None], resolve_device(device)
    data = evidence.cached_responses()
    ((fitted, penalty),) = fit(*data, dense, masks, l2=l2, seed=seed, form=form, device=place)
    if penalty.kept != "refit":
        console.warn(penalty.warning())
    set_head(decomposed, name, *fitted)
    return decomposed


@_outside_inference_mode
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
    specs = always_measured() if metrics is None else [get_metric(name) for name in metrics]
    ks = [selection.size] if selection is not None and selection.size is not None else []
    of_test = needed_by_metrics(specs, "test", ks)
    reading = [
        spec.name for spec in specs if needed_by_metrics([spec], "test", ks) or keeps([spec], "test") or spec.reruns
    ]
    if reading and test_batches is None:
        raise ConfigError(f"The metric {reading[0]!r} reads the test split: give test_batches.")
    parts = look(module, batches, layer, head)
    train = collect(parts, batches, needed_by_metrics(specs, "train", ks), device)
    test = collect(parts, test_batches, of_test, device) if test_batches is not None else None
    context = parts.context(seed, resolve_device(device))
    if test_batches is not None:
        context = replace(context, layer=parts.layer, run_test=partial(run_on_given, parts, test_batches, device))
    return run_metrics(specs, SplitEvidence(train, test), selection, context)


@_outside_inference_mode
def export(
    module: nn.Module,
    batches: Batches,
    path: str | Path,
    *,
    to: Format,
    facts: Mapping[str, Any] | None = None,
    head: str | None = None,
) -> Path:
    """Write ``module``, decomposed or not, as a file that needs no ddeep: ``safetensors``, ``pt2`` or ``onnx``.

    ``facts`` (JSON-ready) go into the file's metadata. The images of ``batches`` say what it takes; the batch axis is
    free. Programs are run once and compared with the module before they get their name. Raises ConfigError where an
    extra is missing or it cannot be traced.
    """
    images, place = first_images(batches), Path(path)
    network = plain_network(unwrapped(module), look(module, batches, None, head).named_head())
    write_network(network, images.repeat(2, 1, 1, 1)[:2], place, to, facts or {})
    return place


@_outside_inference_mode
def cut(
    module: nn.Module,
    batches: Batches,
    classes: Sequence[int],
    *,
    zeroed: Mapping[str, Sequence[int]] | None = None,
    head: str | None = None,
) -> nn.Module:
    """A physically smaller copy of ``module`` with the logits of ``classes`` alone, in this order.

    What none of them uses is not computed; their logits stay what they were, to 1e-5. ``zeroed`` are filters of inner
    layers, by dotted name, that are removed besides, as if their output were zero. Raises ConfigError where the module
    cannot be traced, naming the submodule.
    """
    name = look(module, batches, None, head).named_head()
    network = plain_network(unwrapped(module), name)
    rows = {layer: tuple(filters) for layer, filters in (zeroed or {}).items()}
    return cut_network(network, replace(CutPlan.exact(network, name, classes), zeroed=rows), first_images(batches))


def evaluate(module: nn.Module, batches: Batches, *, device: str = "auto") -> float:
    """Accuracy of ``module`` in percent, in eval mode.

    Raises DataError for labels that are not integers (N,), numbers of the outputs, and for logits that are not finite.
    """
    place = resolve_device(device)
    ready = prepare(module, [], place)
    if bound := batch_bound(unwrapped(module)):
        console.warn(batch_warning(bound, "as they are given"))
    right = images = 0
    with torch.no_grad():
        for shown, labels in map(read_batch, batches):
            logits = check_logits(ready(shown.to(place)), len(shown)).cpu()
            right += int((logits.argmax(1) == check_labels(labels, *logits.shape)).sum())
            images += len(shown)
    if images == 0:
        raise DataError("There are no images to evaluate on.")
    return 100.0 * right / images
