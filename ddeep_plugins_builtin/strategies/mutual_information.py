"""What a filter's response tells about membership in the class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import ClassHistogram, Context, Evidence, K, Statistic

BINS = 16


def needs(ks: Sequence[K]) -> list[Statistic]:  # noqa: ARG001
    return [ClassHistogram(BINS)]


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """I(b_j; [y = c]) = Σ_{b,y} p(b, y) ln(p(b, y) / (p(b) p(y))) in nats, b_j the bin of filter j's response.

    Bin 0 holds the filter's smallest value, 15 more share its range equally. A filter that is silent for the class
    alone scores as high as one that fires for it alone. Battiti, IEEE Transactions on Neural Networks 5(4), 1994.
    """
    counts = evidence[ClassHistogram(BINS)].counts
    anywhere = counts.sum(0)
    # Class by class: temporaries as large as the table itself would not fit for a thousand classes.
    return torch.stack([information(inside, anywhere - inside) for inside in counts])


def information(inside: Int64[Tensor, "k b"], outside: Int64[Tensor, "k b"]) -> Float[Tensor, " k"]:
    """Mutual information of bin and membership, filter by filter, from counts of members and others; 0·ln 0 = 0."""
    joint = torch.stack([inside, outside]).double()
    images = joint.sum((0, 2))
    expected = joint.sum(0) * joint.sum(2, keepdim=True)  # times the number of images squared
    ratio = torch.where(joint > 0, joint * images[:, None] / expected.clamp(min=1), 1.0)
    return (joint * ratio.log()).sum((0, 2)).clamp(min=0) / images
