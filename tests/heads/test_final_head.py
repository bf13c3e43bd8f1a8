"""The decomposed head in the authors' weights goes to the filters it was trained with, in whatever order they stand."""

from __future__ import annotations

import pytest
import torch

from ddeep.errors import SelectionError
from ddeep.heads.final_head import place_final_head
from ddeep.networks.head import Head
from ddeep.selections.selection import Selection

CLASSES, FILTERS, K = 10, 64, 5


def trained(drift: float, seed: int = 0) -> tuple[Head, Head, list[list[int]]]:
    """A dense head, a decomposed one that training has led away from it by ``drift``, and its filters in its order."""
    generator = torch.Generator().manual_seed(seed)
    dense = Head(torch.randn(CLASSES, FILTERS, generator=generator), torch.randn(CLASSES, generator=generator))
    filters = torch.stack([torch.randperm(FILTERS, generator=generator)[:K] for _ in range(CLASSES)])
    start = dense.weight.gather(1, filters)
    moved = start + drift * torch.randn(start.shape, generator=generator)
    return dense, Head(moved, dense.bias + 0.1), filters.tolist()


def placed(final: Head, filters: list[list[int]]) -> torch.Tensor:
    """Each weight at its filter."""
    expected = torch.zeros(CLASSES, FILTERS)
    for c, row in enumerate(filters):
        for i, j in enumerate(row):
            expected[c, j] = final.weight[c, i]
    return expected


@pytest.mark.parametrize("order", ["its own", "backwards", "sorted"])
def test_whatever_the_order_of_the_file(order: str, capsys: pytest.CaptureFixture[str]) -> None:
    dense, final, filters = trained(drift=0.05)
    shown = {
        "its own": filters,
        "backwards": [row[::-1] for row in filters],
        "sorted": [sorted(row) for row in filters],
    }
    found = place_final_head(final, Selection.of(shown[order], FILTERS), dense)
    assert torch.equal(found.weight, placed(final, filters))
    assert torch.equal(found.bias, final.bias)
    assert ("another order" in capsys.readouterr().err) == (order != "its own")


def test_where_no_order_is_clear_the_given_one_stays() -> None:
    dense, final, filters = trained(drift=1.0)
    found = place_final_head(final, Selection.of(filters, FILTERS), dense)
    assert torch.equal(found.weight, placed(final, filters))


def test_filters_it_was_not_trained_with_are_refused() -> None:
    dense, final, filters = trained(drift=0.05)
    opposite = Head(-dense.weight, dense.bias)
    others = [
        [j for j in range(FILTERS) if j not in row and opposite.weight[c, j] > 0][:K] for c, row in enumerate(filters)
    ]
    with pytest.raises(SelectionError, match="cannot be of these filters"):
        place_final_head(Head(final.weight.abs(), final.bias), Selection.of(others, FILTERS), dense)
    with pytest.raises(
        SelectionError, match="10 classes with 5 filters each; the selection has 10 classes with 4 to 4"
    ):
        place_final_head(final, Selection.of([row[:4] for row in filters], FILTERS), dense)
