"""All that is to be known of a GPU, in one go: ``make gpu``, or ``python -m benchmarks.gpu``; minutes, no download.

The tests marked ``cuda``; the evidence pass of ResNet50 at 224 pixels against a bare forward loop over the same
batches, in fp32, tf32, bf16 and compiled; waits for the device inside the pass; images a second from memory and from
JPEG files; a training step against a bare one; and what comes after the pass with 1,000 classes and 2,048 filters.
Images, weights and responses are made. What fails is named in the document, and the rest goes on. ``--quick`` tries it
all on the CPU.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from ddeep.data.batches import Batch
from ddeep.data.class_folders import open_class_folders
from ddeep.data.images import Images, TensorImages
from ddeep.data.loader import Loader
from ddeep.data.preprocessing import Preprocessing
from ddeep.networks.device import Precision
from ddeep.networks.inference import prepare
from ddeep.networks.layer import Layer
from ddeep.training.loop import train
from ddeep.training.recipe import Recipe
from ddeep_plugins_builtin.models.cifar_resnet import resnet20

from . import _gpu_responses as responses
from ._cifar import bare, gather, images_of
from ._common import Cost, Report, Settings, alternate
from .statistics_alone import wanted
from .training import BATCH, MEAN, STD, noise, seconds_a_step

K = 5
MODES: dict[str, tuple[Precision, str]] = {
    "fp32": ("fp32", "highest"),
    "tf32": ("fp32", "high"),
    "bf16": ("bf16", "high"),
}
FILES = 1024


def measure(settings: Settings) -> Report:
    """All parts, each by itself: one that fails is noted under ``failed``."""
    if not torch.cuda.is_available() and not settings.quick:
        raise SystemExit("There is no CUDA device here. Run it on a machine with a GPU, or try it with --quick.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report = Report({"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu"})
    report.details["failed"] = {}
    for part in (tests, evidence_pass, waits, reading, training, responses.after_the_pass):
        start = time.perf_counter()
        try:
            part(report, settings, device)
        except Exception:  # a GPU is not had every day: what can be measured is
            report.details["failed"][part.__name__] = traceback.format_exc()
        report.details[f"seconds of {part.__name__}"] = round(time.perf_counter() - start, 1)
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated() / 1e9
            report.add(f"peak memory of the device, {part.__name__.replace('_', ' ')}", peak, "GB")
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.empty_cache()
    report.add("parts that failed", len(report.details["failed"]), at_most=0)
    return report


def tests(report: Report, settings: Settings, device: torch.device) -> None:
    """All tests that need a CUDA device."""
    if device.type != "cuda":
        return
    words = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "tests", "--maxfail=50"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=settings.sized(200, 200))
    report.details["tests"] = done.stdout[-6000:]
    report.add("tests marked cuda: exit status", done.returncode, at_most=0)


def evidence_pass(report: Report, settings: Settings, device: torch.device) -> None:
    """The pass of ``ddeep run`` and the bare loop, over the same batches of ready images."""
    batches = ready_batches(settings, device)
    ready, layer = prepared(device, batches[0].images)
    for name, (precision, products) in MODES.items():
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = products == "high"
        against(report, name, ready, layer, batches, precision, settings)
    compiled, layer = prepared(device, batches[0].images)
    if device.type == "cuda":
        for block in compiled.children():
            block.compile()
        against(report, "bf16 compiled", compiled, layer, batches, "bf16", settings)
    report.add("compiled / not, bare loops, bf16", _ratio(report, "bare bf16 compiled", "bare bf16"))


def _ratio(report: Report, one: str, other: str) -> float:
    return report.ratio(one, other) if one in report.costs else float("nan")


def against(
    report: Report,
    name: str,
    ready: nn.Module,
    layer: Layer,
    batches: list[Batch],
    precision: Precision,
    settings: Settings,
) -> None:
    """Both sides, alternately."""
    requests = {layer: wanted(K)}
    sides = {
        f"bare {name}": partial(bare, ready, batches, precision),
        f"evidence {name}": partial(gather, ready, batches, requests, 1000, precision),
    }
    device = batches[0].images.device
    report.costs |= alternate({side: waited_for(work, device) for side, work in sides.items()}, settings.sized(5, 1))
    report.add(f"evidence pass / bare loop, {name}", report.ratio(f"evidence {name}", f"bare {name}"), at_most=1.05)
    report.add(f"images a second, evidence, {name}", images_of(batches) / report.seconds(f"evidence {name}"))


def waits(report: Report, settings: Settings, device: torch.device) -> None:
    """Host waits of a whole pass that keeps no responses, beyond those of its first batch: torch warns of each."""
    batches = ready_batches(settings, device)
    ready, layer = prepared(device, batches[0].images)
    requests = {layer: wanted(K)}
    counts = []
    for some in (batches[:2], batches):
        with synchronisations() as found:
            gather(ready, some, requests, 1000, keep=False)
        counts.append(len(found))
    report.add("waits for the device that more batches add", counts[1] - counts[0], at_most=0)


@contextmanager
def synchronisations() -> Iterator[list[str]]:
    """What waits for the device meanwhile."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("default")
            found += [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]


