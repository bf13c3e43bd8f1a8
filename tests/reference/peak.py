"""The mean over a class's images of the maximum of a filter's map, position by position."""

from __future__ import annotations

from collections.abc import Sequence

Map = Sequence[Sequence[float]]


def peak(maps: Sequence[Sequence[Map]], labels: Sequence[int], classes: int) -> list[list[float]]:
    """``maps[n][j]`` is the map of filter j on image n; 0 for classes without images."""
    table = []
    for c in range(classes):
        own = [image for image, label in zip(maps, labels, strict=True) if label == c]
        row = []
        for j in range(len(maps[0])):
            largest = [max(value for line in image[j] for value in line) for image in own]
            row.append(sum(largest) / len(largest) if largest else 0.0)
        table.append(row)
    return table
