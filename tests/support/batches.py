"""Batches of responses for tests of statistics and of what is built on them."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from ddeep.statistics.basic import peaks
from ddeep.statistics.batch import ResponseBatch


def batch_of(responses: Tensor, labels: Tensor, classes: int, seed: int = 0) -> ResponseBatch:
    """A batch with everything a statistic may ask for; what is beyond responses and labels is random but fixed."""
    generator = torch.Generator().manual_seed(seed)
    shape = responses.shape
    return ResponseBatch(
        responses=responses,
        labels=labels,
        indices=torch.arange(len(labels)),
        zeros=torch.randint(0, 5, shape, generator=generator) / 4,
        gradient_activation=torch.randn(shape, generator=generator),
        logits=torch.randint(-3, 4, (shape[0], classes), generator=generator).float(),
        looked={peaks: torch.randint(-3, 4, shape, generator=generator).float()},
    )


def rows(batch: ResponseBatch, wanted: Tensor) -> ResponseBatch:
    """Some images of a batch, in the order of ``wanted``."""
    assert batch.zeros is not None
    assert batch.gradient_activation is not None
    assert batch.logits is not None
    return ResponseBatch(
        batch.responses[wanted],
        batch.labels[wanted],
        batch.indices[wanted],
        batch.zeros[wanted],
        batch.gradient_activation[wanted],
        batch.logits[wanted],
        {look: seen[wanted] for look, seen in batch.looked.items()},
    )


# Few values, so that ties, zeros and silent images are common; halves, so that sums of a few are exact.
_TIED = st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0])
_ANY = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)


@st.composite
def batches(draw: st.DrawFn, max_images: int = 24, classes: int = 4) -> ResponseBatch:
    """Up to ``max_images`` images of ``classes`` classes, some of which may be absent, and 1 to 6 filters."""
    images, filters = draw(st.integers(1, max_images)), draw(st.integers(1, 6))
    row = st.lists(draw(st.sampled_from([_TIED, _ANY])), min_size=filters, max_size=filters)
    responses = draw(st.lists(row, min_size=images, max_size=images))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=images, max_size=images))
    return batch_of(torch.tensor(responses), torch.tensor(labels), classes, seed=draw(st.integers(0, 99)))
