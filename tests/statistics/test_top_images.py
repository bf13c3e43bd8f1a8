"""TopImages against the slow and obvious: sort all images of every filter."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddeep.statistics.batch import ResponseBatch
from ddeep.statistics.top_images import TopImages


def slowly(responses: torch.Tensor, indices: list[int], m: int) -> tuple[list[list[int]], list[list[float]]]:
    """Every filter's images by (larger response, smaller index), padded to m places."""
    all_indices, all_responses = [], []
    for column in responses.T.tolist():
        best = sorted(zip(column, indices, strict=True), key=lambda pair: (-pair[0], pair[1]))[:m]
        best += [(float("-inf"), -1)] * (m - len(best))
        all_indices.append([index for _, index in best])
        all_responses.append([response for response, _ in best])
    return all_indices, all_responses


def started(m: int, filters: int) -> TopImages:
    statistic = TopImages(m)
    statistic.start(3, filters, "cpu")
    return statistic


def feed(statistic: TopImages, responses: torch.Tensor, rows: list[int]) -> None:
    statistic.update(ResponseBatch(responses[rows], torch.zeros(len(rows), dtype=torch.int64), torch.tensor(rows)))


@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 40),
    filters=st.integers(1, 5),
    m=st.integers(1, 9),
    parts=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_any_split_order_and_merge_gives_the_slow_answer(
    images: int, filters: int, m: int, parts: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    responses = torch.randint(-3, 4, (images, filters), generator=generator).float()  # few values: many ties
    order = torch.randperm(images, generator=generator)
    statistics = []
    for part in order.tensor_split(parts):
        statistic = started(m, filters)
        for rows in part.split(7):
            if len(rows):
                feed(statistic, responses, rows.tolist())
        statistics.append(statistic)
    whole = statistics[0]
    for other in statistics[1:]:
        whole.merge(other)
    expected = slowly(responses, list(range(images)), m)
    assert (whole.indices.tolist(), whole.responses.tolist()) == expected


def test_negative_zero_is_zero() -> None:
    statistic = started(1, 1)
    feed(statistic, torch.tensor([[-0.0], [0.0]]), [1])
    feed(statistic, torch.tensor([[-0.0], [0.0]]), [0])
    assert statistic.indices.tolist() == [[0]]


def test_equality_is_by_parameters_and_the_state_is_bounded() -> None:
    assert TopImages(4) == TopImages(4) != TopImages(5)
    small, large = started(4, 6), started(4, 6)
    feed(small, torch.randn(5, 6), list(range(5)))
    feed(large, torch.randn(900, 6), list(range(900)))
    size = TopImages(4).nbytes(3, 6)
    for statistic in (small, large):
        assert sum(tensor.nbytes for tensor in statistic.state().values()) == size


def test_the_state_travels() -> None:
    statistic, other = started(3, 2), started(3, 2)
    feed(statistic, torch.randn(8, 2), list(range(8)))
    other.load_state(statistic.state())
    assert torch.equal(other.indices, statistic.indices)
    assert torch.equal(other.responses, statistic.responses)
