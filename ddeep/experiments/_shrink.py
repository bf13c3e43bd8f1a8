"""Shrinking the inner layers of a run's network to what some of its classes need, by evidence at those layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from ..data.images import part_of
from ..data.loader import Loader
from ..errors import ConfigError
from ..evidence.replay import context_at
from ..evidence.store import gather
from ..exports.batch_norms import match_batch_norms
from ..exports.cost import cost_of, latencies
from ..exports.cut import cut_network, kept_channels
from ..exports.plan import CutPlan, inner_layers, readers
from ..exports.reconstruct import reconstruct
from ..exports.shrink import Importances, importance, least, least_at_random, smallest_fraction
from ..networks.copies import copy_of
from ..networks.logits import read_logits
from ..registry.registry import registry
from ..selections.select import get_strategy, needed, score
from ..training.loop import Progress, train
from ..training.recipe import Recipe
from ._whole import Whole
from .settings import CutConfig

IMAGES = 1024  # that layers are refitted and batch norms matched with
BATCH = 256
DRAWS = 5  # random cuts


def inner_importances(whole: Whole, strategy: str, seed: int) -> Importances:
    """How much the kept classes need each filter of the inner layers, from their own train images, in one pass."""
    spec = get_strategy(strategy)
    if spec.head_only or spec.learned:
        raise ConfigError(
            f"The strategy {spec.name!r} is about the head's weights and says nothing about inner layers. Choose "
            "another one: `ddeep list strategies`."
        )
    sizes = inner_layers(whole.module, whole.head, whole.subject.example)
    if not sizes:
        raise ConfigError(
            f"No inner layer of {whole.subject.network.name} can be shrunk: none is read by layers alone."
        )
    subject = whole.of_kept()
    layers = subject.layers(list(sizes))
    evidence = gather(subject, "train", {layer: needed(spec, [1]) for layer in layers})
    found: dict[str, Tensor] = {}
    for layer in layers:
        scores = score(spec, evidence[layer], [1], context_at(subject, layer, seed))[1]
        if not isinstance(scores, Tensor):
            raise ConfigError(f"The strategy {spec.name!r} gives a choice of filters, no scores to rank them all by.")
        found[layer.name] = importance(scores[list(whole.outputs)].float().cpu())
    return found


def filters_to_remove(
    whole: Whole, plan: CutPlan, scores: Importances, config: CutConfig
) -> dict[str, tuple[int, ...]]:
    """The least important filters, so many that the target is met."""
    assert config.target is not None
    what, target = config.target
    if what == "shrink":
        return least(scores, target)
    example = whole.subject.example

    def share_at(fraction: float) -> float:
        small = cut_network(whole.module, replace(plan, zeroed=least(scores, fraction)), example)
        if what == "latency":
            taken = latencies({"whole": whole.module, "small": small}, example)
            return taken["small"]["64"] / taken["whole"]["64"]
        shares = cost_of(small, example).shares(cost_of(whole.module, example))
        return shares["parameters" if what == "params" else "multiply_adds"]

    return least(scores, smallest_fraction(share_at, target, what))


def shrunk(whole: Whole, plan: CutPlan, seed: int) -> fx.GraphModule:
    """The network cut by ``plan``, made good on train images of the kept classes, without their labels.

    Layers that lost inputs are refitted to give what they gave, then batch norms are matched to those of the whole.
    """
    example = whole.subject.example
    small = cut_network(whole.module, plan, example)
    batches = list(some_images(whole, seed))
    layers = [name for name in readers(whole.module, plan.zeroed, example) if name != plan.head]
    left = kept_channels(whole.module, plan, example)
    reconstruct(whole.module, small, left, layers, batches)
    match_batch_norms(whole.module, small, left, batches)
    return small


def random_cuts(whole: Whole, plan: CutPlan, seed: int) -> Iterator[nn.Module]:
    """Networks of the same size as that of ``plan``, their inner filters removed at random, made good alike."""
    draw = torch.Generator().manual_seed(seed)
    sizes = inner_layers(whole.module, whole.head, whole.subject.example)
    for _ in range(DRAWS):
        yield shrunk(whole, replace(plan, zeroed=least_at_random(plan.zeroed, sizes, draw)), seed)


def some_images(whole: Whole, seed: int) -> Iterator[Tensor]:
    images = whole.images("train")
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:IMAGES].sort().values
    some = part_of(images, drawn, images.labels[drawn], images.classes)
    for batch in Loader(some, whole.subject.network.needed_preprocessing(), BATCH, "cpu"):
        yield batch.images


def fine_tune(whole: Whole, small: nn.Module, config: CutConfig, on_step: Callable[[Progress], None] | None) -> None:
    """Let the small network, in place, learn the logits that the dense one gives the kept classes on their images.

    The dense network knows its own train images nearly by heart: their labels would say less than its logits do.
    """
    if len(whole.outputs) == 1:
        raise ConfigError("A network of one class has nothing to be told apart by: --epochs takes two classes or more.")
    flip = registry().find("dataset", whole.document["dataset"]).flip
    images = whole.images("train")
    batch = min(32, 2 ** int(math.log2(len(images))))
    recipe = Recipe(
        config.epochs, config.lr, optimizer="adam", batch_size=batch, weight_decay=0.0, crop_padding=0, flip=flip
    )
    preprocessing = whole.subject.network.needed_preprocessing()
    dense, kept = copy_of(whole.subject.network.module).eval(), list(whole.outputs)

    def teacher(given: Tensor) -> Tensor:
        return read_logits(dense.to(given.device)(given))[:, kept]

    device = config.device or "auto"
    train(small, images, preprocessing, recipe, seed=config.seed, device=device, teacher=teacher, on_step=on_step)
