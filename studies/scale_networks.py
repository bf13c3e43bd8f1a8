"""Ten architectures of timm for docs/scale.md: trained briefly on the digits, then every k, and a table over all ten.

    python -m studies.scale_networks --out runs/scale-networks

Each is trained as ``ddeep train`` does, with one recipe for all that no test image had a say in, and judged as
``studies.scale`` judges its subjects. What the folder has already is neither trained nor judged again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

from .scale import Subject, best_of, study

ARCHITECTURES = (
    "resnet10t",
    "mobilenetv2_050",
    "mobilenetv3_small_050",
    "efficientnet_lite0",
    "regnetx_002",
    "convnext_atto",
    "dla46_c",
    "densenet121",
    "ese_vovnet19b_dw",
    "repvgg_a0",
)
STRATEGIES = ("pruned-refit", "elastic-net", "gram", "contribution", "paper")
KS = (2, 3, 5, 10, 20)
SIZE = 64  # all of them halve their maps five times
RECIPE = ("--size", str(SIZE), "--epochs", "8", "--lr", "0.05", "--batch-size", "64")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/scale-networks"))
    parser.add_argument("--networks", nargs="*", default=list(ARCHITECTURES))
    given = parser.parse_args()
    settings = argparse.Namespace(strategies=list(STRATEGIES), k=list(KS), budgets=[], l2=1e-4)
    found = {}
    for name in given.networks:
        weights = trained(name, given.out / name)
        about = Subject(
            name, {"model": f"timm/{name}", "dataset": "digits", "weights": str(weights), "size": SIZE}, (), ()
        )
        path = given.out / f"{name}.json"
        study(about, path, settings)
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    (given.out / "networks.md").write_text(table(found), encoding="utf-8")
    return 0


def trained(name: str, folder: Path) -> Path:
    """The weights of an architecture, trained where they are not there."""
    weights = folder / "model.safetensors"
    if not weights.exists():
        words = ["train", "--model", f"timm/{name}", "--dataset", "digits", *RECIPE, "--out", str(folder)]
        subprocess.run([sys.executable, "-m", "ddeep", *words], check=True)
    return weights


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row for each network with its best strategies' accuracy at each k, and one for each strategy over all."""
    lines = ["| network | filters used at k = 5 | full | " + " | ".join(f"k = {k}" for k in KS) + " |"]
    lines.append("|---|---:|---:|" + "---:|" * len(KS))
    points: dict[tuple[str, int], list[float]] = defaultdict(list)
    alike: dict[tuple[str, int], int] = defaultdict(int)
    for name, part in found.items():
        cells = []
        for k in KS:
            rows = [row for row in part["rows"] if row["k"] == k]
            best = max(rows, key=best_of)
            cells.append(f"{best_of(best):.1f} `{best['strategy']}`")
            for row in rows:
                points[row["strategy"], k].append(best_of(row) - part["full"])
                alike[row["strategy"], k] += row["best_alike"]
        used = next(row["distinct_filters"] for row in part["rows"] if row["k"] == 5)
        lines.append(f"| `{name}` | {used} | {part['full']:.1f} | " + " | ".join(cells) + " |")
    lines += ["", "| strategy | " + " | ".join(f"k = {k}" for k in KS) + " |", "|---|" + "---:|" * len(KS)]
    for strategy in STRATEGIES:
        shown = [f"{mean(points[strategy, k]):+.2f} ({alike[strategy, k]})" for k in KS]
        lines.append(f"| `{strategy}` | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
