"""Wrong command lines and files, one row each: exit status, the offending thing and the remedy named, in one line.

No traceback, nothing on stdout, and nothing written. A new command or option brings its rows here.
"""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ddeep_plugins_builtin
from tests.support.helpers import Outcome
from tests.support.pictures import class_folders, save_picture

WEIGHTS = Path(ddeep_plugins_builtin.__file__).parent / "weights" / "resnet20-digits.safetensors"
RUN = ("run", "--model", "resnet20", "--strategy", "paper")
Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Bad:
    """A wrong command: what it must say, and what it finds in its folder."""

    args: tuple[str, ...]
    says: tuple[str, ...]
    prepare: Prepare = lambda _: None
    status: int = 1


def bad(args: str | tuple[str, ...], *says: str, prepare: Prepare = lambda _: None, status: int = 1) -> Bad:
    """A row; the words of ``args`` are separated by spaces where it is text."""
    return Bad(tuple(args.split()) if isinstance(args, str) else args, says, prepare, status)


def run(options: str, *says: str, prepare: Prepare = lambda _: None, status: int = 1) -> Bad:
    """A row of ``ddeep run`` that is right but for ``options``."""
    return bad((*RUN, *options.split()), *says, prepare=prepare, status=status)


def text(name: str, content: str | bytes) -> Prepare:
    """A file in the command's folder."""

    def write(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def toml(content: str) -> Prepare:
    return text("c.toml", content)


def selection(document: Any) -> Prepare:
    return text("s.json", json.dumps(document))


# --- weights files -------------------------------------------------------------------------------------------------


class Planted:
    """Leaves a file behind if somebody unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def state(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The packaged weights, with changes: another tensor, or None to leave one out."""
    loaded = load_file(WEIGHTS)
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del loaded[key]
        else:
            loaded[key] = tensor
    return loaded


def saved(make: Callable[[], Any], name: str = "w.pt") -> Prepare:
    return lambda folder: torch.save(make(), folder / name)


def pickled(folder: Path) -> None:
    (folder / "w.pt").write_bytes(pickle.dumps({"linear.weight": Planted()}))


def truncated(folder: Path) -> None:
    torch.save(state(), folder / "whole.pt")
    content = (folder / "whole.pt").read_bytes()
    (folder / "whole.pt").unlink()
    (folder / "w.pt").write_bytes(content[: len(content) // 2])


def huge_header(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}).encode()
    (folder / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")


# --- image folders -------------------------------------------------------------------------------------------------


def folders(classes: dict[str, int], change: Prepare = lambda _: None) -> Prepare:
    """``data/train`` and ``data/test`` with so many images of each class, changed afterwards."""

    def make(folder: Path) -> None:
        for split in ("train", "test"):
            class_folders(folder / "data" / split, classes, side=32)
        change(folder / "data")

    return make


TEN = {str(digit): 1 for digit in range(10)}
FOLDER = "--dataset folder --weights resnet20-digits"


def two_classes_and_weights_for_ten(folder: Path) -> None:
    folders({"0": 1, "1": 1})(folder)
    torch.save(state(), folder / "w.pt")


def broken_image(data: Path) -> None:
    (data / "train" / "3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")


def claims_to_be_enormous(data: Path) -> None:
    """A picture of 8 × 8 pixels whose header says 50,000 × 50,000."""
    path = save_picture(data / "train" / "3" / "big.png")
    content = bytearray(path.read_bytes())
    content[16:24] = (50_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


def outside_link(data: Path) -> None:
    (data.parent / "secret.png").write_bytes(b"secret")
    (data / "train" / "3" / "link.png").symlink_to(data.parent / "secret.png")


def other_size(data: Path) -> None:
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(data / "cifar10" / "train" / "cat" / "odd.png")


def cifar(change: Prepare = lambda _: None) -> Prepare:
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()  # noqa: SIM905

    def make(folder: Path) -> None:
        for split in ("train", "test"):
            class_folders(folder / "data" / "cifar10" / split, dict.fromkeys(names, 1), side=32)
        change(folder / "data")

    return make


def out_is_taken(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "run.json").write_text("{}")


def shard(**changes: Any) -> Prepare:
    """The folder ``s``, whose ``shard.json`` is right but for ``changes``."""
    settings = {"model": "resnet20", "strategy": "paper", "dataset": "digits"}
    about = {"schema": "ddeep.shard/1", "number": 0, "of": 1, "config": settings, "keys": {}, "filters": 64}
    return text("s/shard.json", json.dumps({**about, **changes}))


def a_run(selection_classes: int = 10, **changes: Any) -> Prepare:
    """The folder ``run``, what a run leaves but for its network, with ``changes`` in its document."""
    rows = [{"index": c, "name": str(c), "filters": [c], "scores": [1.0]} for c in range(selection_classes)]
    chosen = {"schema": "ddeep.selection/1", "num_filters": 64, "absent": [], "source": {}, "classes": rows}

    def make(folder: Path) -> None:
        whole = json.loads(WHOLE_RUN.read_text(encoding="utf-8"))
        document = {**whole, **changes, "hashes": {**whole["hashes"], **changes.get("hashes", {})}}
        (folder / "run").mkdir()
        (folder / "run" / "run.json").write_text(json.dumps(document))
        (folder / "run" / "selection.json").write_text(json.dumps(chosen))

    return make


WHOLE_RUN = Path(__file__).parent / "fuzz" / "seeds" / "run.json"
CIFAR = "--dataset cifar10 --weights resnet20-digits"
COMPARE = "compare --model resnet20 --no-refit"
MEASURE = "measure --model resnet20"
TRAIN = "train --model resnet20 --dataset digits"

ROWS: dict[str, Bad] = {
    # names
    "no command like it": bad("rnu", "rnu", "No such command", status=2),
    "an option that is none": run("--kk 5", "--kk", "No such option", status=2),
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
    # weights files
    "a weights file that is not there": run("--weights w.pt", "no weights file w.pt"),
    "a folder for weights": run("--weights w", "no weights file w", prepare=lambda folder: (folder / "w").mkdir()),
    "empty weights": run("--weights w.pt", "w.pt is damaged or not a checkpoint", prepare=text("w.pt", "")),
    "weights that are text": run("--weights w.pt", "w.pt is damaged", prepare=text("w.pt", "weights")),
    "truncated weights": run("--weights w.pt", "w.pt is damaged", prepare=truncated),
    "weights that run code": run(
        "--weights w.pt",
        "w.pt holds more than tensors",
        "runs no code",
        prepare=saved(lambda: {"linear.weight": Planted()}),
    ),
    "a pickle that runs code": run("--weights w.pt", "w.pt is damaged or not a checkpoint", prepare=pickled),
    "a saved model": run("--weights w.pt", "w.pt holds more than tensors", prepare=saved(lambda: torch.nn.ReLU())),
    "weights that are a list": run("--weights w.pt", "w.pt holds a list", prepare=saved(lambda: [torch.ones(3)])),
    "weights of another network": run(
        "--weights w.pt", "another network", "missing", "unexpected a", prepare=saved(lambda: {"a": torch.ones(3)})
    ),
    "a weight missing": run("--weights w.pt", "missing linear.bias", prepare=saved(lambda: state(linear__bias=None))),
    "a weight of another shape": run(
        "--weights w.pt",
        "linear.bias is 9, not 10",
        prepare=saved(lambda: state(linear__bias=torch.ones(9))),
    ),
    "NaN in the weights": run(
        "--weights w.pt",
        "'linear.bias' holds NaN or infinite",
        prepare=saved(lambda: state(linear__bias=torch.full((10,), torch.nan))),
    ),
    "infinity in the weights": run(
        "--weights w.pt",
        "'linear.bias' holds NaN or infinite",
        prepare=saved(lambda: state(linear__bias=torch.full((10,), torch.inf))),
    ),
    "a header of exabytes": run("--weights w.safetensors", "w.safetensors is not a whole", prepare=huge_header),
    "safetensors cut off": run(
        "--weights w.safetensors",
        "w.safetensors is not a whole safetensors file",
        prepare=lambda folder: (folder / "w.safetensors").write_bytes(WEIGHTS.read_bytes()[:5000]),
    ),
    "no weights for the dataset": bad(
        "run --model resnet32 --strategy paper --dataset digits",
        "no weights for the dataset 'digits'",
        "--weights FILE",
    ),
    "a weights file for more classes": run(
        "--dataset folder --weights w.pt", "linear.bias is 10, not 2", prepare=two_classes_and_weights_for_ten
    ),
    "classes the weights do not know": run(
        FOLDER, "class", "cats", prepare=folders({**dict.fromkeys("012345678", 1), "cats": 1})
    ),
    # selection files
    "a selection that is not there": bad("run --model resnet20 --selection s.json", "Cannot read the selection s.json"),
    "a selection and k": bad(
        "run --model resnet20 --selection s.json --k 5", "--k goes with --strategy", prepare=selection({"0": [1]})
    ),
    "broken JSON": bad("run --model resnet20 --selection s.json", "s.json", "valid JSON", prepare=text("s.json", "{")),
    "a list for a selection": bad("run --model resnet20 --selection s.json", "a list", prepare=selection([])),
    "a class left out": bad(
        "run --model resnet20 --selection s.json",
        "Class 9 is left out",
        prepare=selection({str(c): [1] for c in range(9)}),
    ),
    "a filter out of range": bad(
        "run --model resnet20 --selection s.json",
        "selects filter 64, but the layer's filters are 0 to 63",
        prepare=selection({str(c): [64] for c in range(10)}),
    ),
    "a filter twice": bad(
        "run --model resnet20 --selection s.json",
        "filter 1 twice",
        prepare=selection({str(c): [1, 1] for c in range(10)}),
    ),
    "a selection with other classes": bad(
        "run --model resnet20 --selection s.json",
        "Class 0 is 'cat' in the selection",
        prepare=selection(
            {
                "schema": "ddeep.selection/1",
                "num_filters": 64,
                "absent": [],
                "source": {},
                "classes": [{"index": c, "name": f"cat{c}"[: 3 + c], "filters": [1], "scores": [1]} for c in range(10)],
            }
        ),
    ),
    "a selection of another layer": bad(
        "run --model resnet20 --layer layer2.2 --selection s.json",
        "selects filter 60",
        "0 to 31",
        prepare=selection({str(c): [60] for c in range(10)}),
    ),
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
    "a config without end": run("--config /dev/zero", "/dev/zero", "larger than 1 MiB"),
    "a key twice in a config": run("--config c.toml", "not valid TOML", prepare=toml("k = 5\nk = 6")),
    "a null in a name": run("--config c.toml", "out", prepare=toml('out = "a\\u0000b"')),
    # datasets
    "no data folder": run("--dataset folder --data-dir nowhere --weights resnet20-digits", "nowhere", "no folder"),
    "an empty data folder": run(
        FOLDER, "train", "holds no folders", prepare=lambda folder: (folder / "data/train").mkdir(parents=True)
    ),
    "one class": run(FOLDER, "one class only", prepare=folders({"0": 2})),
    "an empty class": run(
        FOLDER,
        "holds no image",
        prepare=folders(TEN, lambda data: (data / "train" / "3" / "0.png").unlink()),
    ),
    "an image that does not decode": run(FOLDER, "broken.png", "does not decode", prepare=folders(TEN, broken_image)),
    "an image that claims to be enormous": run(
        FOLDER, "big.png", "pixels", prepare=folders(TEN, claims_to_be_enormous)
    ),
    "a link out of the folder": run(FOLDER, "link.png", "links to", prepare=folders(TEN, outside_link)),
    "an unprintable class": run(
        FOLDER, "\\x1b", "printable", prepare=folders(TEN, lambda data: (data / "train" / "a\x1b[31m").mkdir())
    ),
    "cifar10 not there": run(f"{CIFAR} --data-dir nowhere", "CIFAR-10 is not under nowhere", "--data-dir"),
    "cifar10 with a class too few": run(
        CIFAR,
        "lacks the class 'cat'",
        prepare=cifar(lambda data: (data / "cifar10/train/cat").rename(data / "cat")),
    ),
    "cifar10 with a class too many": run(
        CIFAR,
        "'cats'",
        "Did you mean 'cat'",
        prepare=cifar(lambda data: class_folders(data / "cifar10/train", {"cats": 1})),
    ),
    "cifar10 with an image of another size": run(CIFAR, "odd.png", "9 × 8 pixels", prepare=cifar(other_size)),
    "cifar10 without a split": run(
        CIFAR, "test", "no folder", prepare=cifar(lambda data: (data / "cifar10/test").rename(data / "test"))
    ),
    "cifar10's pickles damaged": run(
        CIFAR, "is not a file of CIFAR-10", prepare=text("data/cifar-10-batches-py/data_batch_1", "nothing")
    ),
    "cifar10's pickles would run code": run(
        CIFAR,
        "asks to run",
        prepare=text("data/cifar-10-batches-py/data_batch_1", pickle.dumps({"data": Planted(), "labels": []})),
    ),
    # shards of a run
    "a shard that is none of its parts": run("--shard 4/3 --out o", "--shard '4/3'", "give I/N"),
    "a shard numbered 0": run("--shard 0/3 --out o", "--shard '0/3'", "give I/N"),
    "a shard in words": run("--shard one --out o", "--shard 'one'", "give I/N"),
    "a shard without an output": run("--shard 1/3", "--shard needs --out DIR"),
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
    # finetune
    "fine-tune nothing": bad("finetune", "Give a run directory or a selection file"),
    "fine-tune what is not there": bad("finetune nowhere", "nowhere"),
    "fine-tune a run that is not there": bad("finetune runs/nowhere", "no run directory", "ddeep run"),
    "fine-tune a folder": bad("finetune out", "out/run.json", prepare=out_is_taken),
    "fine-tune by an unknown head": bad("finetune run --head sparse", "'--head'", "sparse", status=2),
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
        "finetune --resume run", "finetune.json cannot be read", prepare=text("run/finetune.json", '{"epochs": [')
    ),
    "fine-tuning with settings of another kind": bad(
        "finetune --resume run", "finetune.json cannot be read", "lr", prepare=text("run/finetune.json", '{"lr": "x"}')
    ),
    # report
    "report on nothing": bad("report", "Missing argument", status=2),
    "report on what is not there": bad("report nowhere", "nowhere is not a run directory", "No such file"),
    "report on a folder": bad("report .", "is not a run directory"),
    "report on broken JSON": bad("report r", "r/run.json is not a run", prepare=text("r/run.json", "{")),
    "report on a list": bad("report r", "a list, not an object", prepare=text("r/run.json", "[]")),
    "report on depths": bad("report r", "nested too deeply", prepare=text("r/run.json", '{"a":' * 99 + "1" + "}" * 99)),
    "report on a key twice": bad("report r", "'a' twice", prepare=text("r/run.json", '{"a": 1, "a": 2}')),
    "report on what is without end": bad(
        "report r",
        "larger than 64 MiB",
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
    "merge a shard of no settings": bad("merge s", "settings that are not valid", prepare=shard(config={"k": 3})),
    "merge a shard of other filters": bad("merge s", "of 7 filters", prepare=shard(filters=7)),
    "merge into what exists": bad("merge s --out out", "out already exists", prepare=out_is_taken),
    # plugins
    "check no plugin": bad("plugins check nothing-such", "No plugin 'nothing-such' is installed", "ddeep plugins"),
    "a new plugin with a name that is none": bad(("plugins", "new", "no name"), "'no name'"),
    "a new plugin that climbs out": bad("plugins new ../x", "'../x'"),
    "a new plugin of no kind": bad("plugins new ddeep-x --kind trick", "trick", status=2),
    "a new plugin where there is one": bad(
        "plugins new ddeep-x", "ddeep-x", "exists", prepare=text("ddeep-x/pyproject.toml", "")
    ),
    # other commands
    "list of nothing": bad("list modles", "modles", status=2),
    "cache of nothing": bad("cache clean", "clean", status=2),
    "layers of an unknown model": bad("layers resnet21", "'resnet21'", "Did you mean", "'resnet20'"),
    "layers of no model": bad("layers", "Missing argument", status=2),
    "layers by a glob without match": bad("layers resnet20 nothing*", "'nothing*'"),
    "layers on images of side 0": bad("layers resnet20 --size 0", "--size", status=2),
    "layers on images too small": bad("layers torchvision/alexnet --size 8", "alexnet", "8"),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_OFFLINE", "1")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_bad_input_is_named_and_nothing_is_lost(row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path) -> None:
    row.prepare(tmp_path)
    before = contents(tmp_path)
    outcome = cli_here(*row.args)
    assert outcome.status == row.status, outcome.err
    assert outcome.out == ""
    said = outcome.err
    for words in row.says:
        assert words in said, f"{words!r} is not in:\n{said}"
    assert "Traceback" not in said
    assert "DDEEP_DEBUG" not in said, f"not foreseen:\n{said}"
    lines = [line for line in said.splitlines() if not line.startswith("warning: ")]
    if row.status == 1:
        assert len(lines) == 1, said
        assert lines[0].startswith("error: ")
        assert len(lines[0]) < 1000
    assert contents(tmp_path) == before
    assert not (tmp_path / "runs").is_dir()


@pytest.mark.parametrize("name", ["unknown model", "weights that run code", "broken JSON", "an option that is none"])
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
