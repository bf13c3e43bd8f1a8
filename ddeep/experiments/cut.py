"""A run's network for some of its classes: cut exactly, then shrunk where that was asked for, and proved."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..exports.cut import cut_network
from ..exports.formats import SUFFIX, check_onnx, write_network
from ..exports.plan import CutPlan
from ..files.sealed import write_sealed
from ..files.tensors import write_tensors
from ..networks.weights import weights_hash
from ..provenance import Timings
from ..results.folder import save_result
from ..selections.select import get_strategy
from ..training.loop import Progress
from ._budget import within_budget
from ._proof import prove
from ._shrink import filters_to_remove, fine_tune, inner_importances, shrunk
from ._whole import open_whole
from .opening import provenance_of
from .settings import CutConfig

SCHEMA = "ddeep.cut/1"


def cut_run(
    run: Path, config: CutConfig, out: Path, on_step: Callable[[Progress], None] | None = None
) -> dict[str, Any]:
    """Cut the network of the run in ``run``; write the small one and its proof sheet to ``out``, and return the sheet.

    ``out`` holds ``cut.json``, the program (``network.pt2`` or ``.onnx``) and its weights. Raises DdeepError for
    classes that are not there, all of them, or a run whose images or weights have changed.
    """
    if config.to == "onnx":
        check_onnx()
    timings = Timings()
    strategy = get_strategy(config.strategy)
    whole = open_whole(run, config)
    example = whole.subject.example
    chosen = None
    if config.budget is not None:
        with timings.phase("budget"):
            whole, chosen = within_budget(whole, config.budget, config.seed)
    with timings.phase("cut"):
        plan = CutPlan.exact(whole.module, whole.head, whole.outputs)
        small = cut_network(whole.module, plan, example)
        exact = exactness(whole.module, small, plan, example)
    if config.target is not None:
        with timings.phase("evidence"):
            scores = inner_importances(whole, strategy.name, config.seed)
        with timings.phase("shrink"):
            plan = replace(plan, zeroed=filters_to_remove(whole, plan, scores, config))
            small = shrunk(whole, plan, config.seed)
    before_training = small if config.epochs == 0 else copy.deepcopy(small)
    if config.epochs:
        with timings.phase("finetune"):
            fine_tune(whole, small, config, on_step)
    with timings.phase("proof"):
        proof = prove(whole, plan, small, before_training, config.seed)
    document = {
        "schema": SCHEMA,
        "run": str(run),
        **{name: whole.document[name] for name in ("model", "dataset", "layer", "head", "strategy", "k", "config")},
        "classes": list(whole.classes),
        "all_classes": list(whole.subject.classes),
        "budget": config.budget,
        "chosen": chosen,
        "plan": plan.to_json(),
        "exact_to": exact,
        "shrunk_by": None if config.target is None else {"target": config.target, "strategy": strategy.name},
        "epochs": config.epochs,
        "preprocessing": whole.subject.network.needed_preprocessing().identity(),
        "proof": proof,
        "timings": {name: round(seconds, 3) for name, seconds in timings.seconds.items()},
        **provenance_of(whole.subject),
    }
    document["hashes"] |= {"whole": weights_hash(whole.module.state_dict()), "cut": weights_hash(small.state_dict())}

    def write(folder: Path) -> None:
        write_tensors(small.state_dict(), folder / "network.safetensors")
        facts = {name: document[name] for name in ("schema", "model", "dataset", "classes", "preprocessing", "hashes")}
        program = f"network{SUFFIX[config.to]}"
        write_network(small, example[:2], folder / program, config.to, facts)
        write_sealed(folder / "cut.json", document, ["network.safetensors", program])

    return {**document, "folder": str(save_result(out, write))}


@torch.no_grad()
def exactness(module: nn.Module, small: nn.Module, plan: CutPlan, example: Tensor) -> float:
    """The largest difference of a kept logit, as a share of the largest."""
    wanted = module(example)[:, list(plan.outputs)]
    return float((small(example) - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12))
