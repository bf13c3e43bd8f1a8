"""Every strategy's scores, or selection, from the definition: plain Python over plain lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log, sqrt
from statistics import mean, pvariance

from tests.reference.counts import mass_top_counts, top_counts

Table = list[list[float]]
Rows = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Case:
    """One layer's view of some images, all as lists: rows are images; ``weight`` is (C, K), ``kernels`` (K, …)."""

    responses: Rows
    labels: Sequence[int]
    classes: int
    zeros: Rows
    gradients: Rows
    weight: Rows
    kernels: Sequence[Sequence[float]]

    @property
    def filters(self) -> int:
        return len(self.responses[0])

    @property
    def present(self) -> list[int]:
        return sorted(set(self.labels))

    def column(self, rows: Rows, j: int, c: int) -> list[float]:
        """The values at filter j of the images of class c."""
        return [row[j] for row, label in zip(rows, self.labels, strict=True) if label == c]

    def rest(self, rows: Rows, j: int, c: int) -> list[float]:
        """The values at filter j of the images of the other classes."""
        return [row[j] for row, label in zip(rows, self.labels, strict=True) if label != c]

    def average(self, rows: Rows, j: int, c: int) -> float:
        return mean(self.column(rows, j, c))

    def average_elsewhere(self, rows: Rows, j: int, c: int) -> float:
        """The mean of the other classes' means; 0 without other classes."""
        others = [self.average(rows, j, other) for other in self.present if other != c]
        return mean(others) if others else 0.0

    def table(self, score: Callable[[int, int], float]) -> Table:
        """``score(c, j)`` for every class present and filter; 0 for absent classes, which nobody reads."""
        return [[score(c, j) if c in self.present else 0.0 for j in range(self.filters)] for c in range(self.classes)]


def mean_activation(case: Case) -> Table:
    return case.table(lambda c, j: case.average(case.responses, j, c))


def contrast(case: Case) -> Table:
    rows = case.responses
    return case.table(lambda c, j: case.average(rows, j, c) - case.average_elsewhere(rows, j, c))


def selectivity(case: Case) -> Table:
    def score(c: int, j: int) -> float:
        own, others = case.average(case.responses, j, c), case.average_elsewhere(case.responses, j, c)
        return (own - others) / (own + others + 1e-7)

    return case.table(score)


def d_prime(case: Case) -> Table:
    def score(c: int, j: int) -> float:
        own, others = case.column(case.responses, j, c), case.rest(case.responses, j, c)
        if not others:
            return 0.0
        return (mean(own) - mean(others)) / (sqrt((variance(own) + variance(others)) / 2) + 1e-7)

    def variance(responses: Sequence[float]) -> float:
        found = pvariance(responses)
        return found if found > 1e-12 * mean(x * x for x in responses) else 0.0

    return case.table(score)


def roc_auc(case: Case) -> Table:
    """Over all pairs of an image of the class and one of another: the exact area, without bins."""

    def score(c: int, j: int) -> float:
        pairs = [(r, s) for r in case.column(case.responses, j, c) for s in case.rest(case.responses, j, c)]
        return mean((r > s) + (r == s) / 2 for r, s in pairs) if pairs else 0.5

    return case.table(score)


def firing_rate(case: Case) -> Table:
    def score(c: int, j: int) -> float:
        others = [1 - case.average(case.zeros, j, other) for other in case.present if other != c]
        return 1 - case.average(case.zeros, j, c) - (mean(others) if others else 0.0)

    return case.table(score)


def mutual_information(case: Case) -> Table:
    """Bin 0 is the smallest value, bins 1 to 15 share the range; the largest value is in the last."""

    def bin_of(value: float, j: int) -> int:
        low, high = min(row[j] for row in case.responses), max(row[j] for row in case.responses)
        return 0 if value == low else min(15, 1 + int((value - low) / ((high - low) / 15)))

    def score(c: int, j: int) -> float:
        pairs = [(bin_of(row[j], j), label == c) for row, label in zip(case.responses, case.labels, strict=True)]
        total = 0.0
        for value, member in set(pairs):
            joint = pairs.count((value, member)) / len(pairs)
            of_bin = sum(v == value for v, _ in pairs) / len(pairs)
            of_member = sum(m == member for _, m in pairs) / len(pairs)
            total += joint * log(joint / (of_bin * of_member))
        return total

    return case.table(score)


def tf_idf(case: Case) -> Table:
    """A class mean that differs from the filter's average by rounding alone counts as equal to it."""
    rows = case.responses

    def score(c: int, j: int) -> float:
        total = sum(case.average(rows, i, c) for i in range(case.filters))
        if total == 0:
            return 0.0
        average = mean(case.average(rows, j, other) for other in case.present)
        above = sum(case.average(rows, j, other) >= average * (1 - 1e-9) for other in case.present)
        return case.average(rows, j, c) / total * log(len(case.present) / (1 + above))

    return case.table(score)


def contribution(case: Case) -> Table:
    return case.table(lambda c, j: case.weight[c][j] * case.average(case.responses, j, c))


def contrastive_contribution(case: Case) -> Table:
    def score(c: int, j: int) -> float:
        return (case.weight[c][j] - mean(row[j] for row in case.weight)) * case.average(case.responses, j, c)

    return case.table(score)


def weight(case: Case) -> Table:
    return case.table(lambda c, j: case.weight[c][j])


def weight_magnitude(case: Case) -> Table:
    return case.table(lambda c, j: abs(case.weight[c][j]))


def filter_norm(case: Case) -> Table:
    return case.table(lambda _c, j: sum(abs(value) for value in case.kernels[j]))


def gradient_activation(case: Case) -> Table:
    return case.table(lambda c, j: case.average(case.gradients, j, c))


def taylor(case: Case) -> Table:
    return case.table(lambda c, j: mean(abs(value) for value in case.column(case.gradients, j, c)))


def fisher(case: Case) -> Table:
    return case.table(lambda c, j: mean(value * value for value in case.column(case.gradients, j, c)) / 2)


def paper(case: Case, k: int | float) -> list[list[int]]:
    """The selection of every class; empty for absent ones."""
    return [_paper(case, c, k) if c in case.present else [] for c in range(case.classes)]


def _paper(case: Case, c: int, k: int | float) -> list[int]:
    count = top_counts if isinstance(k, int) else mass_top_counts
    counts = count(case.responses, case.labels, case.classes, k)[c]  # type: ignore[operator]
    loudness = [sum(abs(value) for value in case.column(case.responses, j, c)) for j in range(case.filters)]
    best_first = sorted(range(case.filters), key=lambda j: (-counts[j], -loudness[j], j))
    if isinstance(k, int):
        return best_first[:k]
    rarest_first = sorted(range(case.filters), key=lambda j: counts[j])  # stable, as the authors' sort
    kept, held = set(), 0
    for j in rarest_first:
        held += counts[j]
        if held > k * sum(counts):
            kept.add(j)
    return [j for j in best_first if j in kept]
