"""Sensitivity index of signal detection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSquares, ClassSums, Context, Evidence, K, Statistic

Table = Float[Tensor, "c k"]
EPSILON = 1e-7
CONSTANT = 1e-12  # of the mean square: a variance below it is rounding


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums(), ClassSquares()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """d′ = (m_c − m_¬c) / (√((s_c² + s_¬c²) / 2) + 1e-7), for each filter's responses.

    m and s² are mean and (population) variance over the images of class c, and over all images of the other classes
    together; a variance below 1e-12 of the mean square is none. Green & Swets, Signal Detection Theory and
    Psychophysics, 1966. Zeros where there is nothing to compare.
    """
    own = evidence.class_counts[:, None].double()
    others = own.sum() - own
    sums, squares = evidence[ClassSums()].sums, evidence[ClassSquares()].sums
    mean, variance = _moments(sums, squares, own)
    rest, spread = _moments(_of_others(sums), _of_others(squares), others)
    compared = (own > 0) & (others > 0)
    return compared * (mean - rest) / (((variance + spread) / 2).sqrt() + EPSILON)


def _moments(sums: Table, squares: Table, images: Float[Tensor, "c 1"]) -> tuple[Table, Table]:
    mean, square = sums / images.clamp(min=1), squares / images.clamp(min=1)
    variance = square - mean.square()
    return mean, torch.where(variance > CONSTANT * square, variance, 0.0)


def _of_others(table: Table) -> Table:
    """For every class the sum over the others: added up, for a difference from the total would drown small ones."""
    none = table.new_zeros(1, table.shape[1])
    before, after = table.cumsum(0)[:-1], table.flip(0).cumsum(0)[:-1]
    return torch.cat([none, before]) + torch.cat([none, after]).flip(0)
