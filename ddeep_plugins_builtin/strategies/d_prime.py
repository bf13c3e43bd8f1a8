"""Sensitivity index of signal detection."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from ddeep.plugin import ClassSquares, ClassSums, Context, Evidence, K, Statistic

EPSILON = 1e-7


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassSums(), ClassSquares()]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """d′ = (m_c − m_¬c) / (√((s_c² + s_¬c²) / 2) + 1e-7), for each filter's responses.

    m and s² are mean and (population) variance over the images of class c, and over all images of the other classes
    together. Green & Swets, Signal Detection Theory and Psychophysics, 1966. Zeros where there is nothing to compare.
    """
    own = evidence.class_counts[:, None].double()
    others = own.sum() - own
    sums, squares = evidence[ClassSums()].sums, evidence[ClassSquares()].sums
    mean, rest = sums / own.clamp(min=1), (sums.sum(0) - sums) / others.clamp(min=1)
    variance = (squares / own.clamp(min=1) - mean.square()).clamp(min=0)
    spread = ((squares.sum(0) - squares) / others.clamp(min=1) - rest.square()).clamp(min=0)
    compared = (own > 0) & (others > 0)
    return compared * (mean - rest) / (((variance + spread) / 2).sqrt() + EPSILON)
