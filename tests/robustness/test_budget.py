"""What a run may cost, in counts: images through the network, waits for the device, bytes for every image.

Nothing here is timed. A change that runs the network once more, fetches something from the device in the batch loop, or
keeps something for every image, fails.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ddeep.data.batches import Batch
from ddeep.data.images import TensorImages
from ddeep.data.loader import Loader
from ddeep.data.preprocessing import Preprocessing
from ddeep.evidence import collector, subject
from ddeep.evidence.collector import Collector
from ddeep.evidence.evidence import by_round
from ddeep.evidence.subject import EXAMPLES, PROBES
from ddeep.experiments.compare import run_comparison
from ddeep.experiments.measure import run_measurement
from ddeep.experiments.run import run
from ddeep.experiments.settings import CompareConfig, MeasureConfig, RunConfig, read_config
from ddeep.networks.layer import Layer
from ddeep.networks.trace import Recording, record
from ddeep.registry.registry import registry
from ddeep.selections.measure import always_measured
from ddeep.selections.measure import needed as needed_by_metrics
from ddeep.selections.select import needed
from ddeep.statistics.basic import Confusion
from ddeep.statistics.statistic import Statistic
from ddeep_plugins_builtin.models.cifar_resnet import CifarResNet
from tests.support.pretend import moved, pretend_cuda
from tests.support.toys import CLASSES, FILTERS, batched, pictures, toy

TRAIN, TEST = 1433, 364  # images of the digits
CLOSED = sorted(n for n, s in registry().strategies.items() if not s.gradients and not s.learned)
MODEL = {"model": "resnet20", "device": "cpu"}


@pytest.fixture
def forwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images each forward pass of a ResNet has, an empty cache; nothing else of torch is touched."""
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    seen: list[int] = []

    def before(module: nn.Module, given: tuple[Any, ...]) -> None:
        if isinstance(module, CifarResNet) and isinstance(given[0], Tensor):
            seen.append(len(given[0]))

    handle: RemovableHandle = nn.modules.module.register_module_forward_pre_hook(before)
    yield seen
    handle.remove()


def split(forwards: list[int]) -> tuple[int, int]:
    """Images of whole batches; forward passes of the few images on which the network itself is examined."""
    return sum(n for n in forwards if n > EXAMPLES), sum(1 for n in forwards if n <= EXAMPLES)


def test_a_run_sees_every_image_once(forwards: list[int]) -> None:
    run(read_config(RunConfig, {**MODEL, "strategy": "paper"}))
    images, examined = split(forwards)
    assert images == TRAIN + TEST
    assert examined <= 9  # one recorded pass finds all parts; the rest prove the folded network exact, split by split
    forwards.clear()
    run(read_config(RunConfig, {**MODEL, "strategy": "paper", "k": 3}))
    assert split(forwards)[0] == 0  # another k comes from the kept responses
    forwards.clear()
    run(read_config(RunConfig, {**MODEL, "strategy": "mean-activation", "no_refit": True}))
    assert split(forwards)[0] == 0  # as does another strategy


def one_run() -> object:
    return run(read_config(RunConfig, {**MODEL, "strategy": "paper"}))


def one_comparison() -> object:
    return run_comparison(read_config(CompareConfig, {**MODEL, "strategies": "paper", "layers": "layer?.2"}))


def one_measurement() -> object:
    return run_measurement(read_config(MeasureConfig, {**MODEL, "layers": "layer?.?"}))