def reading(report: Report, settings: Settings, device: torch.device) -> None:
    """Images a second, ready for the network: pixels in memory, and JPEG files of usual photographs' size."""
    recipe = Preprocessing((0.5,) * 3, (0.25,) * 3, 224, 256)
    count = settings.sized(FILES, 16)
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), count)
        sources: dict[str, Images] = {
            "memory": TensorImages.of(
                pixels(settings.sized(4096, 16)), torch.arange(settings.sized(4096, 16)) % 2, ["a", "b"]
            ),
            "JPEG files": open_class_folders(Path(folder)),
        }
        for name, images in sources.items():
            small = recipe if name != "memory" else Preprocessing((0.5,) * 3, (0.25,) * 3, 224, 224)
            side = waited_for(partial(drained, Loader(images, small, 256, device)), device)
            report.costs |= alternate({f"reading {name}": side}, settings.sized(3, 1))
            report.add(f"images a second from {name}", len(images) / report.seconds(f"reading {name}"))


def drained(loader: Loader) -> None:
    """Every batch, thrown away."""
    for _ in loader:
        pass


def training(report: Report, settings: Settings, device: torch.device) -> None:
    """A step of ``ddeep train`` against a bare one, ResNet20 at 32 pixels, batches of 128 and of 1,024."""
    for size in (settings.sized(BATCH, 4), settings.sized(1024, 8)):
        images = noise(settings.sized(60, 2) * size)
        for precision in ("fp32", "bf16"):
            sides = {
                f"bare step {size} {precision}": partial(bare_step, images, precision, size, device),
                f"ddeep step {size} {precision}": partial(our_step, images, precision, size, device),
            }
            report.costs |= alternate(
                {name: _as_cost(side) for name, side in sides.items()}, settings.sized(3, 1), warm_up=0
            )
            ratio = report.ratio(f"ddeep step {size} {precision}", f"bare step {size} {precision}")
            report.add(f"training step, ddeep / bare, batch {size}, {precision}", ratio, at_most=1.1)


def our_step(images: TensorImages, precision: Precision, size: int, device: torch.device) -> float:
    """Seconds a step, of the second of two epochs."""
    torch.manual_seed(0)
    recipe = Recipe(epochs=2, lr=0.1, batch_size=size, precision=precision)
    history = train(resnet20(), images, Preprocessing(MEAN, STD, 32, 32), recipe, device=str(device))
    return history.rows[-1].seconds / (len(images) // size)


def bare_step(images: TensorImages, precision: Precision, size: int, device: torch.device) -> float:
    """The same on normalised batches that lie ready."""
    model = resnet20().to(device, memory_format=torch.channels_last)
    ready = Preprocessing(MEAN, STD, 32, 32).normalise(images.pixels.to(device))
    batches = list(zip(ready.split(size), images.labels.to(device).split(size), strict=True))
    return seconds_a_step(model, iter(cycle(batches)), len(batches), precision)


def _as_cost(side: Callable[[], float]) -> Callable[[], Cost]:
    return lambda: Cost(side(), 0.0)


def waited_for(work: Callable[[], object], device: torch.device) -> Callable[[], Cost]:
    """A side that ends when the device has done all of ``work``."""

    def run() -> Cost:
        if device.type == "cuda":
            torch.cuda.synchronize()
        start, processor = time.perf_counter(), time.process_time()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return Cost(time.perf_counter() - start, time.process_time() - processor)

    return run


def ready_batches(settings: Settings, device: torch.device) -> list[Batch]:
    """Normalised batches in the device's memory."""
    size, count = settings.sized(256, 4), settings.sized(16, 3)
    found = []
    for number in range(count):
        images = torch.randn(size, 3, settings.sized(224, 64), settings.sized(224, 64), device=device)
        indices = torch.arange(number * size, (number + 1) * size, device=device)
        found.append(Batch(images.contiguous(memory_format=torch.channels_last), indices % 1000, indices))
    return found


def prepared(device: torch.device, example: Tensor) -> tuple[nn.Module, Layer]:
    """ResNet50 of torchvision, random weights, as every pass prepares it; and the layer that feeds its head."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    layer = Layer("layer4.2")
    return prepare(resnet50().eval(), [layer], device, example), layer


def pixels(count: int) -> Tensor:
    """Noise of 224 × 224 pixels."""
    return torch.randint(0, 256, (count, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def write_photographs(folder: Path, count: int) -> None:
    """JPEG files of 500 × 375 pixels with smooth content, in two classes."""
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        small = torch.randint(0, 256, (24, 32, 3), dtype=torch.uint8, generator=generator)
        picture = Image.fromarray(small.numpy()).resize((500, 375), Image.Resampling.BICUBIC)
        path = folder / f"class{number % 2}" / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture.save(path, quality=90)


if __name__ == "__main__":
    from .__main__ import main

    sys.exit(main(["gpu", *sys.argv[1:]]))
