"""What every image's prediction could be, learned from the other images: a softer target than its label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .standardised import IMAGES, Standardised, label_moments

RIDGE = 0.1  # of a filter's variance
SCALES = torch.logspace(0, 2, 41).tolist()  # of the logits; a step is a factor of 1.12


def teacher_moments(data: Standardised, gram: Float[Tensor, "k k"]) -> Float[Tensor, "p k1"]:
    """Σ_n t_nc·x_nj / N of the teacher's predictions t.

    Those are the softmax of a·(f_nc − m_c / 4) + ln(the class's share): f from ``left_out``, m_c its mean over the
    class's own images (classes that are easily told would else be predicted too often), a the scale that gives the
    labels the lowest cross-entropy.
    """
    logits = left_out(data, gram)
    own = logits.gather(0, data.labels[None])[0]
    counts = torch.bincount(data.labels, minlength=data.classes)
    logits -= (torch.zeros_like(logits[:, 0]).index_add_(0, data.labels, own) / counts / 4)[:, None]
    shares = (counts / len(data.labels)).log()[:, None]
    parts = [(part, truth) for part, truth in zip(logits.split(IMAGES, 1), data.labels.split(IMAGES), strict=True)]

    def loss(scale: float) -> float:
        return sum(F.cross_entropy((scale * f + shares).T, y, reduction="sum").item() for f, y in parts)

    best = min(SCALES, key=loss)
    found = torch.zeros(data.classes, len(data.columns), dtype=torch.float64, device=gram.device)
    for part, inputs in zip(logits.split(IMAGES, 1), data.columns.split(IMAGES, 1), strict=True):
        found += torch.softmax(best * part + shares, 0) @ inputs.T
    return found / len(data.labels)


def left_out(data: Standardised, gram: Float[Tensor, "k k"]) -> Float[Tensor, "p n"]:
    """Membership in every class by ridge regression on all filters, centred, the image itself left out.

    With H = Xᵀ(XXᵀ/N + ridge)⁻¹X/N and y the centred membership, (Hy − h_nn·y_n) / (1 − h_nn): Allen, Technometrics 16,
    1974 (the means are taken over all images).
    """
    images, moments = len(data.labels), label_moments(data)
    shares = moments[:, -1:].float()
    inverse = torch.linalg.inv(gram + RIDGE * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    weight, inverse = (moments[:, :-1] @ inverse).float(), inverse.float()
    found = torch.empty(data.classes, images, device=gram.device)
    for start in range(0, images, IMAGES):
        rows = slice(start, start + IMAGES)
        inputs = data.columns[:-1, rows]
        leverage = ((inverse @ inputs) * inputs).sum(0) / images
        centred = F.one_hot(data.labels[rows], data.classes).T - shares
        found[:, rows] = (weight @ inputs - leverage * centred) / (1 - leverage)
    return found
