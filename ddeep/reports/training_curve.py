"""Loss and accuracy of a training run, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import BLUE, ORANGE, Plot, grid, label, style, titled


def training_curve(epochs: Sequence[dict[str, Any]], title: str) -> Plot:
    """Two panels over the rows of a history: mean loss, and accuracy on the augmented train and the test images."""
    numbers = [row["epoch"] for row in epochs]
    tested = [(row["epoch"], row["test_accuracy"]) for row in epochs if row["test_accuracy"] is not None]
    with style():
        figure = Figure(figsize=(6.8, 2.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        loss.plot(numbers, [row["loss"] for row in epochs], color=BLUE, marker=".")
        accuracy.plot(numbers, [row["accuracy"] for row in epochs], color=BLUE, marker=".", label="train, augmented")
        if tested:
            accuracy.plot(*zip(*tested, strict=True), color=ORANGE, marker=".", label="test")
        for axes, name in ((loss, "loss"), (accuracy, "accuracy (%)")):
            axes.set(xlabel="epoch", ylabel=name)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            grid(axes, "y")
        accuracy.legend()
        titled(figure, label(title, 80))
    return Plot("curve", figure, f"{title}: loss and accuracy over {len(numbers)} epochs")
