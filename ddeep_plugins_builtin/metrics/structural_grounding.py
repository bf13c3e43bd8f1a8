"""Do classes share filters where they are alike in the world?"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import Context, DataError, Selection, SplitEvidence, Statistic, read_bounded

PAIRS = 25  # of classes, the most alike ones
_MOST_BYTES = 2**30


def needs(split: str, option: str = "") -> list[Statistic]:
    """None: a table that cannot be read is said to be so before any image is."""
    if option and split == "train":
        read_table(option)
    return []


def measure(evidence: SplitEvidence, selection: Selection | None, context: Context, option: str = "") -> float | None:  # noqa: ARG001
    """Of the ``PAIRS`` pairs of classes most alike by the table ``option``, Σ likeness by filters / Σ likeness given.

    By filters, two classes are as alike as the cosine of their 0/1 memberships. 1: what is alike shares as much as it
    is alike; 0: it shares nothing. All pairs where there are fewer, of the classes that have filters; None where no two
    are alike, and, with a warning, without a table. Norrenbrock et al., QPM, ICLR 2025 (arXiv 2502.20130), who take the
    cosine of CUB's attributes; their sum over the 50 largest entries of the table counts every pair twice.
    """
    assert selection is not None
    if not option:
        warnings.warn(
            "structural-grounding needs to be told how alike the classes are, so none is given. "
            "Write structural-grounding:FILE.csv, a table with the names of the classes in its first line.",
            stacklevel=2,
        )
        return None
    given = read_table(option).of(selection.classes or tuple(map(str, range(len(selection.filters)))))
    present = sorted(set(range(len(selection.filters))) - set(selection.absent))
    return grounding(selection.membership().double(), given[present][:, present])


def grounding(members: Float[Tensor, "p k"], given: Float[Tensor, "p p"]) -> float | None:
    """See ``measure``: of classes that all have filters, which are rows of ``members``."""
    unit = members / members.norm(dim=1, keepdim=True)
    one, other = torch.triu_indices(len(unit), len(unit), offset=1)
    most = given[one, other].argsort(descending=True, stable=True)[:PAIRS]
    one, other = one[most], other[most]
    total = given[one, other].sum().item()
    return (unit[one] * unit[other]).sum().item() / total if total > 0 else None


@dataclass(frozen=True)
class Table:
    """How alike classes are: ``alike[i, j]``, from 0 to 1, of the classes ``names[i]`` and ``names[j]``."""

    path: str
    names: tuple[str, ...]
    alike: Float[Tensor, "n n"]

    def of(self, classes: Sequence[str]) -> Float[Tensor, "c c"]:
        """The same of ``classes`` in their order. Raises DataError where it leaves one out."""
        missing = [name for name in classes if name not in self.names]
        if missing:
            raise DataError(f"{self.path} does not say how alike {missing[0]!r} is to the others. {_EXPECTED}")
        place = {name: at for at, name in enumerate(self.names)}
        order = [place[name] for name in classes]
        return self.alike[order][:, order]


def read_table(path: str) -> Table:
    """A CSV of names and, below, as many lines of numbers.

    Raises DataError unless the names differ, and the numbers are from 0 to 1 and the same both ways.
    """
    try:
        named, *lines = csv.reader(read_bounded(Path(path), _MOST_BYTES).decode("utf-8-sig").splitlines())
        alike = torch.tensor([[float(cell) for cell in line] for line in lines], dtype=torch.float64)
    except OSError as error:
        raise DataError(f"Cannot read the table of classes {path}: {error.strerror or error}.") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is no table of classes: {error}. {_EXPECTED}") from None
    names = tuple(name.strip() for name in named)
    if len(set(names)) != len(names) or alike.shape != (len(names), len(names)):
        raise DataError(
            f"{path} has {len(names)} names, {len(set(names))} different, above {len(lines)} lines. {_EXPECTED}"
        )
    if not bool(((alike >= 0) & (alike <= 1) & (alike == alike.T)).all()):
        raise DataError(f"{path} has numbers that are not from 0 to 1, or not the same both ways. {_EXPECTED}")
    return Table(path, names, alike)


_EXPECTED = "Expected a CSV file: a line of class names, then for each, in this order, a line of numbers from 0 to 1."
