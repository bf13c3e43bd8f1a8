"""Essentiality: what is left of a class when its filters, or all others, are replaced by noise."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ddeep.plugin import Context, Layer, Replay, Selection, SplitEvidence, essentiality, noise_draws, right_by_class

DRAWS = 5


def measure(
    evidence: SplitEvidence, selection: Selection | None, context: Context, option: float = DRAWS
) -> dict[str, Any]:
    """Percent of each class's test images still classified right with noise at its filters, and at all others.

    Independent N(0, 1) noise takes the place of the responses; ``option`` draws of it, mean and standard deviation.
    ``gap`` is the mean over classes of others − selected. Where the layer does not feed the head, the network runs on
    from it: a replaced filter is constant over positions, so that its response is the noise, as at the head.
    """
    assert selection is not None
    test, mask, draws = evidence.of_test(), selection.mask(), max(1, int(option))
    if context.head is not None:
        data, device = test.cached_responses(), context.device
        found = essentiality(*data, *context.head, mask, draws=draws, seed=context.seed, device=device)
    else:
        found = run_on(*context.needed_run(), mask, draws, context.seed)
    images, present = test.class_counts.double(), test.present
    percent = {name: 100 * counts / images for name, counts in found.items()}
    means = {name: table.mean(0) for name, table in percent.items()}
    spread = {name: percent[name].std(0, correction=min(1, draws - 1)) for name in ("selected", "others")}
    return {
        "gap": (means["others"] - means["selected"])[present].mean().item(),
        "draws": draws,
        **{name: _listed(means[name], present) for name in ("clean", "selected", "others")},
        **{f"{name}_spread": _listed(spread[name], present) for name in ("selected", "others")},
    }


def run_on(
    layer: Layer, run: Replay, mask: Bool[Tensor, "c k"], draws: int, seed: int
) -> dict[str, Int64[Tensor, "d c"]]:
    """Correct images per class, counted as by ``evaluation.essentiality``, the network running on from ``layer``."""
    classes, filters = mask.shape
    views = [(view.labels.cpu(), view.logits.argmax(1).cpu(), int(view.indices.max())) for view in run()]
    clean = sum(right_by_class(labels, predicted, classes) for labels, predicted, _ in views)
    found: dict[str, list[Tensor]] = {"clean": [torch.as_tensor(clean)], "selected": [], "others": []}
    for noise in noise_draws((1 + max(last for *_, last in views), filters), draws, seed):
        for name, chosen in (("selected", mask), ("others", ~mask)):
            noisy = run(_Noise(layer, chosen, noise))
            right = sum(right_by_class(v.labels.cpu(), v.logits.argmax(1).cpu(), classes) for v in noisy)
            found[name].append(torch.as_tensor(right))
    return {name: torch.stack(rows) for name, rows in found.items()}


class _Noise:
    """Replaces the filters that ``chosen`` ``(C, K)`` marks for an image's class by ``noise`` ``(N, K)``."""

    def __init__(self, layer: Layer, chosen: Tensor, noise: Float[Tensor, "n k"]) -> None:
        self.layer, self.chosen, self.noise = layer, chosen, noise

    def __call__(self, output: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        shape = [1] * output.dim()
        shape[0] = len(labels)
        shape[self.layer.filter_axis(output)] = self.chosen.shape[1]
        marked = self.chosen.to(output.device)[labels].view(shape)
        noise = self.noise[indices.to(self.noise.device)].to(output).view(shape)
        return torch.where(marked, noise, output)


def _listed(values: Tensor, present: Tensor) -> list[float | None]:
    return [value if there else None for value, there in zip(values.tolist(), present.tolist(), strict=True)]
