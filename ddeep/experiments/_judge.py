"""What the head makes of the selections of a comparison, judged from one layer's cached responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..evidence.context import Context
from ..heads.ablation import essentiality_all
from ..heads.accuracy import right_all
from ..heads.null import null_right, p_value, random_masks
from ..heads.paired import accuracy_intervals
from ..heads.penalty import Penalty, fit
from ..heads.refit import L2, groups_of, heads_at_once
from ..networks.device import exact_device
from ..networks.head import Head
from ..selections.form import HeadForm
from ..selections.measure import SplitEvidence
from ..selections.selection import Selection
from ._standing import add_standing

DRAWS = 200  # random selections that make the null
REFIT_DRAWS = 20  # of those, the ones that are refitted, too
REFIT_NUMBERS = 2**31  # images × classes × filters beyond which none are: a refit takes minutes there

Sizes: TypeAlias = tuple[tuple[int, ...], int | None]


class Judge:
    """Adds to rows what the head makes of their masks ``(H, C, K)`` on the test split."""

    def __init__(self, evidence: SplitEvidence, head: Head, masks: Bool[Tensor, "h c k"], context: Context) -> None:
        self.train, self.test, self.head, self.context = evidence.train, evidence.of_test(), head, context
        self.device = exact_device(context.device)
        self.responses, self.labels = self.test.cached_responses()
        self.masks, self.whose = torch.unique(masks, dim=0, return_inverse=True)
        self.outcomes: Bool[Tensor, "h n"] = torch.zeros(0, len(self.labels), dtype=torch.bool)  # of the latest stage

    def _right(self, heads: Sequence[Head]) -> Bool[Tensor, "h n"]:
        """Which test images each head gets right."""
        return right_all(self.responses, self.labels, heads, device=self.device)

    def _add_accuracies(self, rows: list[dict[str, Any]], name: str, right: Bool[Tensor, "h n"]) -> None:
        self.outcomes, images = right, len(self.labels)
        counts = right.sum(1)
        intervals = accuracy_intervals(counts, images).tolist()
        for row, own in zip(rows, self.whose.tolist(), strict=True):
            row[name] = 100 * int(counts[own]) / images
            row[f"{name}_interval"] = intervals[own]

    def add_standing(self, rows: list[dict[str, Any]]) -> None:
        """How the rows of each k and budget differ from the best and the full network, by what they are ranked by."""
        (full,) = self._right([self.head])
        for k, budget in dict.fromkeys((row["k"], row["budget"]) for row in rows):
            at = [number for number, row in enumerate(rows) if (row["k"], row["budget"]) == (k, budget)]
            add_standing([rows[i] for i in at], self.outcomes[self.whose[at]], full, self.context.seed)

    def add_decomposed(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Accuracies of the decomposed heads, and how random selections of the same sizes compare; the nulls."""
        right = torch.cat(
            [
                self._right([Head(self.head.weight * mask, self.head.bias) for mask in some])
                for some in self.masks.split(heads_at_once(*self.head.weight.shape))
            ]
        )
        self._add_accuracies(rows, "decomposed", right)
        found: dict[Sizes, Int64[Tensor, " d"]] = {}
        images = len(self.labels)
        for row, own in zip(rows, self.whose.tolist(), strict=True):
            sizes = self._sizes(row, own)
            if sizes not in found:
                found[sizes] = null_right(
                    *(self.responses, self.labels, self.head, *sizes, DRAWS, self.context.generator()),
                    device=self.device,
                )
            row["null_mean"] = 100 * found[sizes].double().mean().item() / images
            row["p_value"] = p_value(int(right[own].sum()), found[sizes])
        return [_null(*sizes, 100 * right.double() / images) for sizes, right in found.items()]

    def _sizes(self, row: dict[str, Any], own: int) -> Sizes:
        """What random selections have in common with a row's: the filters of each class, and the budget."""
        return tuple(self.masks[own].sum(1).tolist()), row["budget"]

    def add_learned(self, rows: list[dict[str, Any]], selections: Iterable[Selection]) -> None:
        """Accuracies of the heads that strategies have learned along with their selections."""
        for row, selection in zip(rows, selections, strict=True):
            if selection.head is not None:
                right = self._right([selection.learned_head(self.head)])
                row["learned"] = 100 * int(right.sum()) / len(self.labels)
                row["learned_interval"] = accuracy_intervals(right.sum(1), len(self.labels))[0].tolist()

    def add_essentiality(self, rows: list[dict[str, Any]]) -> None:
        """Percent of a class lost with noise at its filters beyond that lost with noise at all others."""
        found = essentiality_all(
            self.responses, self.labels, *self.head, self.masks, seed=self.context.seed, device=self.device
        )
        images = self.test.class_counts[self.test.present].double()
        lost = (found["others"] - found["selected"])[:, :, self.test.present].double()
        gaps = (100 * lost / images).mean(2)
        for row, own in zip(rows, self.whose.tolist(), strict=True):
            row["essentiality_gap"] = gaps[own].mean().item()
            row["essentiality_spread"] = gaps[own].std().item()

    def add_refit(self, rows: list[dict[str, Any]], l2: float | None, form: HeadForm) -> None:
        """Accuracies of the heads refitted in a form, with the penalty ``l2`` or with one chosen for each."""
        responses, labels = self.train.cached_responses()
        right = torch.zeros(len(self.masks), len(self.labels), dtype=torch.bool)
        penalties: dict[int, Penalty] = {}
        for group in groups_of(self.masks, labels):  # heads of many classes are large: they go when they are judged
            masks, seed = self.masks[group], self.context.seed
            fitted = fit(responses, labels, self.head, masks, l2=l2, seed=seed, form=form, device=self.device)
            right[group] = self._right([head for head, _ in fitted])
            penalties |= zip(group, (penalty for _, penalty in fitted), strict=True)
        self._add_accuracies(rows, "refit", right)
        for row, own in zip(rows, self.whose.tolist(), strict=True):
            row["refit_l2"], row["refit_kept"] = penalties[own].l2, penalties[own].kept

    def add_refit_null(self, rows: list[dict[str, Any]], nulls: list[dict[str, Any]], form: HeadForm) -> None:
        """How random selections of the same sizes compare after the refit, at the median of these rows' penalties."""
        responses, labels = self.train.cached_responses()
        if responses.numel() * int(self.train.present.sum()) > REFIT_NUMBERS:
            return
        sizes = [self._sizes(row, whose) for row, whose in zip(rows, self.whose.tolist(), strict=True)]
        for at, null in zip(dict.fromkeys(sizes), nulls, strict=True):
            own = [row for row, size in zip(rows, sizes, strict=True) if size == at]
            l2 = sorted(row["refit_l2"] or L2 for row in own)[len(own) // 2]
            drawn = random_masks(*at, self.masks.shape[2], REFIT_DRAWS, self.context.generator())
            fitted = fit(responses, labels, self.head, torch.cat([*drawn]), l2=l2, form=form, device=self.device)
            right = self._right([head for head, _ in fitted]).sum(1)
            null["refit"], null["refit_l2"] = (100 * right.double() / len(self.labels)).tolist(), l2
            for row in own:
                row["refit_p_value"] = p_value(round(row["refit"] * len(self.labels) / 100), right)


def _null(sizes: tuple[int, ...], budget: int | None, percent: Float[Tensor, " d"]) -> dict[str, Any]:
    low, middle, high = torch.quantile(percent, torch.tensor([0.025, 0.5, 0.975], dtype=percent.dtype)).tolist()
    return {
        "filters_per_class": sizes[0] if len(set(sizes)) == 1 else list(sizes),
        "budget": budget,
        "draws": len(percent),
        "mean": percent.mean().item(),
        "std": percent.std().item(),
        "quantiles": {"0.025": low, "0.5": middle, "0.975": high},
        "decomposed": percent.tolist(),
        "refit": None,
        "refit_l2": None,
    }
