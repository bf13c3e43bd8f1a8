"""What ``pruned-refit`` minimises, its best selection by trying all, the quadratic model from autograd, the teacher.

Heads are tables (C, K + 1), the biases last, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax, xlogy
from torch import Tensor

BIAS_PENALTY = 1e-6


def objective(head: Tensor, inputs: Tensor, targets: Tensor, penalty: Tensor) -> Tensor:
    """Mean over images of Σ_c t_c·ln(t_c / p_c), plus Σ_j penalty_j·Σ_c w_cj² / 2, biases having a penalty of 1e-6."""
    weight, bias = head[:, :-1], head[:, -1]
    shares = torch.softmax(inputs @ weight.T + bias, dim=1)
    terms = torch.where(targets > 0, targets * (targets.clamp(min=1e-300) / shares).log(), 0.0)
    return terms.sum(1).mean() + (penalty * weight.square()).sum() / 2 + BIAS_PENALTY * bias.square().sum() / 2


def slopes(head: Tensor, inputs: Tensor, targets: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of the objective, by flat positions in the table."""
    size = head.shape

    def flat(values: Tensor) -> Tensor:
        return objective(values.view(size), inputs, targets, penalty)

    gradient = torch.autograd.functional.jacobian(flat, head.flatten())
    return gradient, torch.autograd.functional.hessian(flat, head.flatten())


def minimum(inputs: Tensor, targets: Tensor, penalty: Tensor, support: Tensor) -> tuple[float, Tensor]:
    """The least value over heads that are zero outside ``support`` (biases free), by BFGS, and where it is."""
    free = np.c_[support.numpy(), np.ones(len(support), dtype=bool)]
    columns = np.c_[inputs.numpy(), np.ones(len(inputs))]
    penalties, goal = np.append(penalty.numpy(), BIAS_PENALTY), targets.numpy()
    entropy = -xlogy(goal, goal).sum() / len(goal)
    head = np.zeros(free.shape)

    def both(values: np.ndarray) -> tuple[float, np.ndarray]:
        head[free] = values
        shares = log_softmax(columns @ head.T, axis=1)
        value = -(goal * shares).sum() / len(goal) - entropy + (penalties * head**2).sum() / 2
        slope = (np.exp(shares) - goal).T @ columns / len(goal) + penalties * head
        return value, slope[free]

    found = minimize(both, np.zeros(free.sum()), jac=True, method="BFGS", options={"gtol": 1e-7})
    head[free] = found.x
    return float(found.fun), torch.from_numpy(head)


def supports(classes: int, filters: int, k: int) -> Iterator[Tensor]:
    """Every way to give each class k filters."""
    for rows in product(combinations(range(filters), k), repeat=classes):
        support = torch.zeros(classes, filters, dtype=torch.bool)
        for c, row in enumerate(rows):
            support[c, list(row)] = True
        yield support


def losses(inputs: Tensor, targets: Tensor, penalty: Tensor, k: int) -> list[float]:
    """The least value for every selection of k filters per class, sorted."""
    classes, filters = targets.shape[1], inputs.shape[1]
    return sorted(minimum(inputs, targets, penalty, support)[0] for support in supports(classes, filters, k))


def change(
    gradient: Tensor, hessian: Tensor, values: Tensor, used: list[int], out: int, into: int | None = None
) -> tuple[float, Tensor]:
    """The least of gᵀd + dᵀHd / 2 with parameter ``out`` at zero, and the values there.

    Parameters outside ``used`` stay as they are, except ``into``.
    """
    step = torch.zeros_like(values)
    step[out] = -values[out]
    free = sorted({*used, into} - {out, None})
    step[free] = torch.linalg.solve(hessian[free][:, free], -gradient[free] - hessian[free, out] * step[out])
    return float(gradient @ step + step @ hessian @ step / 2), values + step


def left_out(inputs: Tensor, labels: Tensor, classes: int, ridge: float) -> Tensor:
    """Each image's centred membership (C, N) by ridge regression on the other images, the means those of all."""
    images, filters = inputs.shape
    membership = torch.nn.functional.one_hot(labels, classes).double()
    membership = membership - membership.mean(0)
    columns = []
    for n in range(images):
        others = torch.arange(images) != n
        gram = inputs[others].T @ inputs[others] / images + ridge * torch.eye(filters, dtype=inputs.dtype)
        weight = torch.linalg.solve(gram, inputs[others].T @ membership[others] / images)
        columns.append(inputs[n] @ weight)
    return torch.stack(columns, 1)


def teacher(inputs: Tensor, labels: Tensor, classes: int, ridge: float, scales: list[float]) -> Tensor:
    """The predictions (N, C) of the scale that gives the labels the lowest cross-entropy."""
    logits = left_out(inputs, labels, classes, ridge)
    for c in range(classes):
        logits[c] -= logits[c, labels == c].mean() / 4
    shares = torch.bincount(labels, minlength=classes).double() / len(labels)
    tried = [torch.softmax(scale * logits.T + shares.log(), 1) for scale in scales]
    return min(tried, key=lambda found: -found[torch.arange(len(labels)), labels].log().sum().item())


def least_losses(inputs: Tensor, targets: Tensor, penalty: Tensor, supports: Tensor) -> Tensor:
    """The least value for many supports (H, C, k) at once, by Newton's method with step halving."""
    images, classes = targets.shape
    columns = torch.cat([inputs, torch.ones(images, 1, dtype=inputs.dtype)], 1)
    rows = torch.cat([supports, torch.full_like(supports[..., :1], inputs.shape[1])], 2)
    taken = columns.T[rows]  # (H, C, k + 1, N)
    penalties = torch.cat([penalty, penalty.new_tensor([BIAS_PENALTY])])[rows]
    entropy = -torch.special.xlogy(targets, targets).sum() / images

    def value(weight: Tensor) -> Tensor:
        shares = torch.log_softmax((weight[..., None] * taken).sum(2), 1)
        ridge = (penalties * weight.square()).sum((1, 2)) / 2
        return -(targets.T * shares).sum((1, 2)) / images - entropy + ridge

    weight = torch.zeros(rows.shape, dtype=inputs.dtype)
    size = rows.shape[1] * rows.shape[2]
    same = torch.eye(classes, dtype=inputs.dtype)
    for _ in range(50):
        shares = torch.softmax((weight[..., None] * taken).sum(2), 1)
        gradient = ((shares - targets.T)[:, :, None] * taken).mean(3) + penalties * weight
        spread = shares[:, :, None] * (same[..., None] - shares[:, None])
        if gradient.abs().max() < 1e-8:
            break
        hessian = torch.einsum("habn,hain,hbjn->haibj", spread, taken, taken).reshape(-1, size, size) / images
        hessian += torch.diag_embed(penalties.flatten(1))
        step = torch.linalg.solve(hessian, gradient.flatten(1)).view_as(weight)
        length = torch.ones(len(weight), 1, 1, dtype=weight.dtype)
        for _ in range(20):
            worse = value(weight - length * step) > value(weight) + 1e-14
            if not worse.any():
                break
            length[worse] /= 2
        weight = weight - length * step
    return value(weight)


def pooled_supports(classes: int, filters: int, k: int, budget: int) -> Tensor:
    """Every way to give each class k filters, no more than ``budget`` in all, (H, C, k)."""
    found = set()
    for pool in combinations(range(filters), budget):
        found.update(product(combinations(pool, k), repeat=classes))
    return torch.tensor(sorted(found))
