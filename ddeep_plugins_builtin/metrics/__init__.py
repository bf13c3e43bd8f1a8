"""The built-in metrics. Each is a module with ``measure`` and, where it needs statistics, ``needs``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ddeep.plugin import MetricSpec, hookimpl

_PAPER = "Badola et al., Decomposing the deep: finding class-specific filters in deep CNNs, NCAA 35(18), 2023"

_QPM = "Norrenbrock et al., QPM: Discrete optimization for globally interpretable image classification, ICLR 2025"


def _metric(name: str, summary: str, source: str, *, needs: bool = True, **flags: Any) -> MetricSpec:
    module = f"ddeep_plugins_builtin.metrics.{name.replace('-', '_')}"
    return MetricSpec(
        name,
        summary=summary,
        source=source,
        measure=f"{module}:measure",
        needs=f"{module}:needs" if needs else None,
        **flags,
    )


@hookimpl
def ddeep_metrics() -> Iterator[MetricSpec]:
    yield _metric(
        "psi",
        "share of a layer's filters that a class can do without while keeping half of the response mass (Ψ): "
        "0 where it needs all, towards 1 where it needs few",
        _PAPER,
        of="layer",
        always=True,
        headline="median",
        option=0.5,
    )
    yield _metric(
        "class-selectivity",
        "class selectivity index, 0 (all classes alike) to 1 (one class only), mean over filters",
        "Morcos et al., ICLR 2018; Leavitt & Morcos, arXiv 2003.01262",
        of="layer",
        always=True,
    )
    yield _metric(
        "pmi",
        "mean pairwise mutual information (nats) of the classes' filter memberships: "
        "0 where those of one class tell nothing of another's",
        _PAPER,
        always=True,
        per_k=True,
        measure_all="ddeep_plugins_builtin.metrics.pmi:measure_all",
    )
    yield _metric(
        "essentiality",
        "what is left of a class with noise at its filters, and at all others; essentiality:10 for ten draws",
        _PAPER,
        needs=False,
        headline="gap",
        responses=("test",),
        stochastic=True,
        option=5,
    )
    yield _metric(
        "knockout",
        "accuracy lost by each class with each filter knocked out: the exact class by filter table",
        "Morcos et al., ICLR 2018 (ablation); exact through the linear head",
        needs=False,
        of="layer",
        headline="largest",
        responses=("test",),
        head_only=True,
    )
    yield _metric(
        "precision",
        "share of the images exciting a class's filters most that belong to the class",
        "R-precision: Manning et al., Introduction to Information Retrieval, 2008, section 8.4",
        needs=False,
        headline="mean",
        responses=("test",),
    )
    yield _metric(
        "coverage",
        "share of a class's images that are among those exciting its filters most",
        "recall at R-precision's cut: Manning et al., Introduction to Information Retrieval, 2008, section 8.4",
        needs=False,
        headline="mean",
        responses=("test",),
    )
    yield _metric(
        "class-independence",
        "how little of a filter's response comes from its strongest class, mean over filters",
        _QPM,
        of="filters",
        compared=True,
    )
    yield _metric(
        "contrastiveness",
        "how cleanly a filter is either on or off: 1 - overlap of a two-component Gaussian mixture",
        _QPM,
        needs=False,
        of="filters",
        compared=True,
        responses=("train",),
    )
    yield _metric(
        "sid",
        "spatial diversity SID@k: do a class's k filters look at different places?",
        f"{_QPM}; diversity@k of the SLDD-Model, arXiv 2303.13166",
        needs=False,
        headline="mean",
        reruns=True,
        compared=True,
        measure_all="ddeep_plugins_builtin.metrics.sid:measure_all",
    )
    yield _metric(
        "twins",
        "how many pairs of classes have the same filters",
        f"none of these in {_QPM}",
        needs=False,
        compared=True,
    )
    yield _metric(
        "structural-grounding",
        "do classes share filters where they are alike? structural-grounding:FILE.csv says how alike they are",
        _QPM,
        option="",
    )
