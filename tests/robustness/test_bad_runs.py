"""Run directories and shards that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bad_input import Bad, a_run, bad, check, out_is_taken, run, shard, text
from tests.support.helpers import Outcome

ROWS: dict[str, Bad] = {
    # shards of a run
    "a shard that is none of its parts": run("--shard 4/3 --out o", "--shard '4/3'", "give I/N"),
    "a shard numbered 0": run("--shard 0/3 --out o", "--shard '0/3'", "give I/N"),
    "a shard in words": run("--shard one --out o", "--shard 'one'", "give I/N"),
    "a shard without an output": run("--shard 1/3", "--shard needs --out DIR"),
    # finetune
    "fine-tune nothing": bad("finetune", "Give a run directory or a selection file"),
    "fine-tune what is not there": bad("finetune nowhere", "nowhere"),
    "fine-tune a run that is not there": bad("finetune runs/nowhere", "no run directory", "ddeep run"),
    "fine-tune a folder": bad("finetune out", "out/run.json", prepare=out_is_taken),
    "fine-tune by an unknown head": bad(
        "finetune r --head sparse", "knows its own head", prepare=text("r/run.json", "{}")
    ),
    "fine-tune a run on other images": bad("finetune run --dataset digits", "knows its own dataset", prepare=a_run()),
    "fine-tune a run without its network": bad("finetune run", "model.safetensors", prepare=a_run()),
    "fine-tune a run of a layer that feeds no head": bad(
        "finetune run", "no decomposed head", prepare=a_run(accuracy={"full": 90.0, "decomposed": None})
    ),
    "resume fine-tuning that is not there": bad(
        "finetune --resume run", "no unfinished fine-tuning in run", prepare=a_run()
    ),
    "resume fine-tuning with other settings": bad("finetune --resume run --epochs 2", "takes no other settings"),
    "fine-tuning with broken settings": bad(
        "finetune --resume run", "run.json does not hold the settings", prepare=a_run(status="running")
    ),
    "fine-tuning with settings of another kind": bad(
        "finetune --resume run",
        "run.json does not hold the settings",
        "lr",
        prepare=a_run(status="running", finetuning={"lr": "x"}),
    ),
    # report
    "report on nothing": bad("report", "Missing argument", status=2),
    "report on what is not there": bad("report nowhere", "nowhere is not a run directory", "no such folder"),
    "report on a name nearly right": bad(
        "report runn", "runn is not a run directory", "Did you mean 'run'", prepare=a_run()
    ),
    "report on the folder of runs": bad("report .", "it has no run.json", "Runs here: run", prepare=a_run()),
    "report on a folder": bad("report .", "is not a run directory"),
    "report on broken JSON": bad("report r", "r/run.json is not a run", prepare=text("r/run.json", "{")),
    "report on a list": bad("report r", "a list, not an object", prepare=text("r/run.json", "[]")),
    "report on depths": bad("report r", "nested too deeply", prepare=text("r/run.json", '{"a":' * 99 + "1" + "}" * 99)),
    "report on a key twice": bad("report r", "'a' twice", prepare=text("r/run.json", '{"a": 1, "a": 2}')),
    "report on what is without end": bad(
        "report r",
        "a device, not a file",
        prepare=lambda folder: [(folder / "r").mkdir(), (folder / "r/run.json").symlink_to("/dev/zero")],
    ),
    "report on another schema": bad("report r", "schema 'x'", prepare=text("r/run.json", '{"schema": "x"}')),
    "report on half a run": bad("report r", "not a whole run", prepare=text("r/run.json", '{"schema": "ddeep.run/1"}')),
    "report on a run with a class too few": bad("report run", "Class", prepare=a_run(selection_classes=9)),
    "report on a comparison that is none": bad(
        "report r", "comparison.json is not a comparison", prepare=text("r/comparison.json", "{")
    ),
    "report on half a comparison": bad(
        "report r", "not a whole comparison", prepare=text("r/comparison.json", '{"schema": "ddeep.comparison/1"}')
    ),
    # explain
    "explain without an image": bad("explain run", "Missing argument", status=2),
    "explain by what is not there": bad("explain nowhere test:1", "nowhere is not a run directory"),
    "explain by a run without a head": bad(
        "explain run test:1",
        "no decomposed head",
        prepare=a_run(accuracy={"full": 90.0, "decomposed": None}),
    ),
    "explain by a run of other images": bad(
        "explain run test:1",
        "The images of the train split have changed",
        prepare=a_run(hashes={"train": "0", "test": "0"}),
    ),
    "explain by a run without its network": bad("explain run test:1", "model.safetensors", prepare=a_run()),
    # merge
    "merge nothing": bad("merge", "Missing argument", status=2),
    "merge what is not there": bad("merge nowhere", "nowhere is not a shard"),
    "merge a folder": bad("merge .", "is not a shard"),
    "merge half a shard": bad("merge s", "s is not a shard", prepare=shard(config=None)),
    "merge one of two shards": bad("merge s", "Shard 2 of 2 is missing", prepare=shard(of=2)),
    "merge one of a billion shards": bad("merge s", "Shard 2 of 1000000000", prepare=shard(of=10**9)),
    "merge a shard twice": bad("merge s s", "are both shard 1 of 2", prepare=shard(of=2)),
    "merge a shard that is none of its parts": bad("merge s", "number 3 of 1", prepare=shard(number=3)),
    "merge a shard of no settings": bad(
        "merge s",
        "settings that are not valid",
        prepare=shard(config={"k": 3, "model": "resnet20", "strategy": "paper", "colour": 1}),
    ),
    "merge a shard of other filters": bad("merge s", "of 7 filters", prepare=shard(filters=7)),
    "merge into what exists": bad("merge s --out out", "out already exists", prepare=out_is_taken),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_is_named_and_nothing_is_lost(
    row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(row, cli_here, tmp_path, monkeypatch)
