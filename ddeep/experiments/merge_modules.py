"""Cut networks of one backbone, joined to one network over the union of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import console
from ..data.images import part_of
from ..errors import ConfigError, DataError
from ..exports.cost import cost_of
from ..exports.cut import cut_network
from ..exports.formats import SUFFIX, check_onnx, write_network
from ..exports.joined import CannotShare, Part, SideBySide, join
from ..exports.plan import CutPlan
from ..files.sealed import check_files, read_sealed, write_sealed
from ..files.tensors import write_tensors
from ..heads.accuracy import accuracy
from ..networks.trace import example_images
from ..networks.weights import load_strictly, read_state_dict, weights_hash
from ..registry.registry import registry
from ..registry.specs import resolve
from ..results.folder import save_result
from .cut import SCHEMA as CUT_SCHEMA
from .reopen import reopen
from .settings import MergeModulesConfig

SCHEMA = "ddeep.modules/1"


@dataclass(frozen=True, eq=False)
class Module:
    """What ``ddeep cut`` has written: its document, its plan and its network's tensors."""

    folder: Path
    document: dict[str, Any]
    part: Part


def merge_modules(folders: Sequence[Path], config: MergeModulesConfig, out: Path) -> dict[str, Any]:
    """Join the cut networks in ``folders`` and write the joined one to ``out``, with its accuracy on the test split.

    Exact cuts of one run become one network again, equal to the cut of the union; where parts were shrunk or fine-tuned
    they run side by side, and the document says why. Raises DdeepError where they are not of one backbone.
    """
    if config.to == "onnx":
        check_onnx()
    modules = [read_module(folder) for folder in folders]
    _check_related(modules)
    first = modules[0].document
    whole = resolve(registry().find("model", first["model"]).build)(len(first["all_classes"])).eval()
    example = example_images(whole, int(first["preprocessing"]["size"]))
    outputs, joined, why = _joined(whole, modules, example)
    names = [first["all_classes"][c] for c in outputs]
    parts = {str(module.folder): list(module.document["classes"]) for module in modules}
    document = {
        "schema": SCHEMA,
        **{name: first[name] for name in ("model", "dataset", "head", "config", "preprocessing", "all_classes")},
        "classes": names,
        "parts": parts,
        "shared": why is None,
        "not_shared_because": why,
        "cost": vars(cost_of(joined, example)),
        "accuracy": _accuracy(first, outputs, joined, config),
        "hashes": {**first["hashes"], "cut": weights_hash(joined.state_dict())},
        "versions": first["versions"],
    }

    def write(folder: Path) -> None:
        write_tensors(joined.state_dict(), folder / "network.safetensors")
        facts = {name: document[name] for name in ("schema", "model", "dataset", "classes", "preprocessing", "hashes")}
        program = f"network{SUFFIX[config.to]}"
        write_network(joined, example, folder / program, config.to, facts)
        write_sealed(folder / "modules.json", document, ["network.safetensors", program])

    return {**document, "folder": str(save_result(out, write))}


def read_module(folder: Path) -> Module:
    """What ``ddeep cut`` has written to ``folder``. Raises DataError where it is something else."""
    path = folder / "cut.json"
    try:
        sealed = read_sealed(path)
        document = sealed.document
        check_files(folder, sealed)
        if document["schema"] != CUT_SCHEMA:
            raise ValueError(f"schema {str(document['schema'])[:60]!r}, expected {CUT_SCHEMA!r}")
        plan = CutPlan.from_json(document["plan"])
        needed = ("model", "dataset", "head", "config", "preprocessing", "all_classes", "classes", "hashes", "versions")
        missing = [name for name in needed if name not in document]
        if missing:
            raise ValueError(f"it lacks {missing[0]!r}")
    except OSError as error:
        raise DataError(f"{folder} is no folder that `ddeep cut` has written: {path}: {error.strerror}.") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is not what `ddeep cut` has written: {error}.") from None
    return Module(folder, document, Part(plan, read_state_dict(folder / "network.safetensors")))


def _check_related(modules: Sequence[Module]) -> None:
    if len(modules) < 2:
        raise ConfigError("One network alone has nothing to be joined to. Give two folders or more: A B …")
    first, *others = modules
    for other in others:
        for name in ("model", "all_classes", "preprocessing"):
            if other.document[name] != first.document[name]:
                raise ConfigError(f"{first.folder} and {other.folder} are not of one backbone: their {name} differ.")
        if other.document["hashes"].get("weights") != first.document["hashes"].get("weights"):
            raise ConfigError(f"{first.folder} and {other.folder} are not of one backbone: other weights were cut.")


def _joined(
    whole: nn.Module, modules: Sequence[Module], example: Tensor
) -> tuple[tuple[int, ...], nn.Module, str | None]:
    """Classes, network, and why it could not be one where it is several."""
    try:
        plan, joined = join(whole, [module.part for module in modules], example)
        return plan.outputs, joined, None
    except CannotShare as error:
        why = str(error)
    console.note(f"The networks run side by side: {why}.")
    networks = []
    for module in modules:
        network = cut_network(whole, module.part.plan, example)
        load_strictly(network, module.part.state, str(module.folder))
        networks.append(network)
    outputs = [module.part.plan.outputs for module in modules]
    return tuple(sorted({c for row in outputs for c in row})), SideBySide(networks, outputs).eval(), why


def _accuracy(
    document: dict[str, Any], outputs: tuple[int, ...], joined: nn.Module, config: MergeModulesConfig
) -> float:
    """Percent of the test images of the joined classes that get their own."""
    subject = reopen(document, config.data_dir, config.device)
    labels = subject.labels("test")
    place = torch.full((len(subject.classes),), -1)
    place[list(outputs)] = torch.arange(len(outputs))
    indices = (place[labels] >= 0).nonzero()[:, 0]
    names = [subject.classes[c] for c in outputs]
    images = part_of(subject.images["test"], indices, place[labels[indices]], names)
    return accuracy(joined, images, subject.network.needed_preprocessing(), subject.device)
