"""Prune a head to fewer filters a class by optimal brain surgeon, class by class."""

from __future__ import annotations

import torch

from .fit import SparseHead, fit

KEPT = 0.8  # share of the filters that a round of pruning keeps


def prune(head: SparseHead, k: int) -> SparseHead:
    """Every class to ``k`` filters in rounds, each followed by a fit."""
    while head.width > k:
        head = without_least(head, max(k, min(head.width - 1, int(KEPT * head.width))))
    return head


def without_least(head: SparseHead, width: int) -> SparseHead:
    """Every class pruned to ``width`` on its quadratic model, then fitted.

    One after the other the weight that costs least goes, w² / 2[H⁻¹], and the others adjust to it (Hassibi & Stork,
    NIPS 1992, equations 5 and 6, here with the class's own block as H).
    """
    objective, weight = head.objective, head.weight.clone()
    _, shares = objective.loss_and_shares(head.support, weight)
    inverse = torch.linalg.inv(objective.own_blocks(head.support, shares.mul_(1 - shares)))
    everyone = torch.arange(objective.classes, device=weight.device)
    kept = torch.ones_like(head.support, dtype=torch.bool)
    for _ in range(head.width - width):
        spare = inverse.diagonal(dim1=1, dim2=2)
        cost = torch.where(kept, weight.square() / spare, torch.inf)
        cost[:, -1] = torch.inf  # the bias stays
        gone = cost.argmin(1)
        column, pivot = inverse[everyone, :, gone].clone(), spare[everyone, gone].clone()
        weight -= column * (weight[everyone, gone] / pivot)[:, None]
        inverse -= column[:, :, None] * (column / pivot[:, None])[:, None]
        inverse[everyone, gone, gone] = 1.0  # it stays out of everything that follows
        weight[everyone, gone], kept[everyone, gone] = 0.0, False
    places = kept.int().argsort(dim=1, descending=True, stable=True)[:, : width + 1]
    return fit(objective, head.support.gather(1, places), weight.gather(1, places))