@pytest.mark.parametrize("command", [one_run, one_comparison, one_measurement], ids=["run", "compare", "measure"])
def test_the_networks_parts_are_found_in_one_recorded_pass(
    command: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[int] = []

    def counted(module: nn.Module, example: Tensor) -> Recording:
        recorded.append(len(example))
        return record(module, example)

    monkeypatch.setattr(subject, "record", counted)
    command()
    assert recorded == [EXAMPLES, PROBES]  # of its images, and of the noise by which the cache knows it again


def test_every_strategy_k_and_layer_in_one_pass_a_split(forwards: list[int]) -> None:
    settings = {**MODEL, "strategies": CLOSED, "k": (2, 5), "layers": ("layer?.2",), "no_refit": True}
    document = run_comparison(read_config(CompareConfig, {**settings, "no_maps": True}))
    assert {row["layer"] for row in document["rows"]} == {"layer1.2", "layer2.2", "layer3.2"}
    images, examined = split(forwards)
    assert images == TRAIN + TEST
    assert examined <= 30  # 3 layers, each examined for its head and its filters
    forwards.clear()
    run_measurement(read_config(MeasureConfig, {**MODEL, "layers": ("layer?.?",)}))
    assert split(forwards)[0] == TRAIN  # for the layers not in the cache; nothing is asked of the test split
    forwards.clear()
    run_comparison(read_config(CompareConfig, settings))
    assert split(forwards)[0] == 3 * TEST  # once more over the test split for the maps of each layer


def everything(k: int = 2) -> list[Statistic]:
    """The first round of all that ``compare`` may gather in a forward pass."""
    specs = [registry().find("strategy", name) for name in CLOSED]
    wanted = [statistic for spec in specs for statistic in needed(spec, [k])]
    wanted += [*needed_by_metrics(always_measured(), "train"), Confusion()]
    return by_round(wanted)[0]


class Waits(TorchFunctionMode):
    """Notes what makes a host wait for its device, and copies to the host."""

    WAITING = ("item", "tolist", "numpy", "cpu", "__bool__", "__int__", "__float__", "__index__", "nonzero", "unique")

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.blocking: list[str] = []

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        tensor = args[0] if args and isinstance(args[0], Tensor) else None
        if tensor is not None and tensor.device.type == "cuda" and name in self.WAITING:
            self.seen.append(name)
        result = function(*args, **kwargs)
        if name == "to" and tensor is not None and isinstance(result, Tensor):
            if tensor.device.type == "cuda" and result.device.type == "cpu":
                self.seen.append("to the host")
            if tensor.device.type == "cpu" and result.device.type == "cuda" and not kwargs.get("non_blocking"):
                self.blocking.append("to the device")
        return result


def on_a_pretend_gpu(
    monkeypatch: pytest.MonkeyPatch, batches: int, size: int, keep: Callable[..., Tensor] | None
) -> list[str]:
    """What makes the host wait in a pass over ``batches`` batches of ``size`` images."""
    monkeypatch.setattr(collector, "refuse_what_does_not_fit", lambda *_: None)  # asks the real device
    with pretend_cuda() as cuda:
        module = moved(
            nn.Sequential(nn.Conv2d(3, FILTERS, 3), nn.ReLU(), nn.Flatten(), nn.Linear(FILTERS * 36, CLASSES))
        )
        gathered = Collector(module.eval(), {Layer("1"): everything()}, classes=CLASSES, device=cuda, keep=keep)
        images, labels = torch.empty(size, 3, 8, 8, device=cuda), torch.empty(size, dtype=torch.int64, device=cuda)
        with Waits() as waits:
            gathered.run([Batch(images, labels, labels)] * batches)
    return waits.seen


@pytest.mark.parametrize("batches", [4, 40])
def test_no_batch_waits_for_the_device(batches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_a_pretend_gpu(monkeypatch, batches, 256, None) == []


def test_kept_responses_leave_the_device_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = on_a_pretend_gpu(monkeypatch, 16, 256, lambda _layer, filters: torch.empty(16 * 256, filters))
    chunks = 16 * 256 // collector.CHUNK
    assert seen == ["to the host", "to the host"] * chunks  # indices and responses of 2,048 images at a time


def test_transfers_to_a_gpu_are_pinned_and_do_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[tuple[int, ...]] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(tuple(tensor.shape))
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(Tensor, "is_pinned", lambda _: False)
    with pretend_cuda() as cuda:
        pixels = torch.empty(5, 8, 8, 3, dtype=torch.uint8)
        images = object.__new__(TensorImages)  # its own checks read values, which fake tensors do not have
        for name, value in (("pixels", pixels), ("labels", torch.empty(5, dtype=torch.int64)), ("classes", ("a",))):
            object.__setattr__(images, name, value)
        loader = Loader(images, Preprocessing((0.5,) * 3, (0.5,) * 3, 8, 8), 4, cuda)
        with Waits() as waits:
            batches = list(loader)
    assert [batch.images.device for batch in batches] == [cuda, cuda]
    assert waits.blocking == []
    assert waits.seen == []
    assert pinned == [(4, 8, 8, 3), (4,), (4,), (1, 8, 8, 3), (1,), (1,)]
    assert Batch._fields == ("images", "labels", "indices")


@pytest.fixture
def frozen() -> Iterator[None]:
    """What is there before the test is not looked through: after a thousand tests that takes a second each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live_bytes() -> int:
    """Bytes of all dense tensors that can be reached and were not there before."""
    tensors = [t for t in gc.get_objects() if type(t) is Tensor and t.layout is torch.strided]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("kept", [False, True])
def test_an_image_leaves_its_kept_responses_and_nothing_else(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "CHUNK", 16)
    module, peaks = toy(), []
    for count in (64, 256, 1024):
        images, labels = pictures(8)
        batch = batched(images, labels, 8)[0]
        store = torch.zeros(count if kept else 0, FILTERS)
        gathered = Collector(
            module,
            {Layer("relu"): everything()},
            classes=CLASSES,
            device=torch.device("cpu"),
            keep=(lambda _layer, _filters, store=store: store) if kept else None,
        )
        gc.collect()
        before, seen = live_bytes(), [0]
        gathered.run(
            (batch._replace(indices=batch.indices + start) for start in range(0, count, 8)),
            lambda _, before=before, seen=seen: seen.append(live_bytes() - before),
        )
        peaks.append(max(seen))
    assert peaks[0] == peaks[1] == peaks[2]  # but for ``store``, of 4·K bytes an image


def test_the_cache_holds_four_bytes_a_filter_and_image(forwards: list[int], tmp_path: Path) -> None:
    run(read_config(RunConfig, {**MODEL, "strategy": "paper", "no_refit": True}))
    assert forwards
    sizes = sorted(file.stat().st_size for file in (tmp_path / "cache" / "responses").rglob("*.npy"))
    header = 128
    assert sizes == [header + 4 * 64 * TEST, header + 4 * 64 * TRAIN]
