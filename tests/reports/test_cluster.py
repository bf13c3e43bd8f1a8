"""Orders that put like beside like: of a few rows by a tree, of very many by an angle."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from ddeep.reports import cluster
from ddeep.reports.cluster import alike_order


def kinds(copies: int) -> torch.Tensor:
    """Rows of five kinds in turn, each about its own direction in the plane and of any length."""
    torch.manual_seed(0)
    angles = torch.arange(5.0).repeat(copies) * 1.2 + 0.05 * torch.randn(5 * copies)
    rows = torch.stack([angles.cos(), angles.sin()], 1) @ torch.randn(2, 7)
    return rows * (0.1 + torch.rand(len(rows), 1))


@pytest.mark.parametrize("most", [4096, 20])
def test_rows_of_a_kind_stand_together(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TREE", most)
    table = torch.cat([kinds(12), torch.zeros(2, 7), torch.full((1, 7), torch.nan)])
    rows, columns = alike_order(table)
    assert sorted(rows) == list(range(63))
    assert sorted(columns) == list(range(7))
    assert rows[-3:] == [60, 61, 62]
    kind = [row % 5 for row in rows[:-3]]
    assert sum(one != other for one, other in pairwise(kind)) == 4
    assert alike_order(table) == (rows, columns)


def test_two_rows_have_no_order() -> None:
    assert alike_order(torch.eye(2))[0] == [0, 1]
