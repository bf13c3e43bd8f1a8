"""What is wrong with one command alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bad_input import COMPARE, MEASURE, TRAIN, Bad, bad, check, out_is_taken, text, toml
from tests.support.helpers import Outcome

ROWS: dict[str, Bad] = {
    # compare
    "compare without a model": bad("compare", "--model is missing"),
    "compare an unknown strategy": bad(f"{COMPARE} --strategies papper", "'papper'", "Did you mean 'paper'"),
    "compare with k of 0": bad(f"{COMPARE} --k 2,0", "k = 0", "whole number of filters"),
    "compare with k above K": bad(f"{COMPARE} --strategies weight --k 65", "k = 65", "from 1 to 64"),
    "compare with k a word": bad(f"{COMPARE} --k five", "k = 'five' is not a number"),
    "compare at no layer": bad(f"{COMPARE} --layers nothing*", "'nothing*'", "ddeep layers"),
    "compare weights that are not there": bad(f"{COMPARE} --weights w.pt", "no weights file w.pt"),
    "compare into what exists": bad(f"{COMPARE} --out out", "out already exists", prepare=out_is_taken),
    "compare with an unknown key": bad(
        f"{COMPARE} --config c.toml", "Unknown key 'strategy'", "'strategies'", prepare=toml("strategy = 'paper'")
    ),
    "compare lists within lists": bad(
        f"{COMPARE} --config c.toml", "'k' in c.toml is nested too deeply", prepare=toml("k = [[[[[[5]]]]]]")
    ),
    # measure
    "measure an unknown metric": bad(f"{MEASURE} --metrics psy", "'psy'", "Did you mean 'psi'"),
    "measure with a number that is none": bad(f"{MEASURE} --metrics psi:half", "'half' is not a number", "psi:0.5"),
    "measure with a number too many": bad(f"{MEASURE} --metrics pmi:3", "'pmi' takes no number"),
    "measure Ψ at twice the mass": bad(f"{MEASURE} --metrics psi:2", "psi"),
    "measure a selection that there is none of": bad(f"{MEASURE} --metrics precision", "'precision'", "--strategy"),
    "measure with an unknown strategy": bad(f"{MEASURE} --strategy papper", "'papper'", "Did you mean 'paper'"),
    "measure with k above K": bad(f"{MEASURE} --strategy weight --k 65", "k = 65", "from 1 to 64"),
    "measure at no layer": bad(f"{MEASURE} --layers nothing*", "'nothing*'", "ddeep layers"),
    "measure into what exists": bad(f"{MEASURE} --out out", "out already exists", prepare=out_is_taken),
    # train
    "train nothing": bad("train", "--model is missing"),
    "train on nothing": bad("train --model resnet20", "--dataset is missing"),
    "train an unknown model": bad("train --model resnet21 --dataset digits", "'resnet21'", "Did you mean"),
    "train on an unknown dataset": bad("train --model resnet20 --dataset digit", "'digit'", "Did you mean 'digits'"),
    "train for no epoch": bad(f"{TRAIN} --epochs 0", "epochs", "0"),
    "train for ever": bad(f"{TRAIN} --epochs inf", "'--epochs'", "integer", status=2),
    "train backwards": bad(f"{TRAIN} --lr -0.1", "lr = -0.1", "positive number"),
    "train by NaN": bad(f"{TRAIN} --lr nan", "lr = nan", "positive number"),
    "train with an unknown optimizer": bad(f"{TRAIN} --optimizer sdg", "--optimizer 'sdg'", "sgd"),
    "train with an unknown schedule": bad(f"{TRAIN} --schedule cosin", "--schedule 'cosin'", "cosine"),
    "train in empty batches": bad(f"{TRAIN} --batch-size 0", "batch", "0"),
    "train on smoothed labels only": bad(f"{TRAIN} --label-smoothing 1.5", "smoothing", "1.5"),
    "train with an average beyond 1": bad(f"{TRAIN} --ema 1.5", "1.5"),
    "train with an unknown regularizer": bad(f"{TRAIN} --regularizer leavit", "'leavit'", "Did you mean 'leavitt'"),
    "train with an option of no regularizer": bad(
        f"{TRAIN} --regularizer leavitt --regularizer-options beta=1", "beta", "leavitt"
    ),
    "train on images of side 0": bad(f"{TRAIN} --size 0", "--size 0", "greater than or equal to 1"),
    "train into what exists": bad(f"{TRAIN} --out out", "out already exists", prepare=out_is_taken),
    "resume training that is not there": bad("train --resume nowhere", "nowhere is not a run directory"),
    "resume training with other settings": bad("train --resume nowhere --epochs 3", "takes no other options"),
    "resume what is no training": bad("train --resume out", "schema", "ddeep.train/1", prepare=out_is_taken),
    "resume training that is finished": bad(
        "train --resume t", "finished", prepare=text("t/run.json", '{"schema": "ddeep.train/1", "status": "finished"}')
    ),
    "resume training of no settings": bad(
        "train --resume t",
        "t/run.json does not describe a training run",
        prepare=text("t/run.json", '{"schema": "ddeep.train/1", "status": "running", "config": {"epochs": "many"}}'),
    ),
    "a regularizer's options as a number": bad(
        f"{TRAIN} --config c.toml", "--regularizer-options 5", prepare=toml("regularizer_options = 5")
    ),
    # plugins
    "check no plugin": bad("plugins check nothing-such", "No plugin 'nothing-such' is installed", "ddeep plugins"),
    "a new plugin with a name that is none": bad(("plugins", "new", "no name"), "'no name'"),
    "a new plugin that climbs out": bad("plugins new ../x", "'../x'"),
    "a new plugin of no kind": bad("plugins new ddeep-x --kind trick", "trick", status=2),
    "a new plugin where there is one": bad(
        "plugins new ddeep-x", "ddeep-x", "exists", prepare=text("ddeep-x/pyproject.toml", "")
    ),
    # other commands
    "list of nothing": bad("list modles", "modles", "Did you mean 'models'", status=2),
    "cache of nothing": bad("cache clean", "clean", status=2),
    "layers of an unknown model": bad("layers resnet21", "'resnet21'", "Did you mean", "'resnet20'"),
    "layers of no model": bad("layers", "Missing argument", status=2),
    "layers by a glob without match": bad("layers resnet20 nothing*", "'nothing*'"),
    "layers on images of side 0": bad("layers resnet20 --size 0", "--size", status=2),
    "layers on images too small": bad("layers torchvision/alexnet --size 8", "alexnet", "8"),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_is_named_and_nothing_is_lost(
    row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(row, cli_here, tmp_path, monkeypatch)
