"""Options and config files that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bad_input import RUN, Bad, bad, check, contents, out_is_taken, run, selection, text, toml
from tests.support.helpers import Outcome

ROWS: dict[str, Bad] = {
    # names
    "no command like it": bad("rnu", "rnu", "No such command", status=2),
    "an option that is none": run("--kk 5", "--kk", "No such option", status=2),
    "an option of ddeep itself after the command": run(
        "--own-code", "--own-code comes before the command: ddeep --own-code run", status=2
    ),
    "one of a command within a command": bad(
        "plugins check x --offline", "--offline comes before the command: ddeep --offline plugins", status=2
    ),
    "an option without its value": run("--k", "--k", "requires an argument", status=2),
    "no model": bad("run --strategy paper", "--model is missing"),
    "no strategy": bad("run --model resnet20", "--strategy NAME or --selection FILE"),
    "unknown model": bad("run --model resnet21 --strategy paper", "'resnet21'", "Did you mean", "'resnet20'"),
    "unknown member of a family": bad("run --model timm/resnet81x --strategy paper", "resnet81x", "Did you mean"),
    "a family alone": bad("run --model timm/ --strategy paper", "timm/"),
    "a model of no family": bad("run --model resnet20/x --strategy paper", "resnet20/x"),
    "unknown strategy": bad("run --model resnet20 --strategy papper", "'papper'", "Did you mean 'paper'"),
    "unknown dataset": run("--dataset digit", "'digit'", "Did you mean 'digits'"),
    "unknown weights": run("--weights resnet20-digts", "resnet20-digts", "no weights file"),
    "unknown layer": run("--layer layer3.3", "'layer3.3'", "Did you mean 'layer3.", "ddeep layers"),
    "a glob without match": run("--layer nothing*", "'nothing*'", "ddeep layers"),
    "a glob of many": run("--layer layer1*", "'layer1*' stands for", "A run takes one"),
    "unknown head": run("--head lineer", "'lineer'", "Did you mean 'linear'"),
    "a head that is none": run("--head conv1", "'conv1'", "Conv2d"),
    "unknown device": run("--device gpu", "'gpu'", "Use one of: auto, cpu"),
    "a device that is not there": run("--device cpu:7", "'cpu:7' is not available", "Use one of: auto, cpu"),
    "unknown precision": run("--precision fp8", "--precision 'fp8'", "'fp32' or 'bf16'"),
    "strategy and selection": run("--selection s.json", "either --strategy", prepare=selection({"0": [1]})),
    # numbers
    "k of 0": run("--k 0", "k = 0", "whole number of filters"),
    "k of -1": run("--k -1", "k = -1", "whole number of filters"),
    "k above K": run("--k 65", "k = 65", "the layer has 64. Choose k from 1 to 64"),
    "k of 1.5": run("--k 1.5", "k = 1.5", "fraction between 0 and 1"),
    "k of 1.0": run("--k 1.0", "k = 1.0", "whole number of filters"),
    "k of 1.0000001": run("--k 1.0000001", "k = 1.0000001"),
    "k a word": run("--k five", "k = 'five' is not a number"),
    "k empty": bad((*RUN, "--k", ""), "k = '' is not a number"),
    "k not a number": run("--k nan", "k = nan"),
    "k infinite": run("--k inf", "k = inf"),
    "k with an exponent": run("--k 1e1", "k = 1e1 cannot be"),
    "k enormous": run("--k 1000000000000000000000000000000", "filters per class, but the layer has 64"),
    "a fraction for a strategy without": bad(
        "run --model resnet20 --strategy weight --k 0.5", "'weight' takes a whole number k"
    ),
    "batch size 0": run("--batch-size 0", "--batch-size 0", "greater than or equal to 1"),
    "batch size enormous": run("--batch-size 100000", "--batch-size 100000", "less than or equal to 65536"),
    "batch size a word": run("--batch-size many", "'--batch-size'", "integer", status=2),
    "seed negative": run("--seed -1", "--seed -1", "greater than or equal to 0"),
    "seed too large": run("--seed 9223372036854775808", "--seed", "less than"),
    "mean of two numbers": run("--mean 0.5,0.5", "--mean", "three numbers"),
    "mean of four numbers": run("--mean 1,2,3,4", "--mean", "three numbers"),
    "mean in words": run("--mean a,b,c", "--mean", "number"),
    "mean not a number": run("--mean nan", "--mean", "number"),
    "std of 0": run("--std 0", "std must be three positive numbers"),
    "std negative": run("--std 1,1,-1", "std must be three positive numbers"),
    "std infinite": run("--std inf", "--std", "number"),
    # where to
    "out exists": run("--out out", "out already exists", "choose another --out", prepare=out_is_taken),
    "out is a file": run("--out out", "out already exists", prepare=text("out", "")),
    "out below a file": run("--out a/b", "Cannot write to a/b", "Choose another --out", prepare=text("a", "")),
    "out in /proc": run("--out /proc/ddeep", "Cannot write to /proc/ddeep", "Choose another --out"),
    "out has a name too long": run(f"--out {'x' * 300}", "Cannot write to xxx", "too long"),
    "out is here": run("--out .", "already exists", prepare=text("something", "")),
    "runs is a file": run("", "Cannot write to runs", "Choose another --out", prepare=text("runs", "")),
    # config files
    "a config that is not there": run("--config c.toml", "Cannot read the config file c.toml", "No such file"),
    "a config that is a folder": run("--config .", "Cannot read the config file .", "directory"),
    "broken TOML": run("--config c.toml", "c.toml is not valid TOML", prepare=toml("k = = 3")),
    "a config that is not text": run("--config c.toml", "c.toml is not valid TOML", prepare=toml("\xff\xfe").__call__),
    "an unknown key": run("--config c.toml", "Unknown key 'strateggy'", "'strategy'", prepare=toml("strateggy = 'a'")),
    "a table for a key": run("--config c.toml", "k = \"{'a': 1}\" is not a number", prepare=toml("[k]\na = 1")),
    "a list for k": run("--config c.toml", "k = '[5]' is not a number", prepare=toml("k = [5]")),
    "true for k": run("--config c.toml", "k = True", prepare=toml("k = true")),
    "a date for the seed": run("--config c.toml", "--seed", prepare=toml("seed = 2020-01-01")),
    "a number for the model": bad(
        "run --strategy paper --config c.toml", "--model 3", "string", prepare=toml("model = 3")
    ),
    "a word for a flag": run("--config c.toml", "--no-refit", "boolean", prepare=toml("no-refit = 'perhaps'")),
    "a config without end": run("--config /dev/zero", "/dev/zero", "a device, not a file"),
    "a key twice in a config": run("--config c.toml", "not valid TOML", prepare=toml("k = 5\nk = 6")),
    "a null in a name": run("--config c.toml", "out", prepare=toml('out = "a\\u0000b"')),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_is_named_and_nothing_is_lost(
    row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(row, cli_here, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["unknown model", "an option that is none"])
def test_the_same_in_a_process_of_its_own(name: str, cli: Callable[..., Outcome], tmp_path: Path) -> None:
    row = ROWS[name]
    row.prepare(tmp_path)
    before = contents(tmp_path)
    outcome = cli(*row.args)
    assert outcome.status == row.status
    assert outcome.out == ""
    assert all(words in outcome.err for words in row.says)
    assert "Traceback" not in outcome.err
    assert contents(tmp_path) == before
