"""What a page says that makes its result again: a command, or Python where no command could."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ddeep.experiments.settings import FinetuneConfig, RunConfig
from ddeep.reports.page import call, command, finetune_call, finetune_command
from tests.support.documents import read_document


def test_the_command_makes_the_run_again(digits_run: Path) -> None:
    document = read_document(digits_run / "run.json")
    assert command("run", RunConfig, document["config"]) == "ddeep run --model resnet20 --strategy paper"
    document["config"].update(k=0.9, mean=[0.1, 0.2, 0.3], no_refit=True, weights="my weights.pt", seed=3)
    given = command("run", RunConfig, document["config"])
    assert "--weights 'my weights.pt'" in given
    assert "--mean 0.1,0.2,0.3" in given
    assert given.endswith("--no-refit") or "--no-refit " in given
    assert "--k 0.9" in given
    assert "--seed 3" in given


def test_the_command_fine_tunes_again() -> None:
    """What the command line makes of it is what was asked for."""
    given = FinetuneConfig(
        epochs=3, flip=False, label_smoothing=0.1, no_refit=True, seed=7, regularizer="leavitt", alpha=-0.5,
        layers=("layer3.*",),
    )  # fmt: skip
    wanted = given.regularizer_config()
    done = {"recipe": given.finetune_recipe().identity(), "seed": 7, "from": "decomposed"}
    text = finetune_command({"finetune": {**done, "regularizer": asdict(wanted) if wanted else None}})
    assert text == (
        "ddeep finetune RUN --epochs 3 --label-smoothing 0.1 --no-flip --no-refit --seed 7 --regularizer leavitt "
        "--regularizer-options=alpha=-0.5 '--layers=layer3.*'"
    )
    assert finetune_command({"finetune": {**done, "from": "refit", "seed": 0, "regularizer": None}}) == (
        "ddeep finetune RUN --epochs 3 --label-smoothing 0.1 --no-flip"
    )
    assert finetune_command({}) == ""


def test_a_network_of_pythons_is_made_again_in_python() -> None:
    """No command line could name it."""
    given = RunConfig(model="Net", strategy="contribution", k=5)
    text = call("run", RunConfig, json.loads(given.model_dump_json()))
    assert text == "ddeep.run(model=Net(…), train=…, test=…, strategy='contribution', k=5)"
    done = {"recipe": FinetuneConfig(epochs=2, flip=False).finetune_recipe().identity(), "from": "refit", "seed": 0}
    assert finetune_call({"finetune": {**done, "regularizer": None}}) == "ddeep.finetune(result, epochs=2, flip=False)"
    assert finetune_call({}) == ""
