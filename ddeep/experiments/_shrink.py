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
from ..evidence.subject import Subject
from ..exports.cost import cost_of, latencies
from ..exports.cut import cut_network, kept_channels
from ..exports.plan import CutPlan, inner_layers, readers
from ..exports.reconstruct import reconstruct
from ..exports.shrink import Importances, estimate_batch_norms, importance, least, smallest_fraction
from ..networks.weights import weights_hash
from ..registry.registry import registry
from ..selections.select import get_strategy, needed, score
from ..training.loop import Progress, train
from ..training.recipe import Recipe
from ._whole import Whole
from .settings import CutConfig

IMAGES = 1024  # that layers are refitted and batch norms estimated with
BATCH = 256


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
    subject = _of_kept(whole)
    layers = subject.layers(list(sizes))
    evidence = gather(subject, "train", {layer: needed(spec, [1]) for layer in layers})
    found: dict[str, Tensor] = {}
    for layer in layers:
        scores = score(spec, evidence[layer], [1], context_at(subject, layer, seed))[1]
        if not isinstance(scores, Tensor):
            raise ConfigError(f"The strategy {spec.name!r} gives a choice of filters, no scores to rank them all by.")
        found[layer.name] = importance(scores[list(whole.outputs)].float().cpu())
    return found


def _of_kept(whole: Whole) -> Subject:
    """The run's network as a subject whose train images are those of the kept classes alone."""
    subject, labels = whole.subject, whole.subject.labels("train")
    indices = torch.isin(labels, torch.tensor(whole.outputs)).nonzero()[:, 0]
    images = part_of(subject.images["train"], indices, labels[indices], subject.classes)
    network = replace(subject.network, module=whole.module, weights_hash=weights_hash(whole.module.state_dict()))
    return replace(subject, network=network, images={**subject.images, "train": images})


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

    Layers that lost inputs are refitted to give what they gave, then batch norms are estimated anew.
    """
    example = whole.subject.example
    small = cut_network(whole.module, plan, example)
    batches = list(_some_images(whole, seed))
    layers = [name for name in readers(whole.module, plan.zeroed, example) if name != plan.head]
    reconstruct(whole.module, small, kept_channels(whole.module, plan, example), layers, batches)
    estimate_batch_norms(small, batches)
    return small


def _some_images(whole: Whole, seed: int) -> Iterator[Tensor]:
    images = whole.images("train")
    drawn = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:IMAGES].sort().values
    some = part_of(images, drawn, images.labels[drawn], images.classes)
    for batch in Loader(some, whole.subject.network.needed_preprocessing(), BATCH, "cpu"):
        yield batch.images


def fine_tune(whole: Whole, small: nn.Module, config: CutConfig, on_step: Callable[[Progress], None] | None) -> None:
    """Train the small network, in place, on the train images of the kept classes."""
    if len(whole.outputs) == 1:
        raise ConfigError("A network of one class has nothing to be told apart by: --epochs takes two classes or more.")
    flip = registry().find("dataset", whole.document["dataset"]).flip
    images = whole.images("train")
    batch = min(32, 2 ** int(math.log2(len(images))))
    recipe = Recipe(config.epochs, config.lr, optimizer="adam", batch_size=batch, weight_decay=0.0, flip=flip)
    preprocessing = whole.subject.network.needed_preprocessing()
    train(small, images, preprocessing, recipe, seed=config.seed, device=config.device or "auto", on_step=on_step)
