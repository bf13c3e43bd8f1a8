"""How much each filter contributes to the probability of an image's true class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from captum.attr import IntegratedGradients
from jaxtyping import Float, Int64
from torch import Tensor

from ddeep.plugin import Context, Evidence, Head, K, Selection, SplitEvidence

STEPS = 32  # of Gauss-Legendre quadrature: the softmax along a line is smooth
_CHUNK = 64  # images at once: STEPS copies of each are in memory


def attributions(responses: Float[Tensor, "n k"], labels: Int64[Tensor, " n"], head: Head) -> Float[Tensor, "n k"]:
    """Integrated gradients of p_c(r) = softmax(W r + b)_c, c the true class, from no response at all to ``responses``.

    They add up to p_c(r) - p_c(0), to the quadrature's error.
    """
    weight, bias = head.weight.double(), head.bias.double()
    gradients = IntegratedGradients(lambda r: (r @ weight.T + bias).softmax(1), multiply_by_inputs=True)
    found: Tensor = gradients.attribute(
        responses.double(), target=labels, n_steps=STEPS, method="gausslegendre", internal_batch_size=_CHUNK * STEPS
    )
    return found


def select(evidence: Evidence, k: K, context: Context) -> Float[Tensor, "c k"]:  # noqa: ARG001
    """Mean attribution over the images of each class."""
    sums = torch.zeros(evidence.classes, evidence.filters, dtype=torch.float64)
    for part, labels in _chunks(evidence, context):
        sums.index_add_(0, labels, part)
    return sums / evidence.class_counts.clamp(min=1)[:, None]


def measure(evidence: SplitEvidence, selection: Selection, context: Context) -> dict[str, Any]:
    """Share of an image's positive attributions that its class's filters hold: mean over images, then classes.

    ``classes`` gives each class's own, None for those without images; images that nothing speaks for count as 0.
    """
    test = evidence.of_test()
    mask = selection.mask()
    sums = torch.zeros(test.classes, dtype=torch.float64)
    for part, labels in _chunks(test, context):
        speaking = part.clamp(min=0)
        held = (speaking * mask[labels]).sum(1)
        sums.index_add_(0, labels, held / speaking.sum(1).clamp(min=torch.finfo(torch.float64).tiny))
    shares = sums / test.class_counts.clamp(min=1)
    present = test.present.tolist()
    return {
        "mean": float(shares[test.present].mean()),
        "classes": [float(share) if there else None for share, there in zip(shares, present, strict=True)],
    }


def _chunks(evidence: Evidence, context: Context) -> Iterator[tuple[Float[Tensor, "m k"], Int64[Tensor, " m"]]]:
    """Attributions and labels, some images at a time: the responses may be a file larger than memory."""
    responses, labels = evidence.cached_responses()
    head = context.needed_head()
    for start in range(0, len(labels), _CHUNK):
        rows = slice(start, start + _CHUNK)
        yield attributions(responses[rows], labels[rows], head), labels[rows]
