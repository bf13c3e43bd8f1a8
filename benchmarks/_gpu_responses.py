"""What comes after the pass, on a GPU: refit, null, essentiality, joint selection, a comparison of made responses."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ddeep.evidence.context import Context
from ddeep.evidence.evidence import Evidence, gather_kept
from ddeep.heads.ablation import essentiality_all
from ddeep.heads.null import null_right
from ddeep.heads.penalty import fit
from ddeep.heads.refit import refit
from ddeep.networks.head import Head
from ddeep.networks.layer import Layer
from ddeep.registry.registry import registry
from ddeep.selections.select import choose, needed

from ._common import Report, Settings, command
from .joint_selection import planted

K = 5
SIZE = (1000, 2048, 100_000)  # classes, filters, train images
TEST = 10_000  # images
COMPARED = "paper,contribution,weight,gram,pruned-refit"


def after_the_pass(report: Report, settings: Settings, device: torch.device) -> None:
    """Seconds of every step, agreement with the CPU, and a comparison by the command."""
    size = tuple(settings.sized(full, toy) for full, toy in zip(SIZE, (8, 64, 600), strict=True))
    responses, labels, chosen = planted(*size)
    classes, filters, images = size
    head = Head(torch.zeros(classes, filters).scatter(1, chosen, 0.1), torch.zeros(classes))
    mask = torch.zeros(classes, filters, dtype=torch.bool).scatter(1, chosen, True)
    here = responses.to(device)
    test = settings.sized(TEST, 100)

    def timed(name: str, work: Callable[[], object], goal: float | None = None) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        report.add(f"{name}, {classes:,} classes, {filters:,} filters", time.perf_counter() - start, "s", at_most=goal)

    timed("refit, penalty given", lambda: refit(here, labels, *head, mask, device=device), 30)
    timed("refit, penalty chosen", lambda: fit(here, labels, head, mask[None], device=device), 30)
    draws = torch.Generator().manual_seed(0)
    part = responses[:test], labels[:test]
    timed("null, 200 draws", lambda: null_right(*part, head, [K] * classes, None, 200, draws, device=device), 30)
    timed("essentiality, 5 draws", lambda: essentiality_all(*part, *head, mask[None], device=device))
    timed("pruned-refit", lambda: select(responses, labels, chosen, device), 30)
    agreement(
        report, responses[: settings.sized(20_000, 300)], labels[: settings.sized(20_000, 300)], head, mask, device
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "made.safetensors"
        write(file, responses, labels, head, test)
        words = ["-m", "ddeep", "compare", "--responses", str(file), "--strategies", COMPARED, "--k", str(K)]
        done = command([*words, "--device", device.type, "--out", str(Path(folder) / "out")], DDEEP_CACHE=folder)
    report.add(f"ddeep compare, {images:,} images", done.cost.seconds, "s", at_most=30)


def select(responses: Tensor, labels: Tensor, chosen: Tensor, device: torch.device) -> None:
    """The joint selection, as the command does it."""
    classes, k = chosen.shape
    counts = torch.bincount(labels, minlength=classes)
    evidence = Evidence(Layer("made"), "train", counts, responses.shape[1], {}, responses, labels)
    spec = registry().find("strategy", "pruned-refit")
    gather_kept(evidence, needed(spec, [k]), device)
    choose(spec, evidence, k, Context(nn.Identity(), device=device))


def agreement(
    report: Report, responses: Tensor, labels: Tensor, head: Head, mask: Tensor, device: torch.device
) -> None:
    """How far the device's refit and its loss are from the CPU's."""
    one, other = (refit(responses, labels, *head, mask, device=place) for place in (torch.device("cpu"), device))
    report.add("refit: loss here / on the CPU, less 1", abs(other.loss / one.loss - 1), at_most=1e-5)
    furthest = (other.head.weight - one.head.weight).abs().max() / one.head.weight.abs().max()
    report.add("refit: furthest weight from the CPU's, of the largest", furthest.item(), at_most=0.02)


def write(file: Path, responses: Tensor, labels: Tensor, head: Head, test: int) -> None:
    """A file of responses as ``--responses`` reads it."""
    tensors = {
        "train_responses": responses[test:].contiguous(),
        "train_labels": labels[test:].contiguous(),
        "test_responses": responses[:test].contiguous(),
        "test_labels": labels[:test].contiguous(),
        "weight": head.weight,
        "bias": head.bias,
    }
    save_file(tensors, file)
