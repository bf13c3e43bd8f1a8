"""The curve of a training run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ddeep.reports.style import save
from ddeep.reports.training_curve import training_curve
from ddeep.training.history import EpochRow


def rows(test_accuracy: float | None) -> list[dict[str, object]]:
    return [asdict(EpochRow(epoch, 1 / epoch, 50.0 + epoch, 1.5, 100.0, 0.1, None, test_accuracy)) for epoch in (1, 2)]


def test_it_shows_both_losses_and_accuracies(tmp_path: Path) -> None:
    plot = training_curve(rows(40.0), "a <strange> title")
    loss, accuracy = plot.figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[1.0, 0.5]]
    assert [list(line.get_ydata()) for line in accuracy.lines] == [[51.0, 52.0], [40.0, 40.0]]
    png, svg, pdf = save(plot, tmp_path)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()


def test_without_a_test_split_there_is_one_accuracy() -> None:
    assert len(training_curve(rows(None), "title").figure.axes[1].lines) == 1
