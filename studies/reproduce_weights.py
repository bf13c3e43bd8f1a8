"""Train the weights that come with ddeep anew, with the commands that made them.

    python studies/reproduce_weights.py resnet20-digits

writes a run directory under runs/ and says how the new weights compare with the packaged ones. With --ship they
replace the packaged ones, and the model card is written from the run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).parents[1] / "ddeep_plugins_builtin" / "weights"
# Each line is a command; {previous} stands for the run directory of the one before it.
COMMANDS = {
    "resnet20-digits": (
        "train --model resnet20 --dataset digits --epochs 20 --lr 0.2 --batch-size 64 --no-flip --label-smoothing 0.1 "
        "--seed 0",
    ),
    "resnet20-cifar10": (
        "train --model resnet20 --dataset cifar10 --epochs 32 --lr 0.4 --precision bf16 --seed 0",
        "finetune --head dense --model resnet20 --dataset cifar10 --weights {previous}/model.safetensors "
        "--optimizer sgd --schedule cosine --lr 0.15 --weight-decay 5e-4 --batch-size 128 --epochs 24 "
        "--precision bf16 --seed 1",
    ),
}

CARD = """# {name}

{parameters} parameters for {model} on `{dataset}`, trained from scratch by this project. Licence: Apache-2.0.

| | |
|---|---|
| accuracy on the test split | **{accuracy:.2f} %** (last epoch of a fixed schedule; none was chosen) |
| images | mean {mean}, std {std}, {size}x{size}, RGB in 0...1 |
| training time | {minutes:.1f} minutes on {threads} threads of {processor} |
| made with | {versions} |
| sha256 | `{sha256}` |

{stages}

Again: `python studies/reproduce_weights.py {name}`{data}. {same}
"""
STAGE = """Stage {number}, seed {seed}:

    ddeep {command}

{recipe}"""
SAME = {
    "fp32": "In fp32 on the CPU, a machine gives the same weights every time; another kind of processor rounds "
    "differently and gives others of the same quality.",
    "bf16": "Another processor, or another number of threads, rounds differently and gives other weights of the same "
    "quality.",
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("name", choices=sorted(COMMANDS))
    arguments.add_argument("--data-dir", default="data")
    arguments.add_argument("--ship", action="store_true", help="replace the packaged weights and their card")
    arguments.add_argument("--from-runs", type=Path, nargs="*", help="use these finished runs of the same commands")
    given = arguments.parse_args()
    runs = given.from_runs or train(given.name, given.data_dir)
    documents = [json.loads((run / "run.json").read_text(encoding="utf-8")) for run in runs]
    trained, weights = runs[-1] / "model.safetensors", PACKAGED / f"{given.name}.safetensors"
    same = weights.is_file() and weights.read_bytes() == trained.read_bytes()
    print(f"{documents[-1]['accuracy']['test']:.2f} % on the test split; the same file as the packaged one: {same}")
    if given.ship:
        shutil.copyfile(trained, weights)
        (PACKAGED / f"{given.name}.md").write_text(card(given.name, documents, weights), encoding="utf-8")
    return 0


def train(name: str, data_dir: str) -> list[Path]:
    """Run the commands one after the other; return their run directories."""
    runs: list[Path] = []
    for number, command in enumerate(COMMANDS[name], start=1):
        run = Path("runs") / f"{name}-{number}"
        words = shlex.split(command.format(previous=runs[-1] if runs else ""))
        words += ["--data-dir", data_dir, "--out", str(run)]
        subprocess.run([sys.executable, "-m", "ddeep", *words], check=True)
        runs.append(run)
    return runs


def card(name: str, documents: list[dict[str, Any]], weights: Path) -> str:
    """The model card, from what the runs recorded."""
    from safetensors.torch import load_file

    last = documents[-1]
    parameters = sum(v.numel() for k, v in load_file(weights).items() if "running" not in k and "tracked" not in k)
    stages = [
        STAGE.format(
            number=number,
            seed=document["seed"],
            command=command.format(previous=f"runs/{name}-{number - 1}"),
            recipe=", ".join(f"{key} {value}" for key, value in document["recipe"].items()),
        )
        for number, (command, document) in enumerate(zip(COMMANDS[name], documents, strict=True), start=1)
    ]
    return CARD.format(
        name=name,
        parameters=f"{parameters:,}",
        minutes=sum(document["timings"]["training"] for document in documents) / 60,
        versions=", ".join(f"{key} {value}" for key, value in last["versions"].items()),
        accuracy=last["accuracy"]["test"],
        sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
        stages="\n\n".join(stages),
        same=SAME[last["recipe"]["precision"]],
        data="" if last["dataset"] == "digits" else f", with the images under `data/{last['dataset']}`",
        **{key: last[key] for key in ("model", "dataset")},
        **{key: last["preprocessing"][key] for key in ("mean", "std", "size")},
        **{key: last["machine"][key] for key in ("threads", "processor")},
    )


if __name__ == "__main__":
    sys.exit(main())
