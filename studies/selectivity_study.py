"""The study of docs/selectivity-regularisation.md: what Leavitt's regularizer does to a trained network.

    python studies/selectivity_study.py --data-dir data --out runs/selectivity

For every alpha the shipped ResNet20 is fine-tuned on CIFAR-10 with its dense head, by one fixed recipe; then the class
selectivity index of every ReLU and of the layer that feeds the head is measured on the train split, the accuracy on
the test split, and the network is decomposed at k = 5. One JSON file an alpha, so that an interrupted study goes on;
at the end a table (study.md) and a figure (study.png).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ddeep.evidence.store import gather
from ddeep.experiments.opening import open_subject
from ddeep.experiments.run import run
from ddeep.experiments.settings import RunConfig, TrainConfig
from ddeep.experiments.train import run_training
from ddeep.files.atomic import written_whole
from ddeep.statistics.basic import ClassSums, Extremes
from ddeep_plugins_builtin.metrics.class_selectivity import class_means, selectivity

ALPHAS = (-5.0, -3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0)
LAYERS = "*relu*"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data-dir", type=Path, default=Path("data"))
    arguments.add_argument("--out", type=Path, default=Path("runs/selectivity"))
    arguments.add_argument("--alphas", type=float, nargs="*", default=list(ALPHAS))
    arguments.add_argument("--epochs", type=int, default=3)
    arguments.add_argument("--lr", type=float, default=1e-3)
    arguments.add_argument("--weights", default="resnet20-cifar10")
    arguments.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    given = arguments.parse_args()
    rows = [study(alpha, given) for alpha in sorted(given.alphas)]
    (given.out / "study.md").write_text(table(rows), encoding="utf-8")
    draw(rows, given.out / "study.png")
    print(table(rows))
    return 0


def study(alpha: float, given: argparse.Namespace) -> dict[str, Any]:
    """Everything about one alpha; read back where it has been measured before."""
    path: Path = given.out / f"alpha{alpha:+g}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    folder = given.out / f"alpha{alpha:+g}"
    config = TrainConfig(
        model="resnet20",
        dataset="cifar10",
        data_dir=given.data_dir,
        weights=given.weights,
        pretrained=True,
        epochs=given.epochs,
        lr=given.lr,
        schedule="cosine",
        ema=0.0,
        precision=given.precision,
        regularizer="leavitt",
        alpha=alpha,
        layers=(LAYERS,),
    )
    trained = run_training(config, folder, resume=(folder / "checkpoint.safetensors").exists())
    settings = {
        "model": "resnet20",
        "dataset": "cifar10",
        "data_dir": given.data_dir,
        "weights": str(folder / "model.safetensors"),
        "precision": given.precision,
    }
    decomposed = run(RunConfig(**settings, strategy="paper", k=5)).document
    row = {
        "alpha": alpha,
        "accuracy": trained["accuracy"],
        "selectivity": by_layer(RunConfig(**settings, strategy="paper")),
        "decomposed": decomposed["accuracy"],
        "metrics": decomposed["metrics"],
        "recipe": trained["recipe"],
        "versions": trained["versions"],
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return row


def by_layer(config: RunConfig) -> dict[str, float]:
    """The class selectivity index of every layer, on the train split, in one pass."""
    subject = open_subject(config)
    layers = subject.layers([LAYERS])
    found = gather(subject, "train", {layer: [ClassSums(), Extremes()] for layer in layers})
    assert all(evidence[Extremes()].low.min() >= 0 for evidence in found.values())
    return {layer.name: selectivity(class_means(found[layer])).mean().item() for layer in layers}


def network(row: dict[str, Any]) -> float:
    """A network's class selectivity: the mean over its layers."""
    values = list(row["selectivity"].values())
    return float(sum(values) / len(values))


def table(rows: list[dict[str, Any]]) -> str:
    """One line an alpha, in Markdown."""
    lines = [
        "| alpha | class selectivity, network | last layer | accuracy % | decomposed k=5 % | refit % | psi | pmi |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        last = list(row["selectivity"].values())[-1]
        cells = [
            f"{row['alpha']:g}",
            f"{network(row):.3f}",
            f"{last:.3f}",
            *(f"{value:.2f}" for value in (row["accuracy"]["test"], row["decomposed"]["decomposed"])),
            f"{row['decomposed']['refit']:.2f}",
            f"{row['metrics']['psi']['median']:.3f}",
            f"{row['metrics']['pmi']['without_self_pairs']:.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Selectivity by layer, and accuracies against the network's selectivity."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    layers, accuracies = figure.subplots(1, 2)
    colours = colormaps["coolwarm"]
    for number, row in enumerate(rows):
        names = list(row["selectivity"])
        colour = "black" if row["alpha"] == 0 else colours(number / max(1, len(rows) - 1))
        layers.plot(
            range(1, len(names) + 1), list(row["selectivity"].values()), color=colour, label=f"{row['alpha']:g}"
        )
    layers.set(xlabel="ReLU, from the input", ylabel="class selectivity index", ylim=(0, 1))
    layers.xaxis.set_major_locator(MaxNLocator(integer=True))
    layers.legend(title="alpha", fontsize="small", ncols=2)
    ordered = sorted(rows, key=network)
    xs = [network(row) for row in ordered]
    for label, values in (
        ("full", [row["accuracy"]["test"] for row in ordered]),
        ("decomposed, k = 5", [row["decomposed"]["decomposed"] for row in ordered]),
        ("decomposed and refit", [row["decomposed"]["refit"] for row in ordered]),
    ):
        accuracies.plot(xs, values, "o-", label=label)
    accuracies.set(xlabel="class selectivity of the network", ylabel="test accuracy (%)")
    accuracies.legend(fontsize="small")
    for axes in (layers, accuracies):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    sys.exit(main())
