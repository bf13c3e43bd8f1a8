import itertools
import multiprocessing
import os
import signal
import time

import numpy as np
import psutil
import pytest
import torch

from ddeep.data import pixel_cache
from ddeep.data.class_folders import open_class_folders
from ddeep.data.images import FileImages, TensorImages
from ddeep.data.loader import Loader, read_pixels
from ddeep.data.pixel_cache import are_small, as_tensor_images, left_in_files
from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import CacheError, DataError
from tests.support import pictures
from tests.support.waiting import PATIENCE


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def root(tmp_path):
    return pictures.class_folders(tmp_path / "root", {"a": 3, "b": 2})


def wanted(count: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.stack([pictures.picture(seed) for seed in range(count)]))


def forbid_decoding(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("decoded again")

    monkeypatch.setattr("ddeep.data.pixel_cache.decode_batches", refuse)


def test_pixels_labels_and_hash_are_those_of_the_images_in_memory(root, cache):
    images = as_tensor_images(open_class_folders(root))
    assert torch.equal(images.pixels, wanted())
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert images.content_hash == TensorImages.of(wanted(), images.labels, ["a", "b"]).content_hash
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("cache")
def test_the_second_time_nothing_is_decoded(root, monkeypatch):
    first = as_tensor_images(open_class_folders(root))
    forbid_decoding(monkeypatch)
    second = as_tensor_images(open_class_folders(root))
    assert torch.equal(first.pixels, second.pixels)
    assert first.content_hash == second.content_hash


@pytest.mark.usefixtures("cache")
def test_writing_to_the_pixels_changes_no_file(root, monkeypatch):
    as_tensor_images(open_class_folders(root)).pixels.zero_()
    forbid_decoding(monkeypatch)
    assert torch.equal(as_tensor_images(open_class_folders(root)).pixels, wanted())


@pytest.mark.usefixtures("cache")
def test_a_changed_dataset_is_decoded_anew(root):
    before = as_tensor_images(open_class_folders(root))
    pictures.save_picture(root / "b" / "1.png", seed=99)
    after = as_tensor_images(open_class_folders(root))
    assert torch.equal(after.pixels[4], torch.from_numpy(pictures.picture(99)))
    assert after.content_hash != before.content_hash


def damage(kind: str, path) -> None:
    content = bytearray(path.read_bytes())
    if kind == "a bit of a pixel":
        content[200] ^= 1
    elif kind == "a bit of the hash":
        content[-1] ^= 1
    elif kind == "a bit of the header":
        content[70] ^= 1
    elif kind == "cut short":
        content = content[: len(content) // 2]
    elif kind == "empty":
        content = bytearray()
    elif kind == "objects":
        np.save(path, np.array([print], dtype=object), allow_pickle=True)
        return
    elif kind == "another shape":
        np.save(path, np.zeros((5, 4, 16, 3), dtype=np.uint8))
        return
    path.write_bytes(content)


@pytest.mark.parametrize(
    "kind",
    [
        "a bit of a pixel",
        "a bit of the hash",
        "a bit of the header",
        "cut short",
        "empty",
        "objects",
        "another shape",
    ],
)
def test_a_damaged_entry_is_made_anew(root, cache, kind):
    as_tensor_images(open_class_folders(root))
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    damage(kind, entry)
    assert torch.equal(as_tensor_images(open_class_folders(root)).pixels, wanted())
    assert entry.read_bytes() == whole


def test_every_shortened_entry_is_noticed(root, cache):
    as_tensor_images(open_class_folders(root))
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    for length in range(0, len(whole), 97):
        entry.write_bytes(whole[:length])
        assert torch.equal(as_tensor_images(open_class_folders(root)).pixels, wanted())


def test_a_file_of_another_size_is_named(root, cache):
    pictures.save_picture(root / "b" / "9.png", height=9)
    with pytest.raises(DataError, match=r"9\.png.*8 × 9 pixels, others have 8 × 8"):
        as_tensor_images(open_class_folders(root))
    assert not list(cache.iterdir())


def test_a_file_that_does_not_decode_is_named(root, cache):
    (root / "b" / "0.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"b/0\.png.*does not decode"):
        as_tensor_images(open_class_folders(root))
    assert not list(cache.iterdir())


@pytest.mark.usefixtures("cache")
def test_more_than_fits_in_memory_is_refused(root, monkeypatch):
    monkeypatch.setattr("ddeep.data.pixel_cache.MAX_BYTES", 900)
    images = open_class_folders(root)
    assert not are_small(images)
    with pytest.raises(DataError, match="5 images of 8 × 8 pixels"):
        as_tensor_images(images)


def test_a_cache_that_cannot_be_written(root, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="Cannot write"):
        as_tensor_images(open_class_folders(root))


def test_are_small(root):
    assert are_small(open_class_folders(root))
    assert not are_small(open_class_folders(root), side=7)
    pictures.save_picture(root / "b" / "1.png", height=9)
    assert not are_small(open_class_folders(root))
    (root / "b" / "1.png").write_bytes(b"junk")
    assert not are_small(open_class_folders(root))


def open_in_process(root, cache, results) -> None:
    os.environ["DDEEP_CACHE"] = str(cache)
    results.put(as_tensor_images(open_class_folders(root)).content_hash)


def test_eight_commands_at_once(root, tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=open_in_process, args=(root, tmp_path / "c", results)) for _ in range(8)]
    for process in processes:
        process.start()
    hashes = {results.get(timeout=PATIENCE) for _ in processes}
    for process in processes:
        process.join()
    assert len(hashes) == 1
    assert len(list((tmp_path / "c" / "datasets").iterdir())) == 1


def test_a_killed_conversion_goes_on_with_the_parts_that_lack(tmp_path, cache, monkeypatch):
    root = pictures.class_folders(tmp_path / "root", {"a": 6, "b": 5})
    monkeypatch.setattr("ddeep.data.pixel_cache._PART", 4)
    decoded, really = [], pixel_cache.decode_batches

    def counted(files, rows, *given, **options):
        decoded.extend(rows[0].tolist())
        if len(decoded) == 8:
            raise KeyboardInterrupt
        return really(files, rows, *given, **options)

    monkeypatch.setattr("ddeep.data.pixel_cache.decode_batches", counted)
    monkeypatch.setattr(pixel_cache._Parts, "order", lambda parts: list(range(len(parts.rows))))
    with pytest.raises(KeyboardInterrupt):
        as_tensor_images(open_class_folders(root))
    assert [path.name[-10:] for path in cache.iterdir()] == ["part-0.npy"]
    assert torch.equal(as_tensor_images(open_class_folders(root)).pixels, wanted(11))
    assert decoded == [0, 1, 2, 3, *range(4, 8), *range(4, 8), *range(8, 11)]
    assert len(list(cache.iterdir())) == 1  # the parts are gone


def test_commands_begin_with_parts_far_apart(root, cache):
    images = open_class_folders(root)
    parts = pixel_cache._Parts(images, cache / "x.npy", None, (8, 8, 3))
    parts.rows = tuple(torch.arange(100).split(1))
    with pytest.MonkeyPatch.context() as patch:
        first = []
        for pid in range(4000, 4008):
            patch.setattr("os.getpid", lambda pid=pid: pid)
            assert sorted(parts.order()) == list(range(100))
            first.append(parts.order()[0])
    gaps = [b - a for a, b in itertools.pairwise(sorted(first))]
    assert min(gaps) >= 5


def test_left_in_files_nothing_is_converted(root, cache):
    with left_in_files():
        images = as_tensor_images(open_class_folders(root))
    assert isinstance(images, FileImages)
    assert images.size == (8, 8)
    assert not cache.exists() or not list(cache.iterdir())


@pytest.mark.usefixtures("cache")
def test_left_in_files_or_converted_the_network_sees_the_same(root):
    converted = as_tensor_images(open_class_folders(root))
    with left_in_files():
        files = as_tensor_images(open_class_folders(root))
    recipe = Preprocessing((0.5,) * 3, (0.5,) * 3, 12, 13)  # resized, where Pillow's and torch's pixels may differ
    for one, other in zip(Loader(converted, recipe, 2), Loader(files, recipe, 2), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.indices, other.indices)
    assert torch.equal(read_pixels(converted, [4, 0], recipe), read_pixels(files, [4, 0], recipe))


def test_killed_at_any_moment_it_leaves_nothing_that_is_taken_for_whole(tmp_path):
    root = pictures.class_folders(tmp_path / "root", {"a": 300, "b": 300})
    reference = torch.from_numpy(np.stack([pictures.picture(seed) for seed in range(600)]))
    context = multiprocessing.get_context("fork")
    for attempt in range(8):
        cache = tmp_path / f"cache{attempt}"
        process = context.Process(target=open_in_process, args=(root, cache, context.Queue()))
        process.start()
        time.sleep(0.02 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DDEEP_CACHE", str(cache))
            assert torch.equal(as_tensor_images(open_class_folders(root)).pixels, reference)


def test_no_worker_outlives_a_killed_command(tmp_path):
    """Not even one that was killed while its workers started."""
    root = pictures.class_folders(tmp_path / "root", {"a": 20, "b": 20})
    context = multiprocessing.get_context("fork")
    left = []
    for _ in range(10):
        before = set(psutil.Process().children(recursive=True))
        process = context.Process(target=open_in_process, args=(root, tmp_path / "none" / "x", context.Queue()))
        process.start()
        while process.is_alive() and not psutil.Process(process.pid).children():
            time.sleep(0.001)
        left += [child for child in psutil.Process().children(recursive=True) if child not in before]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    _, alive = psutil.wait_procs(left, timeout=PATIENCE)
    assert not alive


def test_all_of_cifar10(real_data):
    images = as_tensor_images(open_class_folders(real_data("cifar10") / "test"))
    assert images.pixels.shape == (10_000, 32, 32, 3)
    assert images.labels.bincount().tolist() == [1000] * 10
    # The mean of CIFAR-10's test split, as published everywhere to three digits.
    mean = images.pixels.double().mean((0, 1, 2)) / 255
    torch.testing.assert_close(mean, torch.tensor([0.494, 0.485, 0.450], dtype=torch.float64), rtol=0, atol=1e-3)
