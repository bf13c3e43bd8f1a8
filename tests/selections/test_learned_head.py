"""Heads that strategies learn along with their selections: what they hold, and what every command makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import ddeep
from ddeep.errors import SelectionError
from ddeep.heads.decomposed import decompose
from ddeep.networks.head import Head
from ddeep.results.run import load
from ddeep.selections.selection import Selection
from tests.support.documents import read_document
from tests.support.helpers import Distributions, Outcome
from tests.support.toys import toy

Cli = Callable[..., Outcome]

CHOSEN = [[2, 0], [], [3]]


def selection() -> Selection:
    """Of 4 filters, class 1 absent, with the head ``weight`` and ``bias``."""
    return Selection.of(CHOSEN, 4, absent=[1]).with_head(*learned())


def learned() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(12.0).view(3, 4) + 0.25, torch.tensor([0.5, 1.5, 2.5])


def test_it_holds_the_weights_of_the_selected_filters_in_their_order() -> None:
    head = selection().head
    assert head == Head(
        torch.tensor([[2.25, 0.25], [0, 0], [11.25, 0]]).double(), torch.tensor([0.5, 1.5, 2.5]).double()
    )


def test_over_the_dense_head_absent_classes_keep_their_row() -> None:
    dense = (-torch.ones(3, 4), -torch.ones(3))
    found = selection()
    assert found.head is not None
    weight, bias = found.learned_head(Head(*dense))
    assert weight.tolist() == [[0.25, 0, 2.25, 0], [-1, -1, -1, -1], [0, 0, 0, 11.25]]
    assert bias.tolist() == [0.5, -1, 2.5]
    assert torch.equal(dense[0], -torch.ones(3, 4))
    assert torch.equal(dense[1], -torch.ones(3))


@pytest.mark.parametrize("bias", [True, False])
def test_a_network_decomposed_with_it_has_its_logits(bias: bool) -> None:
    module = toy(bias=bias)
    weight, offset = torch.randn(4, 6), torch.randn(4)
    chosen = Selection.of([[0, 1], [2, 5], [3, 4], [1, 3]], 6).with_head(weight, offset)
    found = decompose(module, chosen, learned=True)
    images = torch.randn(5, 3, 8, 8)
    responses = module.relu(module.norm(module.conv(images))).mean((2, 3))
    torch.testing.assert_close(found(images), responses @ (weight * chosen.mask()).T + offset)
    own = module.head.weight * chosen.mask()
    assert torch.equal(decompose(module, chosen).get_parameter("head.weight"), own)


def test_there_is_none_where_none_was_learned() -> None:
    with pytest.raises(SelectionError, match="no learned head"):
        decompose(toy(), Selection.of([[0], [1], [2], [3]], 6), learned=True)


def test_weights_and_biases_must_be_finite() -> None:
    weight, bias = learned()
    weight[2, 3] = torch.nan
    with pytest.raises(SelectionError, match="Class 2 needs one finite weight"):
        Selection.of(CHOSEN, 4, absent=[1]).with_head(weight, bias)


@pytest.mark.parametrize(("classes", "filters"), [(3, 5), (4, 4), (2, 4)])
def test_a_head_of_another_size_is_refused(classes: int, filters: int) -> None:
    with pytest.raises(SelectionError, match="the selection has 3 classes and 4 filters"):
        Selection.of(CHOSEN, 4, absent=[1]).with_head(torch.zeros(classes, filters), torch.zeros(classes))


PLUGIN = """
import torch
from tests.support.documents import read_document
from ddeep import Selection, StrategySpec, hookimpl

def select(evidence, k, context):
    head = context.needed_head()
    chosen = Selection.top(head.weight, int(k), present=evidence.present)
    return chosen.with_head(2 * head.weight, 2 * head.bias)

@hookimpl
def ddeep_strategies():
    yield StrategySpec("twice", summary="s", source="x", select=select, head_only=True)
