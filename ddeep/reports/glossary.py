"""What the page's terms mean, each in a sentence or two, shown at the term itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..registry.specs import MetricSpec, StrategySpec

TERMS = {
    "filter": "One output channel of the layer. Its number is its place among the layer's outputs, counted from 0.",
    "response": "A filter's activation averaged over the positions of an image: one number for each image and filter.",
    "decomposed": "The final layer restricted to the selection: each class sees its own filters and no others.",
    "refit": "The decomposed head fitted again on the train split, with the rest of the network left as it is.",
    "learned": "A head that the strategy has learned along with the filters.",
    "finetuned": "The whole network trained through the decomposed head.",
    "random": (
        "Selections drawn at random, with as many filters for each class as the run's own, decomposed in the same way."
    ),
    "p": (
        "How often chance alone would do as well. Of random selections: the share at least as accurate, the "
        "run's own counted among them. Of two stages: McNemar's exact test on the images that only one of "
        "them gets right."
    ),
    "interval": (
        "In brackets: 95 % intervals. Wilson's for an accuracy; for a difference, the bootstrap over the test "
        "images, both outcomes of an image drawn together."
    ),
    "noise": (
        "Essentiality: responses replaced by independent N(0, 1) noise, once at the filters of the image's "
        "own class and once at all the others, in the full network. What is essential is missed."
    ),
    "wr": (
        "What a filter adds to a class's logit: its weight in the head times its response. The logit is the "
        "sum over all filters, and the bias. Below 0 it speaks against the class."
    ),
    "share": (
        "A filter's mean W·r over the class's test images, of the sum of the magnitudes |W·r| over all "
        "filters of the layer. It keeps its sign; magnitudes add up to 100 %."
    ),
    "silenced": (
        "Change of a class's test accuracy when the filter's response is set to 0 in the full network; exact, "
        "from the stored responses."
    ),
    "purity": "Of the 100 train images with the filter's largest responses, the share that is of one class.",
    "alike": "Pearson's correlation of two filters' responses over the train images.",
    "typical": "The filter's mean response to the class's own test images, in the run's network.",
    "estimate": (
        "The sample holds more mistakes than the test split. The estimate counts each image as often as the "
        "images of the test split that it stands for."
    ),
}


def score_term(document: Mapping[str, Any], spec: StrategySpec | None) -> str:
    """What a score of the run's strategy is, as far as its plugin says; ``spec`` is None where it is not installed."""
    strategy = document.get("strategy")
    if strategy is None:
        return "The selection was given, with these scores."
    told = f": {spec.summary}" if spec is not None else ""
    counted = ", each a number of the class's train images" if spec is not None and spec.counts_images else ""
    return f"What the strategy {strategy} ranks filters by{told}. Scores compare filters of one class{counted}."


def metric_key(name: str) -> str:
    """The key of a metric's term, fit for an identifier; ``psi:0.9`` has that of ``psi``."""
    return f"metric-{re.sub('[^A-Za-z0-9]', '-', name.partition(':')[0])}"


def metric_terms(specs: Iterable[MetricSpec]) -> dict[str, str]:
    """What each metric is, and where it comes from."""
    return {
        metric_key(spec.name): f"{spec.name}: {spec.summary}." + (f" {spec.source}." if spec.source else "")
        for spec in specs
    }
