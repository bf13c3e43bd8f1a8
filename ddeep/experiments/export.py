"""The decomposed network of a run as a file that needs no ddeep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..data.preprocessing import Preprocessing
from ..errors import ConfigError, DataError
from ..exports.card import model_card
from ..exports.formats import SUFFIX, check_onnx, write_network
from ..exports.plain import FromPixels, HeadLayout, measure_head, plain_network
from ..files.sealed import write_sealed
from ..networks.head import Head, get_head
from ..networks.trace import example_images
from ..networks.weights import weights_hash
from ..provenance import provenance
from ..registry.registry import registry
from ..results.folder import save_result
from ..results.run import load, read_run
from .settings import ExportConfig

SCHEMA = "ddeep.export/1"
NAME = "network"


def export_run(run: Path, config: ExportConfig, out: Path) -> dict[str, Any]:
    """Write the network of the run in ``run`` to the folder ``out``; return the document that lies beside it.

    The network is the run's last: fine-tuned, refitted, learned or decomposed. Programs take the layout of the head
    that is faster on this machine, and were compared with the network before they got their name. Raises DdeepError
    where the run has no network, an extra is missing, or the network cannot be exported.
    """
    if config.to == "onnx":
        check_onnx(config.opset)
    if config.pixels and config.to == "safetensors":
        raise ConfigError("--pixels goes with a program: --to pt2 or --to onnx. Weights alone normalise nothing.")
    document = read_run(run)
    module = load(run)
    preprocessing = preprocessing_of(document, run)
    head = measure_head(*Head.of(get_head(module, document["head"])))
    layout: HeadLayout = "dense" if config.to == "safetensors" else head["chosen"]
    network = plain_network(module, document["head"], layout)
    example = example_images(network, preprocessing.size)
    if config.pixels:
        network = FromPixels(network, preprocessing).eval()
        example = torch.randint(0, 256, (2, preprocessing.size, preprocessing.size, 3)).to(torch.uint8)
    facts = {**_facts(document, preprocessing), "format": config.to, "input": "pixels" if config.pixels else "images"}
    facts |= {"head_layout": layout, "hashes": {**document["hashes"], "exported": weights_hash(module.state_dict())}}
    difference: list[float | None] = []

    def write(folder: Path) -> None:
        path = folder / f"{NAME}{SUFFIX[config.to]}"
        difference[:] = [write_network(network, example, path, config.to, facts, config.opset)]
        (folder / "README.md").write_text(model_card(facts, path), encoding="utf-8")
        write_sealed(folder / "export.json", _document(facts, head, path, difference[0]), [path.name])

    folder = save_result(out, write)
    path = folder / f"{NAME}{SUFFIX[config.to]}"
    return {**_document(facts, head, path, difference[0]), "folder": str(folder), "file": str(path)}


def preprocessing_of(document: dict[str, Any], run: Path) -> Preprocessing:
    """How the run's images were prepared. Raises DataError where its document does not say."""
    said = document.get("preprocessing")
    try:
        return Preprocessing(**{**said, "mean": tuple(said["mean"]), "std": tuple(said["std"])})  # type: ignore[dict-item, index]
    except (TypeError, KeyError):
        raise DataError(f"{run / 'run.json'} does not say how images are prepared. Run it again.") from None


def _facts(document: dict[str, Any], preprocessing: Preprocessing) -> dict[str, Any]:
    """What whoever gets the file must know."""
    names = ("model", "dataset", "layer", "head", "strategy", "k", "accuracy", "selection", "absent")
    return {
        "schema": SCHEMA,
        **{name: document[name] for name in names},
        "head_form": document.get("head_form", "real"),
        "classes": [row["class"] for row in document["per_class"]],
        "preprocessing": preprocessing.identity(),
        **provenance(document["hashes"], registry().versions()),
    }


def _document(facts: dict[str, Any], head: dict[str, Any], path: Path, difference: float | None) -> dict[str, Any]:
    return {**facts, "head_layouts": head, "file": path.name, "bytes": path.stat().st_size, "difference": difference}
