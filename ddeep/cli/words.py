"""Results in plain words, for whoever has not read the paper."""

from __future__ import annotations

from typing import Any


def sentence(document: dict[str, Any]) -> str:
    """What a run has found, in plain words."""
    sizes = sorted({len(row["filters"]) for row in document["per_class"] if row["filters"]})
    many = f"{sizes[0]} to {sizes[-1]} filters" if len(sizes) > 1 else f"{sizes[0]} filter{'s' * (sizes[0] > 1)}"
    accuracy = {name: percent for name, percent in document["accuracy"].items() if percent is not None}
    after = [f"{accuracy[name]:.2f} % {words}" for name, words in _AFTERWARDS.items() if name in accuracy]
    if "decomposed" not in accuracy:
        return (
            f"Each class has {many} of a layer that does not feed the head, so no head was made of them; the full "
            f"network gets {accuracy['full']:.2f} % of the test images right."
        )
    return (
        f"With {many} a class the network gets {accuracy['decomposed']:.2f} % of the test images right"
        f"{''.join(f', {part}' for part in after)}; with all filters {accuracy['full']:.2f} %."
    )


def doubt(document: dict[str, Any]) -> str:
    """What to say of a network that is right no more often than one that calls every image the same; else nothing."""
    import torch

    from ..heads.paired import accuracy_intervals

    largest = max(document["per_class"], key=lambda row: row["images"])
    images = sum(row["images"] for row in document["per_class"])
    full = document["accuracy"]["full"]
    low = accuracy_intervals(torch.tensor([round(full * images / 100)]), images)[0, 0]
    if low > 100 * largest["images"] / images:
        return ""
    return (
        f"The network has hardly learned anything: with all filters it gets {full:.2f} % of {images:,} test images "
        f"right, and calling each of them {largest['class']} {100 * largest['images'] / images:.2f} %. Train it for "
        "longer, or check weights and preprocessing: so it cannot be told what its filters are needed for."
    )


_AFTERWARDS = {
    "learned": "with the strategy's own head",
    "refit": "once its head is fitted anew",
    "finetuned": "once all of it is trained so",
}


def metric_facts(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Each metric's one number, with what it means."""
    from ..registry.registry import registry
    from ..selections.measure import headline

    known = {spec.name: spec for spec in registry().metrics.unambiguous()}
    found = []
    for name, figure in figures.items():
        spec = known.get(name.partition(":")[0])
        number = headline(spec, figure) if spec is not None else figure if isinstance(figure, int | float) else None
        value = "not defined here" if number is None else f"{number:.4g}"
        found.append((name, f"{value}  {spec.summary}" if spec is not None else value))
    return found
