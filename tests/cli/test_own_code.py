"""A network of one's own on the command line: ``--model FILE.py:NAME``, as a user would type it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ddeep.errors import ConfigError
from ddeep.registry.own_code import allow, is_own_code, own_model
from ddeep.registry.specs import resolve
from tests.support.helpers import Outcome

NET = """
import torch
from torch import nn
from parts import block

class Net(nn.Module):
    def __init__(self, num_classes=10, width=8):
        super().__init__()
        self.first, self.second = block(3, width), block(width, width)
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return {"logits": self.fc(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))}

def seeded():
    torch.manual_seed(0)
    return Net()

def made(**options):
    return Net(**options)

thing = seeded()
number = 3

def broken():
    raise ValueError("not today")
"""
PARTS = "from torch import nn\n\ndef block(i, o):\n    return nn.Conv2d(i, o, 3, padding=1, stride=2)\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "own.py").write_text(NET)
    (tmp_path / "nets" / "parts.py").write_text(PARTS)
    (tmp_path / "nets" / "evil.py").write_text("open('ran', 'w')\n")
    return tmp_path


def test_every_command_takes_a_network_of_ones_own(
    folder: Path, cli: Callable[..., Outcome], cli_here: Callable[..., Outcome]
) -> None:
    own = ("--model", "nets/own.py:Net", "--dataset", "digits")
    trained = cli_here("train", *own, "--epochs", 1, "--out", "t")
    assert trained.status == 0, trained.err
    own = (*own, "--weights", "t/model.safetensors")
    listed = cli_here("layers", "nets/own.py:Net", "--json")
    assert (listed.json["layer"], listed.json["head"]) == ("fc:input", "fc")
    found = cli_here("run", *own, "--strategy", "contribution", "--k", 3, "--out", "r", "--json")
    assert found.status == 0, found.err
    assert found.json["layer"] == "fc:input"
    assert found.json["accuracy"]["refit"] is not None
    measured = cli_here("measure", *own, "--layers", "first,fc:input", "--json")
    assert [row["filters"] for row in measured.json["layers"]] == [8, 16]
    compared = cli_here("compare", *own, "--strategies", "paper,gradient-activation", "--k", 2, "--out", "c", "--json")
    assert [row["layer"] for row in compared.json["rows"]] == ["fc:input"] * 2
    # What a run's file names is not run by itself.
    refused = cli("explain", "r", "test:3")
    assert refused.status == 1
    assert "nets/own.py:Net is code, and it is a file that names it" in refused.err
    allowed = cli("--own-code", "explain", "r", "test:3")
    assert allowed.status == 0, allowed.err
    for command in (
        ("explain", "r", "test:3"),
        ("report", "r"),
        ("finetune", "r", "--epochs", 1, "--out", "f"),
    ):
        done = cli_here(*command)  # allowed, as --model has named it in this process
        assert done.status == 0, done.err
        assert "Without images" not in done.err
    assert json.loads((folder / "f" / "run.json").read_text())["accuracy"]["finetuned"] is not None


def test_packages_functions_and_networks_that_come_with_weights(folder: Path, cli_here: Callable[..., Outcome]) -> None:
    (folder / "parts.py").write_text(PARTS)  # the current folder is on the path, as for `python -m`
    recipe = ("--dataset", "digits", "--mean", 0.5, "--std", 0.5, "--strategy", "paper", "--k", 2, "--json")
    for number, name in enumerate(("nets.own:seeded", "nets.own:thing")):
        found = cli_here("run", "--model", name, *recipe, "--out", f"r{number}")
        assert found.status == 0, found.err
        assert found.json["weights"] == "its own"
    random = cli_here("run", "--model", "nets.own:made", *recipe)
    assert "has other weights each time it is built, so they are not trained" in random.err
    unsaid = cli_here("run", "--model", "nets.own:seeded", "--dataset", "digits", "--strategy", "paper")
    assert "give --mean and --std" in unsaid.err


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nets/own.py:Nett", "There is no 'Nett' in nets/own.py. Did you mean 'Net'"),
        ("nets/gone.py:Net", "There is no file nets/gone.py"),
        ("nets.gone:Net", "nets.gone could not be imported: ModuleNotFoundError"),
        ("nets/own.py:broken", "could not be built: ValueError: not today. It is called without arguments"),
        ("nets/own.py:number", "gives a int, not an nn.Module"),
    ],
)
def test_code_that_cannot_be_used_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, problem: str
) -> None:
    monkeypatch.chdir(folder)
    allow(name)
    with pytest.raises(ConfigError, match=problem.replace("(", r"\(")):
        resolve(own_model(name).build)(10)


def test_files_that_name_code_run_none(folder: Path, cli: Callable[..., Outcome]) -> None:
    (folder / "c.toml").write_text('model = "nets/evil.py:Net"\ndataset = "digits"\nstrategy = "paper"\n')
    refused = cli("run", "--config", "c.toml")
    assert refused.status == 1
    assert "nets/evil.py:Net is code" in refused.err
    assert not (folder / "ran").exists()


def test_unknown_names_point_to_ones_own_code(cli_here: Callable[..., Outcome]) -> None:
    unknown = cli_here("run", "--model", "mynet", "--strategy", "paper")
    assert "A network of your own is --model FILE.py:NAME or --model package.module:NAME." in unknown.err


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("net.py:Net", True), ("/a b/net.py:make", True), ("package.module:Net", True), ("module:Net", True),
        ("resnet20", False), ("timm/resnet18", False), ("net.py", False), (":Net", False), ("a/b:Net", False),
        ("net.py:", False), ("net.py:Net()", False), ("http://x:80", False),
    ],
)  # fmt: skip
def test_which_names_are_code(name: str, own: bool) -> None:
    assert is_own_code(name) is own
