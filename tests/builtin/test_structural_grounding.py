"""The metric that asks whether classes share filters where a table says that they are alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ddeep.errors import DataError
from ddeep.evidence.context import Context
from ddeep.selections.measure import SplitEvidence, get_metric
from ddeep.selections.selection import Selection
from ddeep_plugins_builtin.metrics.structural_grounding import PAIRS, measure, read_table
from ddeep_plugins_builtin.metrics.structural_grounding import grounding as of_members
from tests.reference.structural_grounding import ratio
from tests.support.batches import batch_of
from tests.support.evidence import evidence_of
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]

FILTERS = 12
NAMES = ("cat", "dog", "car", "sea horse", "ship")
ALIKE = [
    [1.0, 0.9, 0.1, 0.4, 0.0],
    [0.9, 1.0, 0.2, 0.3, 0.1],
    [0.1, 0.2, 1.0, 0.0, 0.8],
    [0.4, 0.3, 0.0, 1.0, 0.5],
    [0.0, 0.1, 0.8, 0.5, 1.0],
]


def write(path: Path, names: Any = NAMES, alike: Any = ALIKE) -> str:
    path.write_text("\n".join([",".join(names), *(",".join(map(str, row)) for row in alike)]) + "\n")
    return str(path)


def grounding(selection: Selection, table: str) -> Any:
    empty = evidence_of(batch_of(torch.rand(4, FILTERS), torch.arange(4) % 2, 2), [], 2)
    return measure(SplitEvidence(empty, empty), selection, Context(nn.ReLU()), option=table)


def selection_of(rows: list[list[int]], **given: Any) -> Selection:
    return Selection.of(rows, FILTERS, **given).named(NAMES)


def test_it_is_what_the_most_alike_pairs_share(tmp_path: Path) -> None:
    table = write(tmp_path / "alike.csv")
    rows = [[0, 1, 2], [1, 2, 3, 4], [5, 6], [0, 9], [6, 5]]
    assert grounding(selection_of(rows), table) == pytest.approx(ratio(rows, ALIKE, PAIRS))


def test_only_the_most_alike_pairs_count() -> None:
    """Of 9 classes, which make 36 pairs."""
    generator = torch.Generator().manual_seed(0)
    alike = torch.rand(9, 9, generator=generator, dtype=torch.float64)
    alike = (alike + alike.T) / 2
    rows = [torch.randperm(FILTERS, generator=generator)[:4].tolist() for _ in range(9)]
    found = of_members(Selection.of(rows, FILTERS).membership().double(), alike)
    assert found == pytest.approx(ratio(rows, alike.tolist(), PAIRS))
    assert found != pytest.approx(ratio(rows, alike.tolist(), 36))


def test_the_table_may_have_another_order_and_more_classes(tmp_path: Path) -> None:
    rows = [[0, 1, 2], [1, 2, 3, 4], [5, 6], [0, 9], [6, 5]]
    order = [3, 0, 4, 2, 1]
    names = [NAMES[i] for i in order] + ["stranger"]
    alike = [[ALIKE[i][j] for j in order] + [0.7] for i in order] + [[0.7] * 5 + [1.0]]
    assert grounding(selection_of(rows), write(tmp_path / "a.csv", names, alike)) == pytest.approx(
        grounding(selection_of(rows), write(tmp_path / "b.csv"))
    )


def test_absent_classes_do_not_count(tmp_path: Path) -> None:
    rows = [[0, 1, 2], [], [5, 6], [0, 9], [6, 5]]
    here = [0, 2, 3, 4]
    expected = ratio([rows[c] for c in here], [[ALIKE[a][b] for b in here] for a in here], PAIRS)
    found = grounding(selection_of(rows, absent=[1]), write(tmp_path / "alike.csv"))
    assert found == pytest.approx(expected)


def test_without_a_table_there_is_none() -> None:
    with pytest.warns(UserWarning, match="structural-grounding:FILE"):
        assert grounding(selection_of([[0]] * 5), "") is None


def test_where_nothing_is_alike_there_is_none(tmp_path: Path) -> None:
    assert grounding(selection_of([[0]] * 5), write(tmp_path / "no.csv", alike=torch.eye(5).tolist())) is None


@pytest.mark.parametrize(
    ("names", "alike", "told"),
    [
        (NAMES, [[1.0]], "5 names, 5 different, above 1 lines"),
        (["cat"] * 5, ALIKE, "1 different"),
        (NAMES, [[2.0] * 5] * 5, "from 0 to 1"),
        (NAMES, [[float("nan")] * 5] * 5, "from 0 to 1"),
        (NAMES, [[0.1 * (i > j) for j in range(5)] for i in range(5)], "the same both ways"),
        (NAMES, [["x"] * 5] * 5, "no table of classes"),
    ],
)
def test_what_is_no_table_is_refused(names: Any, alike: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        read_table(write(tmp_path / "bad.csv", names, alike))


def test_a_class_that_the_table_leaves_out_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'ship'"):
        grounding(selection_of([[0]] * 5), write(tmp_path / "few.csv", NAMES[:4], [row[:4] for row in ALIKE[:4]]))


def test_a_comparison_shows_it_of_every_row(tmp_path: Path, cli_here: Cli) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 5
    responses = (torch.randn(5, FILTERS, generator=generator)[labels] + torch.rand(60, FILTERS)).relu()
    given = {"train_responses": responses, "train_labels": labels, "test_responses": responses[:20].clone()}
    given["test_labels"] = labels[:20].clone()
    save_file(given, tmp_path / "made.safetensors")
    table = write(tmp_path / "alike.csv", [str(c) for c in range(5)])
    words = ("compare", "--responses", tmp_path / "made.safetensors", "--strategies", "mean-activation", "--k", "3")
    name = f"structural-grounding:{table}"
    done = cli_here(*words, "--metrics", name, "--out", tmp_path / "out", "--json")
    assert done.status == 0, done.err
    means = torch.stack([responses[labels == c].mean(0) for c in range(5)])
    (row,) = done.json["rows"]
    assert row[name] == pytest.approx(ratio(means.topk(3).indices.tolist(), ALIKE, PAIRS))
    assert name in (tmp_path / "out" / "comparison.csv").read_text().splitlines()[0]
    missing = cli_here(*words, "--metrics", "structural-grounding:none.csv", "--out", tmp_path / "not")
    assert (missing.status, missing.err.splitlines()[-1]) == (
        1,
        "error: Cannot read the table of classes none.csv: No such file or directory.",
    )
    layer = cli_here(*words, "--metrics", "psi", "--out", tmp_path / "not")
    assert layer.status == 1
    assert "'psi' is of a layer" in layer.err
    assert get_metric(name).name == name