"""


def test_every_command_judges_a_strangers_head(distributions: Distributions, cli_here: Cli, tmp_path: Path) -> None:
    """Twice the weights and biases rank the classes as the decomposed head does."""
    distributions.install("ddeep-twice", PLUGIN)
    out = tmp_path / "run"
    done = cli_here("run", "--model", "resnet20", "--strategy", "twice", "--no-refit", "--out", out, "--json")
    assert done.status == 0, done.err
    assert list(done.json["accuracy"]) == ["full", "decomposed", "learned", "refit"]
    assert done.json["accuracy"]["learned"] == done.json["accuracy"]["decomposed"]
    assert [row["learned"] for row in done.json["per_class"]] == [row["decomposed"] for row in done.json["per_class"]]
    assert "learned" in done.json["accuracy_present"]

    # Without a refit the saved network has the learned head.
    saved, head = Selection.load(out / "selection.json"), done.json["head"]
    assert saved.head is not None
    given = torch.zeros(10, 64)
    for c, (filters, weights) in enumerate(zip(saved.filters, saved.head.weight, strict=True)):
        given[c, list(filters)] = weights.float()
    assert torch.equal(load_file(out / "model.safetensors")[f"{head}.weight"], given)
    assert torch.equal(load(out).get_submodule(head).bias, saved.head.bias.float())

    # From its file it is judged again, and by `compare` beside others.
    words = ("--selection", out / "selection.json", "--out", tmp_path / "again", "--json")
    assert (
        cli_here("run", "--model", "resnet20", *words).json["accuracy"]["learned"] == done.json["accuracy"]["learned"]
    )
    document = json.loads((out / "selection.json").read_text())
    document["source"]["hashes"]["weights"] = "0" * 64
    (tmp_path / "others.json").write_text(json.dumps(document))
    words = ("--selection", tmp_path / "others.json", "--out", tmp_path / "others", "--json")
    others = cli_here("run", "--model", "resnet20", *words)
    assert "learned" not in others.json["accuracy"]
    assert "learned with other weights" in others.err

    settings = ("--strategies", "twice", "weight", "--k", "5", "--no-refit", "--out", tmp_path / "compared")
    compared = cli_here("compare", "--model", "resnet20", *settings, "--json")
    rows = {row["strategy"]: row for row in compared.json["rows"]}
    assert rows["twice"]["learned"] == rows["twice"]["decomposed"] == rows["weight"]["decomposed"]
    assert rows["twice"]["learned_interval"] == rows["twice"]["decomposed_interval"]
    assert rows["weight"]["learned"] is rows["weight"]["learned_interval"] is None
    header, *lines = (tmp_path / "compared" / "comparison.csv").read_text().splitlines()
    assert {"learned", "learned_low", "learned_high"} <= set(header.split(","))
    assert len(lines) == 2
    assert read_document(tmp_path / "compared" / "comparison.json") == compared.json


def test_its_table_has_a_column_only_where_one_was_learned(
    distributions: Distributions, cli_here: Cli, tmp_path: Path
) -> None:
    distributions.install("ddeep-twice", PLUGIN)
    for strategies, shown in ((("weight",), False), (("twice", "weight"), True)):
        words = (
            "--strategies",
            *strategies,
            "--k",
            "3",
            "--no-refit",
            "--wide",
            "--out",
            tmp_path / "-".join(strategies),
        )
        done = cli_here("compare", "--model", "resnet20", *words)
        assert done.status == 0, done.err
        assert ("learned %" in done.out) == shown


def test_from_python(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = toy()
    batches = [(torch.randn(60, 3, 8, 8), torch.arange(60) % 4)]
    chosen = ddeep.select(module, batches, strategy="pruned-refit", k=2)
    chosen.save(tmp_path / "selection.json")
    assert Selection.load(tmp_path / "selection.json").head == chosen.head
    found = ddeep.decompose(module, chosen, learned=True)
    assert isinstance(found, nn.Module)
    assert ddeep.evaluate(found, batches) >= ddeep.evaluate(ddeep.decompose(module, chosen), batches)
