"""The built-in regularizers. Each is a module with ``build``; only its spec is read until it is used."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep.plugin import RegularizerSpec, hookimpl

_HERE = __name__


@hookimpl
def ddeep_regularizers() -> Iterator[RegularizerSpec]:
    yield RegularizerSpec(
        "leavitt",
        build=f"{_HERE}.leavitt:build",
        layers=("*relu*",),
        options={"alpha": -1.0},
        summary="class selectivity of every filter: alpha < 0 works against it, alpha > 0 for it (and costs accuracy)",
        source="Leavitt & Morcos, Selectivity considered harmful, arXiv 2003.01262, equation 3",
    )
    yield RegularizerSpec(
        "csg",
        build=f"{_HERE}.csg:build",
        head=True,
        options={"gated": 1.0, "density": 0.1, "budget": 10.0},
        published={"csg": "gate"},
        summary="a class x filter gate learned with the network; the strategy csg then selects by it",
        source="Liang et al., Training interpretable CNNs by differentiating class-specific filters, ECCV 2020",
    )
