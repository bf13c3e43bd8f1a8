"""What training went through, epoch by epoch: as rows and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..files.atomic import written_whole


@dataclass(frozen=True)
class EpochRow:
    """One epoch: mean training loss and accuracy (percent, on augmented images, while the weights were changing).

    ``penalty`` is the regularizer's mean part of the loss, ``test_accuracy`` percent after the epoch, where measured;
    ``seconds`` the time of training alone, ``images_per_second`` its speed.
    """

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    images_per_second: float
    learning_rate: float
    penalty: float | None = None
    test_accuracy: float | None = None


@dataclass
class History:
    """The rows of all epochs so far."""

    rows: list[EpochRow] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time spent training, over all sittings."""
        return sum(row.seconds for row in self.rows)

    def to_json(self) -> list[dict[str, Any]]:
        """One object an epoch."""
        return [asdict(row) for row in self.rows]

    @classmethod
    def from_json(cls, rows: list[dict[str, Any]]) -> History:
        """What ``to_json`` gave. Raises TypeError for anything else."""
        history = cls([EpochRow(**row) for row in rows])
        for row in history.rows:
            if not all(isinstance(value, int | float | None) for value in asdict(row).values()):
                raise TypeError("a figure of its history is no number")
        return history

    def write_csv(self, path: Path) -> None:
        """Write one line an epoch; figures not measured are empty."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.to_json())
        with written_whole(path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
