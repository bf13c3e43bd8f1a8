"""An epoch of training against a bare loop and against the plain recipe of tutorials.

All sides train the same ResNet20 on the same 32 × 32 images of noise, with the same optimizer, batch and number of
steps. ``bare``: forward, backward and step on tensors that are ready. ``ddeep``: ``ddeep.training.loop.train``,
shuffling, augmentation and normalisation included. ``plain``: torchvision's CIFAR10 with PIL transforms in a DataLoader
with 2 workers, NCHW, fp32, in a process of its own, whose C library is as people find it. The seconds are of steps
alone, after a warm-up, for the 50,000 images of CIFAR-10's train split.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ddeep.data.images import TensorImages
from ddeep.data.preprocessing import Preprocessing
from ddeep.networks.device import Precision, autocast
from ddeep.training.loop import train
from ddeep.training.recipe import Recipe
from ddeep_plugins_builtin.models.cifar_resnet import resnet20

from ._common import Cost, Report, Settings, alternate, command

EPOCH, BATCH, WARM_UP = 50_000, 128, 5
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)


def measure(settings: Settings) -> Report:
    """Seconds an epoch."""
    steps, batch = settings.sized(40, 2), settings.sized(BATCH, 8)
    images = noise(steps * batch)
    sides: dict[str, Callable[[], float]] = {
        "bare fp32": partial(bare, images, batch, "fp32"),
        "ddeep fp32": partial(ours, images, batch, "fp32"),
        "bare bf16": partial(bare, images, batch, "bf16"),
        "ddeep bf16": partial(ours, images, batch, "bf16"),
        "plain": partial(_in_process, steps, batch),
    }
    report = Report({"steps": steps, "batch_size": batch})
    report.costs = alternate(
        {name: _epoch(side, batch) for name, side in sides.items()}, settings.sized(3, 1), warm_up=0
    )
    for precision in ("fp32", "bf16"):
        ratio = report.ratio(f"ddeep {precision}", f"bare {precision}")
        report.add(f"ddeep / bare loop, {precision}", ratio, at_most=1.1)
    report.add("plain recipe / ddeep bf16", report.ratio("plain", "ddeep bf16"), at_least=2.0)
    for name in sides:
        report.add(f"an epoch, {name}", report.seconds(name), "s")
    return report


def _epoch(seconds_a_step: Callable[[], float], batch: int) -> Callable[[], Cost]:
    def run() -> Cost:
        processor = time.process_time()
        return Cost(seconds_a_step() * EPOCH / batch, time.process_time() - processor)

    return run


def _in_process(steps: int, batch: int) -> float:
    """``plain`` in a process of its own."""
    return float(command(["-m", "benchmarks.training", str(steps), str(batch)]).output)


def noise(count: int) -> TensorImages:
    """Images of seeded noise: no step costs more or less for what is on them."""
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=source)
    return TensorImages.of(pixels, torch.arange(count) % 10, [str(c) for c in range(10)])


def ours(images: TensorImages, batch: int, precision: Precision) -> float:
    """Seconds a step, of the second of two epochs."""
    torch.manual_seed(0)
    recipe = Recipe(epochs=2, lr=0.1, batch_size=batch, precision=precision)
    history = train(resnet20(), images, Preprocessing(MEAN, STD, 32, 32), recipe, device="cpu")
    return history.rows[-1].seconds / (len(images) // batch)


def bare(images: TensorImages, batch: int, precision: Precision) -> float:
    """Seconds a step on normalised batches that lie ready in channels-last memory."""
    model = resnet20().to(memory_format=torch.channels_last)
    pixels = Preprocessing(MEAN, STD, 32, 32).normalise(images.pixels)
    ready = list(zip(pixels.split(batch), images.labels.split(batch), strict=True))
    return seconds_a_step(model, iter(cycle(ready)), len(ready), precision)


def plain(images: TensorImages, batch: int) -> float:
    """Seconds a step of the recipe of a thousand tutorials."""
    from torchvision import datasets, transforms

    dataset = object.__new__(datasets.CIFAR10)  # the real class, its pixels in place of its download
    dataset.data, dataset.targets = images.pixels.numpy(), images.labels.tolist()
    dataset.transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    dataset.target_transform = None
    loader = DataLoader(dataset, batch, shuffle=True, num_workers=2, drop_last=True)

    def forever() -> Iterator[list[Tensor]]:
        while True:
            yield from loader

    return seconds_a_step(resnet20(), forever(), len(images) // batch, "fp32")


def seconds_a_step(
    model: nn.Module, batches: Iterator[tuple[Tensor, Tensor] | list[Tensor]], steps: int, precision: Precision
) -> float:
    """Forward, backward and step, as often as asked for."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    model.train()
    start, device = 0.0, next(model.parameters()).device
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            _wait(device)
            start = time.perf_counter()
        images, labels = next(batches)
        with autocast(device, precision):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _wait(device)
    return (time.perf_counter() - start) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    STEPS, SIZE = map(int, sys.argv[1:])
    print(plain(noise(STEPS * SIZE), SIZE))
