"""Options are made from the settings: one place for each, the same name everywhere, completed without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ddeep.cli import COMMANDS, load_command
from ddeep.cli.completion import names, runs
from ddeep.cli.settings_options import help_of
from ddeep.experiments.settings import (
    CompareConfig,
    ExplainConfig,
    FinetuneConfig,
    MeasureConfig,
    ReportConfig,
    RunConfig,
    ServeConfig,
    TrainConfig,
)
from tests.support.helpers import Outcome

MODELS = {
    "run": RunConfig,
    "measure": MeasureConfig,
    "compare": CompareConfig,
    "train": TrainConfig,
    "finetune": FinetuneConfig,
    "report": ReportConfig,
    "serve": ServeConfig,
    "explain": ExplainConfig,
}
HIDDEN = {("train", "pretrained"), ("train", "weights")}  # what `ddeep finetune --dense` is for


def options(command: str) -> dict[str, Any]:
    return {option.name: option for option in load_command(command).params if option.param_type_name == "option"}


@pytest.mark.parametrize("command", MODELS)
def test_every_setting_is_an_option_with_its_help(command: str) -> None:
    found = options(command)
    for name, field in MODELS[command].model_fields.items():
        if (command, name) in HIDDEN:
            assert name not in found
            continue
        assert found[name].help == help_of(field)
        assert found[name].opts == [f"--{name.replace('_', '-')}"]
        assert found[name].rich_help_panel
        assert found[name].default is None  # not given is not the same as the default: a config file may say


def test_an_option_of_one_name_is_of_one_kind_everywhere() -> None:
    kinds: dict[str, set[str]] = {}
    for command in MODELS:
        for name, option in options(command).items():
            kinds.setdefault(name, set()).add("list" if option.multiple else type(option).__name__)
    assert {name for name, found in kinds.items() if len(found) > 1} == {
        "weights",
        "k",
        "budget",
    }  # `compare` takes several


def test_what_makes_sense_everywhere_is_everywhere() -> None:
    for command in MODELS:
        assert {"config", "as_json", "device", "data_dir"} <= options(command).keys(), command
    assert {"seed", "momentum"} <= options("train").keys() & options("finetune").keys()


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("plugins", "cache")])
def test_help_has_examples_that_are_commands(command: str) -> None:
    epilog = load_command(command).epilog
    assert epilog.startswith("Examples:")
    lines = epilog.split("\n\n")[1:]
    assert lines
    assert all(line.startswith(f"ddeep {command}") for line in lines)


def test_the_config_file_takes_the_same_names(cli_here: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "report.toml").write_text('layers = ["layer1"]\nno-layers = "maybe"\n')
    done = cli_here("report", "nowhere", "--config", "report.toml")
    assert (done.status, "--no-layers 'maybe'" in done.err) == (1, True)


def test_names_are_completed() -> None:
    assert "paper" in names("strategies", "pa")
    assert "resnet20" in names("models", "resnet2")
    assert "timm/" in names("models", "tim")
    assert "timm/resnet18" in names("models", "timm/resnet1")
    assert names("metrics", "no-such") == []


def test_folders_of_runs_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("runs/one", "runs/other", "elsewhere/one"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert runs("") == ["runs/one", "runs/other"]
    assert runs("runs/ot") == ["runs/other"]
    assert runs("elsewhere/") == ["elsewhere/one"]
    assert runs("nowhere/x") == []


def test_the_shell_completes_without_torch(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "os.environ.update(_DDEEP_COMPLETE='complete_bash', COMP_WORDS='ddeep run --strategy pap', COMP_CWORD='3')\n"
        "sys.argv = ['ddeep']\n"
        "from ddeep.cli import app\n"
        "try:\n"
        "    app(prog_name='ddeep')\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.stdout.split() == ["paper", "False"], done.stderr


@pytest.mark.parametrize(
    "words",
    [
        "run --model resnet20 --strategy paper",
        "compare --model resnet20 --strategies paper",
        "train --model resnet20 --dataset digits",
        "finetune runs/mine",
        "cut runs/mine --classes 1,2",
        "merge shard1 shard2",
    ],
)
def test_a_folder_that_is_taken_is_told_of_before_torch_is_there(words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = (
        f"import sys; sys.argv = ['ddeep', *{words.split()}, '--out', '.']\nfrom ddeep.cli import main\nprint(main())"
    )
    code += "\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert ". already exists" in done.stderr
    assert done.stdout.split() == ["1", "False"]
