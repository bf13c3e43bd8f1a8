"""Evidence of a subject: from the cache as far as it is there, the rest gathered in one pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..data.images import Split
from ..networks.layer import Layer
from ..statistics.statistic import Statistic
from .evidence import Evidence, by_round, count_classes, gather_kept
from .execution import run_pass
from .passes import Pass
from .response_cache import remove_leftovers
from .subject import Subject


def gather(
    subject: Subject, split: Split, requests: Mapping[Layer, Iterable[Statistic]], keep: Collection[Layer] = ()
) -> dict[Layer, Evidence]:
    """The statistics of every layer over a split, in one pass for whatever the cache does not have.

    Responses are kept for the layers in ``keep``, and where a second-round statistic needs them.
    """
    remove_leftovers()
    wanted = {layer: list(dict.fromkeys(statistics)) for layer, statistics in requests.items()}
    kept = {layer for layer in wanted if layer in keep or len(by_round(wanted[layer])) > 1}
    found: dict[Layer, Evidence | None] = dict.fromkeys(wanted)
    if not subject.unread(split):
        found = {layer: _cached(subject, split, layer, wanted[layer], layer in kept) for layer in wanted}
    lacking = {
        layer: [s for s in by_round(wanted[layer])[0] if found[layer] is None or s not in found[layer].statistics]  # type: ignore[union-attr]
        for layer in wanted
    }
    missing = {layer: statistics for layer, statistics in lacking.items() if found[layer] is None or statistics}
    if missing:
        writing = {layer for layer in missing if layer in kept and found[layer] is None}
        for layer, fresh in run_pass(subject, Pass(split, missing, frozenset(writing))).items():
            old = found[layer]
            if old is not None:
                fresh.statistics = {**old.statistics, **fresh.statistics}
                fresh.responses, fresh.labels = old.responses, old.labels
            found[layer] = fresh
    whole = {layer: evidence for layer, evidence in found.items() if evidence is not None}
    for layer, evidence in whole.items():
        gather_kept(evidence, wanted[layer], subject.device)
    return whole


def _cached(subject: Subject, split: Split, layer: Layer, wanted: list[Statistic], keep: bool) -> Evidence | None:
    """What the cache knows; None where the layer must be run anyway."""
    entry = subject.entry(split, layer)
    entry.check_probe()
    labels = subject.labels(split)
    counts = count_classes(labels, len(subject.classes))
    responses = entry.responses()
    if responses is not None and len(responses) == len(labels):
        evidence = Evidence(layer, split, counts, responses.shape[1], {}, responses, labels)
        gather_kept(evidence, [s for s in by_round(wanted)[0] if not s.extras], subject.device)
    elif keep:
        return None
    else:
        evidence = Evidence(layer, split, counts, 0)
    for statistic in by_round(wanted)[0]:
        if statistic not in evidence.statistics:
            loaded = statistic.twin()
            filters = entry.load(loaded, len(subject.classes))
            if filters is not None:
                evidence.statistics[loaded] = loaded
                evidence.filters = filters
    return evidence if evidence.filters else None
