"""The commands that take a network out of ddeep, on a run of real images (digits) from end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ddeep.data.loader import Loader
from ddeep.experiments.cut import cut_run
from ddeep.experiments.reopen import reopen
from ddeep.experiments.settings import CutConfig
from ddeep.results.run import load, read_run, seal_run
from ddeep.selections.selection import Selection
from ddeep_plugins_builtin.models.cifar_resnet import resnet20
from tests.support.documents import read_document
from tests.support.helpers import Outcome

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the packaged network on digits."""
    from ddeep.experiments.run import run as run_experiment
    from ddeep.experiments.settings import RunConfig
    from ddeep.results.run import save_run

    folder = tmp_path_factory.mktemp("runs") / "digits"
    config = RunConfig(model="resnet20", dataset="digits", strategy="contribution", k=5, device="cpu")
    return save_run(run_experiment(config), folder)


@pytest.fixture(scope="module")
def halved(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, cut to half of the multiply-adds and trained on."""
    return _shrunk(run, tmp_path_factory.mktemp("cuts") / "halved", classes=("3", "8"), flops=0.5, epochs=1)


@pytest.fixture(scope="module")
def single(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One class, a fifth of its filters gone."""
    return _shrunk(run, tmp_path_factory.mktemp("cuts") / "single", classes=("7",), shrink=0.2)


def _shrunk(run: Path, out: Path, **given: Any) -> Path:
    cut_run(run, CutConfig(strategy="mean-activation", device="cpu", **given), out)
    return out


def _done(found: Outcome) -> dict[str, Any]:
    assert found.status == 0, found.err
    document: dict[str, Any] = json.loads(found.out)
    return document


def _refused(found: Outcome, *words: str) -> None:
    assert found.status == 1, found.out
    assert all(word in found.err for word in words), found.err


def _test_images(run: Path) -> tuple[Tensor, Tensor]:
    subject = reopen(read_run(run))
    loader = Loader(subject.images["test"], subject.network.preprocessing, 500, "cpu")
    return torch.cat([batch.images for batch in loader]), subject.labels("test")


def test_exported_weights_give_the_runs_logits_in_the_plain_network(cli_here: Cli, run: Path, tmp_path: Path) -> None:
    document = _done(cli_here("export", run, "--to", "safetensors", "--out", tmp_path / "out", "--json"))
    plain = resnet20(10).eval()
    plain.load_state_dict(load_file(tmp_path / "out" / "network.safetensors"), strict=True)
    images, _ = _test_images(run)
    with torch.no_grad():
        torch.testing.assert_close(plain(images[:50]), load(run)(images[:50]), rtol=1e-4, atol=1e-4)
    assert document["head_layout"] == "dense"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "strict=True" in card
    assert document["hashes"]["exported"] in card


def test_the_pt2_program_takes_pixels_where_that_was_asked_for(cli_here: Cli, run: Path, tmp_path: Path) -> None:
    _done(cli_here("export", run, "--to", "pt2", "--pixels", "--out", tmp_path / "out", "--json"))
    program = torch.export.load(tmp_path / "out" / "network.pt2").module()
    subject = reopen(read_run(run))
    pixels = subject.network.preprocessing.fit(subject.images["test"].pixels[:7])  # type: ignore[union-attr]
    with torch.no_grad():
        wanted = load(run)(subject.network.preprocessing.normalise(pixels))
        torch.testing.assert_close(program(pixels), wanted, rtol=1e-4, atol=1e-4)


def test_an_exact_cut_keeps_the_logits_and_proves_what_it_costs(cli_here: Cli, run: Path, tmp_path: Path) -> None:
    document = _done(cli_here("cut", run, "--classes", "3,8", "--out", tmp_path / "out", "--json"))
    program = torch.export.load(tmp_path / "out" / "network.pt2").module()
    images, labels = _test_images(run)
    with torch.no_grad():
        found, whole = program(images), load(run)(images)
    assert (found - whole[:, [3, 8]]).abs().max() <= 1e-5 * whole.abs().max()
    proof = document["proof"]
    mine = (labels == 3) | (labels == 8)
    right = (found[mine].argmax(1) == (labels[mine] == 8).long()).double().mean()
    assert proof["accuracy"]["cut"]["percent"] == pytest.approx(100 * float(right))
    assert proof["cut_against_run"]["difference"] == 0
    assert document["exact_to"] <= 1e-5
    assert proof["shares"]["multiply_adds"] < 1
    assert sum(proof["removed_are_called"]["0"].values()) == int((labels == 0).sum())
    assert "random" not in proof


def test_within_a_budget_the_kept_classes_choose_anew_and_together(cli_here: Cli, run: Path, tmp_path: Path) -> None:
    """contribution: W_cj times the class's mean response, over its own train images; the pool as in any run."""
    given = ("--classes", "3,8,9", "--budget", "6", "--out", tmp_path / "out", "--json")
    document = _done(cli_here("cut", run, *given))
    subject, kept = reopen(read_run(run)), [3, 8, 9]
    dense, labels = subject.network.module, subject.labels("train")
    head, responses = dense.get_submodule("linear"), []
    dense.linear.register_forward_pre_hook(lambda _, inputs: responses.append(inputs[0]))  # type: ignore[union-attr]
    with torch.no_grad():
        for batch in Loader(subject.images["train"], subject.network.preprocessing, 500, "cpu"):
            dense(batch.images)
    rows = torch.cat(responses)
    scores = torch.stack([head.weight[c] * rows[labels == c].mean(0) for c in kept])  # type: ignore[index]
    wanted = Selection.top(scores.detach(), 5, budget=6)
    assert [document["chosen"]["filters"][str(c)] for c in kept] == list(map(list, wanted.filters))
    assert document["plan"]["inputs"] == sorted({j for row in wanted.filters for j in row})
    assert document["exact_to"] <= 1e-5

    mine = torch.isin(labels, torch.tensor(kept))
    truth = torch.bucketize(labels[mine], torch.tensor(kept))
    weights = load_file(tmp_path / "out" / "network.safetensors")
    fitted = F.linear(rows[mine][:, document["plan"]["inputs"]], weights["linear.weight"], weights["linear.bias"])
    masked = F.linear(rows[mine], (head.weight[kept] * wanted.mask()), head.bias[kept])  # type: ignore[index, operator]
    assert F.cross_entropy(fitted, truth) < 0.5 * F.cross_entropy(masked, truth)


def test_a_budget_for_filters_of_a_file_is_refused(cli_here: Cli, run: Path, tmp_path: Path) -> None:
    given = ("--model", "resnet20", "--dataset", "digits", "--selection", run / "selection.json")
    assert cli_here("run", *given, "--out", tmp_path / "given").status == 0
    found = cli_here("cut", tmp_path / "given", "--classes", "3,8", "--budget", "9", "--out", tmp_path / "out")
    _refused(found, "no strategy that could choose others", "--strategy")


def test_shrinking_meets_its_target_and_is_judged_against_chance(halved: Path) -> None:
    document = read_document(halved / "cut.json")
    proof = document["proof"]
    assert 0.45 < proof["shares"]["multiply_adds"] <= 0.5
    assert len(proof["random"]["random"]) == 5
    weights = load_file(halved / "network.safetensors")
    removed = document["plan"]["zeroed"]["layer1.0.relu1"]
    assert weights["layer1.0.conv1.weight"].shape[0] == 16 - len(removed) < 16


def test_one_class_is_told_from_the_rest_by_its_logit(run: Path, single: Path) -> None:
    proof = read_document(single / "cut.json")["proof"]["one_class"]
    program = torch.export.load(single / "network.pt2").module()
    images, labels = _test_images(run)
    with torch.no_grad():
        logits = {"run": load(run)(images)[:, 7], "cut": program(images)[:, 0]}
    right = {}
    for name, found in logits.items():
        mine = found[labels == 7, None] > found[labels != 7][None]
        assert proof[name]["area"] == pytest.approx(float(mine.double().mean()), abs=1e-3)
        said = found > proof[name]["threshold"]
        assert proof[name]["recall"]["percent"] == pytest.approx(100 * float(said[labels == 7].double().mean()))
        low, high = proof[name]["recall"]["interval"]
        assert low <= proof[name]["recall"]["percent"] <= high
        right[name] = said == (labels == 7)
    gained = right["cut"].double().mean() - right["run"].double().mean()
    assert proof["cut_against_run"]["difference"] == pytest.approx(100 * float(gained))
    called = logits["cut"][labels == 1] > proof["cut"]["threshold"]
    assert proof["called"]["1"] == {"images": len(called), "called": int(called.sum())}
    assert "7" not in proof["called"]
    assert len(proof["random"]["random"]) == 5


def test_modules_join_to_the_cut_of_the_union(cli_here: Cli, run: Path, tmp_path: Path) -> None:
    for name, classes in (("a", "1,2"), ("b", "2,9"), ("both", "1,2,9")):
        _done(cli_here("cut", run, "--classes", classes, "--out", tmp_path / name, "--json"))
    joined = _done(cli_here("merge-modules", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "ab", "--json"))
    assert joined["shared"]
    assert joined["classes"] == ["1", "2", "9"]
    found, wanted = (load_file(tmp_path / name / "network.safetensors") for name in ("ab", "both"))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_shrunk_modules_run_side_by_side(cli_here: Cli, run: Path, halved: Path, single: Path, tmp_path: Path) -> None:
    joined = _done(cli_here("merge-modules", halved, single, "--out", tmp_path / "both", "--json"))
    assert not joined["shared"]
    assert joined["classes"] == ["3", "7", "8"]
    programs = [torch.export.load(folder / "network.pt2").module() for folder in (halved, single, tmp_path / "both")]
    images, _ = _test_images(run)
    with torch.no_grad():
        two, one, both = (program(images[:9]) for program in programs)
    torch.testing.assert_close(both, torch.stack([two[:, 0], one[:, 0], two[:, 1]], 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("deep", [False, True])
def test_a_forgotten_class_is_measured_as_its_weights_say(cli_here: Cli, run: Path, tmp_path: Path, deep: bool) -> None:
    given = ["--deep"] if deep else []
    document = _done(cli_here("forget", run, "--classes", "4", *given, "--out", tmp_path / "out", "--json"))
    module = resnet20(10).eval()
    module.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"), strict=True)
    images, labels = _test_images(run)
    with torch.no_grad():
        predicted = module(images).argmax(1)
    for c, row in enumerate(document["per_class"]):
        wanted = 100 * float((predicted[labels == c] == c).double().mean())
        assert row["after"]["percent"] == pytest.approx(wanted)
    assert document["per_class"][4]["after"]["percent"] < document["per_class"][4]["before"]["percent"]
    assert bool(document["silenced"]) == deep
    if not deep:
        assert document["per_class"][4]["probe_after"] == document["per_class"][4]["probe_before"]


@pytest.mark.parametrize("command", ["cut", "forget"])
@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("3,elephant", ("no class 'elephant'", "Its classes are: 0, 1, 2")),
        ("0,1,2,3,4,5,6,7,8,9", ("all 10 classes",)),
        ("", ("Which classes?", "--classes")),
    ],
)
def test_classes_that_do_not_do_are_refused(
    cli_here: Cli, run: Path, tmp_path: Path, command: str, classes: str, words: tuple[str, ...]
) -> None:
    _refused(cli_here(command, run, "--classes", classes, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_a_run_whose_weights_changed_is_refused(cli_here: Cli, run: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(run, tmp_path / "changed")
    document = read_run(changed)
    document["hashes"]["weights"] = "0" * 64
    seal_run(changed, document)
    for command in ("cut", "forget"):
        _refused(cli_here(command, changed, "--classes", "3,8", "--out", tmp_path / "out"), "weights have changed")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("export", "RUN"), ("--to is missing",)),
        (("export", "RUN", "--to", "tflite"), ("--to 'tflite'", "'onnx'")),
        (("export", "RUN", "--to", "safetensors", "--pixels"), ("--pixels goes with a program",)),
        (("cut", "RUN", "--classes", "3,8", "--shrink", "0.5", "--flops", "0.5"), ("--shrink and --flops",)),
        (("cut", "RUN", "--classes", "3,8", "--shrink", "1.5"), ("--shrink 1.5", "less than 1")),
        (("cut", "RUN", "--classes", "3,8", "--flops", "0.5", "--strategy", "nobody"), ("nobody",)),
        (("cut", "RUN", "--classes", "3,8", "--flops", "0.5", "--strategy", "weight"), ("'weight'", "inner layers")),
        (("cut", "RUN", "--classes", "3,8", "--flops", "0.001"), ("--flops 0.001 cannot be had",)),
        (("cut", "RUN", "--classes", "3", "--epochs", "1"), ("two classes or more",)),
        (("cut", "RUN", "--classes", "3,8", "--budget", "4"), ("budget of 4", "less than the k = 5")),
        (("cut", "RUN", "--classes", "3,8", "--budget", "65"), ("budget is 65", "has 64")),
        (("cut", "RUN", "--classes", "3,8", "--budget", "0"), ("--budget 0", "equal to 1")),
        (("cut", "RUN", "--classes", "3", "--budget", "5"), ("--budget is for several classes",)),
        (("merge-modules", "RUN", "RUN"), ("no folder that `ddeep cut` has written",)),
        (("cut", "nowhere", "--classes", "3,8"), ("nowhere is not a run directory",)),
    ],
)
def test_settings_that_do_not_do_are_refused(
    cli_here: Cli, run: Path, tmp_path: Path, given: tuple[str, ...], words: tuple[str, ...]
) -> None:
    args = [str(run) if arg == "RUN" else arg for arg in given]
    _refused(cli_here(*args, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()
