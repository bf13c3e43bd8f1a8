import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddeep.data.class_folders import open_class_folders
from ddeep.data.decoding import fitted_pixels
from ddeep.data.images import FileImages, TensorImages
from ddeep.data.loader import Loader
from ddeep.data.preprocessing import Preprocessing
from ddeep.data.workers import default_workers
from ddeep.errors import ConfigError, DataError
from tests.support.waiting import PATIENCE, until

RECIPE = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 8, 8)


def in_memory(count: int, side: int = 8) -> TensorImages:
    draw = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=draw)
    return TensorImages.of(pixels, torch.randint(0, 3, (count,), generator=draw), ["a", "b", "c"])


def on_disk(folder: Path, images: TensorImages) -> FileImages:
    files = []
    for index, pixels in enumerate(images.pixels):
        files.append(folder / f"{index:04}.png")
        Image.fromarray(pixels.numpy()).save(files[-1])
    return FileImages(files, images.labels, images.classes)


def joined(loader: Loader) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*loader, strict=True))


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 4))
def test_ranks_share_the_batches_of_one_process(count, batch_size, world):
    images = in_memory(count)
    alone = list(Loader(images, RECIPE, batch_size))
    assert len(alone) == len(Loader(images, RECIPE, batch_size))
    together = [list(Loader(images, RECIPE, batch_size, rank=rank, world=world)) for rank in range(world)]
    for number, batch in enumerate(alone):
        same = together[number % world][number // world]
        assert all(torch.equal(one, other) for one, other in zip(batch, same, strict=True))
    assert sum(map(len, together)) == len(alone)
    assert [len(Loader(images, RECIPE, batch_size, rank=r, world=world)) for r in range(world)] == [*map(len, together)]


def test_batches_come_in_the_order_of_the_dataset():
    images = in_memory(10)
    batches = list(Loader(images, RECIPE, 4))
    assert [batch.indices.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    pixels, labels, _ = joined(Loader(images, RECIPE, 4))
    assert torch.equal(labels, images.labels)
    assert torch.equal(pixels, RECIPE.normalise(images.pixels))


def test_a_loader_can_be_iterated_again():
    loader = Loader(in_memory(6), RECIPE, 4)
    assert all(torch.equal(one, two) for one, two in zip(joined(loader), joined(loader), strict=True))


def test_bf16_is_the_rounded_fp32():
    images = in_memory(5)
    pixels, _, _ = joined(Loader(images, RECIPE, 2, dtype=torch.bfloat16))
    assert pixels.dtype == torch.bfloat16
    assert torch.equal(pixels, RECIPE.normalise(images.pixels).to(torch.bfloat16))


def test_images_in_memory_are_resized_and_cropped():
    images = in_memory(5, side=12)
    recipe = Preprocessing((0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 8, 10)
    pixels, _, _ = joined(Loader(images, recipe, 2))
    assert torch.equal(pixels, recipe.normalise(recipe.fit(images.pixels)))
    assert pixels.shape == (5, 3, 8, 8)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_files_give_the_batches_that_memory_gives(tmp_path, workers):
    images = in_memory(11)
    files = on_disk(tmp_path, images)
    from_files = list(Loader(files, RECIPE, 3, workers=workers))
    from_memory = list(Loader(images, RECIPE, 3))
    assert len(from_files) == len(from_memory) == 4
    for one, other in zip(from_files, from_memory, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_ranks_share_files_too(tmp_path):
    files = on_disk(tmp_path, in_memory(7))
    seen = [batch.indices.tolist() for rank in range(2) for batch in Loader(files, RECIPE, 2, rank=rank, world=2)]
    assert seen == [[0, 1], [4, 5], [2, 3], [6]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_does_not_decode_stops_the_run_and_is_named(tmp_path, workers):
    files = on_disk(tmp_path, in_memory(9))
    files.files[4].write_bytes(b"junk")
    with pytest.raises(DataError, match=r"0004\.png.*does not decode") as caught:
        list(Loader(files, RECIPE, 2, workers=workers))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_skipped_and_counted_on_request(tmp_path, workers):
    images = in_memory(9)
    files = on_disk(tmp_path, images)
    for bad in (4, 6, 7):
        files.files[bad].write_bytes(b"junk")
    loader = Loader(files, RECIPE, 2, workers=workers, skip_bad=True)
    for _ in range(2):  # and counted anew in every pass
        pixels, labels, indices = joined(loader)
        assert indices.tolist() == [0, 1, 2, 3, 5, 8]
        assert torch.equal(labels, images.labels[indices])
        assert torch.equal(pixels, RECIPE.normalise(images.pixels[indices]))
        assert loader.skipped == 3
        assert [Path(text.split("'")[1]).name for text in loader.complaints] == ["0004.png", "0006.png", "0007.png"]


def test_a_dataset_of_nothing_but_bad_files(tmp_path):
    files = on_disk(tmp_path, in_memory(30))
    for path in files.files:
        path.write_bytes(b"junk")
    loader = Loader(files, RECIPE, 4, workers=0, skip_bad=True)
    assert list(loader) == []
    assert loader.skipped == 30
    assert len(loader.complaints) == 10


def test_a_worker_that_dies_is_reported_where_the_batches_are_asked_for(tmp_path):
    files = on_disk(tmp_path, in_memory(200))
    before = {child.pid for child in psutil.Process().children()}
    handler = signal.getsignal(signal.SIGCHLD)
    batches = iter(Loader(files, RECIPE, 2, workers=2))
    next(batches)
    started = [child for child in psutil.Process().children() if child.pid not in before]
    os.kill(started[0].pid, signal.SIGKILL)
    time.sleep(0.2)  # no error may come up here, in the caller's own code
    assert signal.getsignal(signal.SIGCHLD) == handler
    with pytest.raises(DataError, match="process that reads images died"):
        list(batches)


def test_workers_end_when_the_loop_is_left_early(tmp_path):
    files = on_disk(tmp_path, in_memory(100))
    before = {child.pid for child in psutil.Process().children()}
    batches = iter(Loader(files, RECIPE, 2, workers=2))
    next(batches)
    del batches
    until(lambda: not {child.pid for child in psutil.Process().children()} - before, "a worker is still there")


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_draws_no_random_numbers(tmp_path, workers):
    files = on_disk(tmp_path, in_memory(4))
    before = torch.get_rng_state()
    list(Loader(files, RECIPE, 2, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


INTERRUPTED = """
import sys, torch
from pathlib import Path
from ddeep.data.images import FileImages
from ddeep.data.loader import Loader
from ddeep.data.preprocessing import Preprocessing

files = sorted(Path(sys.argv[1]).iterdir()) * 500
images = FileImages(files, torch.zeros(len(files), dtype=torch.int64), ("a", "b"))
try:
    for batch in Loader(images, Preprocessing((0.5,) * 3, (0.5,) * 3, 8, 8), 8, workers=2):
        print("batch", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_is_the_parents_alone(tmp_path):
    on_disk(tmp_path, in_memory(20))
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "batch\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        out, err = process.communicate(timeout=PATIENCE)
    assert out.splitlines()[-1] == "interrupted"
    assert err == ""
    assert process.returncode == 0


def test_workers_are_shared_out_among_the_processes_of_a_run():
    counts = [default_workers(world) for world in range(1, 20)]
    assert counts == sorted(counts, reverse=True)
    assert 1 <= counts[-1] <= counts[0] <= 8


def test_a_batch_size_that_makes_no_sense():
    with pytest.raises(ConfigError, match="batch size"):
        Loader(in_memory(3), RECIPE, 0)


def test_real_photographs_through_worker_processes(real_data):
    images = open_class_folders(real_data("tiny-imagenet-10") / "val")
    recipe = Preprocessing((0.5,) * 3, (0.5,) * 3, 56, 64, "bicubic")
    pixels, labels, indices = joined(Loader(images, recipe, 64))
    assert pixels.shape == (500, 3, 56, 56)
    assert indices.tolist() == list(range(500))
    assert torch.equal(labels.bincount(), torch.full((10,), 50))
    with Image.open(images.files[77]) as image:
        reference = np.asarray(image.convert("RGB").crop((4, 4, 60, 60)))
    expected = torch.from_numpy(reference.transpose(2, 0, 1) / 127.5 - 1).float()
    torch.testing.assert_close(pixels[77], expected, rtol=1e-6, atol=1e-6)
    assert fitted_pixels(images.files[77], recipe).shape == (56, 56, 3)
