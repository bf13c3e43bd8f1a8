import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddeep.data.images import FileImages, TensorImages
from ddeep.errors import DataError
from ddeep_plugins_builtin.datasets import cifar
from ddeep_plugins_builtin.datasets.cifar import open_cifar10, open_cifar100

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("DDEEP_OFFLINE", "1")


def batch(count: int, seed: int, labels: str = "labels", classes: int = 10) -> dict:
    """What one published file holds: rows of three planes, and labels sorted here to match class folders."""
    draw = np.random.default_rng(seed)
    return {
        "data": draw.integers(0, 256, (count, 3072), dtype=np.uint8),
        labels: sorted(draw.integers(0, classes, count).tolist()),
    }


def write(path: Path, content: object, protocol: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def write_cifar10(folder: Path) -> None:
    for number in range(1, 6):
        write(folder / f"data_batch_{number}", batch(4, number))
    write(folder / "test_batch", batch(20, 6))


def slow_pixels(content: dict) -> np.ndarray:
    rows = content["data"]
    pixels = np.zeros((len(rows), 32, 32, 3), dtype=np.uint8)
    for n, row in enumerate(rows):
        for channel in range(3):
            for y in range(32):
                pixels[n, y, :, channel] = row[channel * 1024 + y * 32 : channel * 1024 + (y + 1) * 32]
    return pixels


@pytest.mark.parametrize("place", ["cifar-10-batches-py", "cifar10/cifar-10-batches-py"])
def test_the_published_files(tmp_path, place):
    write_cifar10(tmp_path / place)
    train, test = open_cifar10(tmp_path, "train"), open_cifar10(tmp_path, "test")
    assert len(train) == len(test) == 20
    assert list(train.classes) == list(test.classes) == CLASSES
    parts = [batch(4, number) for number in range(1, 6)]
    assert np.array_equal(train.pixels.numpy(), np.concatenate([slow_pixels(part) for part in parts]))
    assert train.labels.tolist() == [label for part in parts for label in part["labels"]]
    assert np.array_equal(test.pixels.numpy(), slow_pixels(batch(20, 6)))


def python2_pickle(content: dict) -> bytes:
    """The published files come from Python 2 and an old numpy: byte strings throughout, and numpy's old names."""

    def text(value: bytes) -> bytes:
        return b"T" + len(value).to_bytes(4, "little") + value

    rows, numbers = content["data"], content["labels"]
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + text(b"b") + b"tR"
    kind = b"cnumpy\ndtype\n(" + text(b"u1") + b"I0\nI1\ntR(I3\n" + text(b"|") + b"NNNI-1\nI-1\nI0\ntb"
    state = b"(I1\n(I%d\nI%d\nt" % rows.shape + kind + b"I00\n" + text(rows.tobytes()) + b"tb"
    labels = b"(l" + b"".join(b"I%d\na" % number for number in numbers)
    return b"\x80\x02}(" + text(b"data") + array + state + text(b"labels") + labels + b"u."


def test_files_pickled_by_python_2(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "test_batch").write_bytes(python2_pickle(batch(6, 3)))
    images = open_cifar10(tmp_path, "test")
    assert np.array_equal(images.pixels.numpy(), slow_pixels(batch(6, 3)))
    assert images.labels.tolist() == batch(6, 3)["labels"]


def test_class_folders_have_the_hash_of_the_published_files(tmp_path):
    content = batch(60, 1)
    while len(set(content["labels"])) < 10:
        content = batch(60, content["labels"][0] + 100)
    write(tmp_path / "a" / "cifar-10-batches-py" / "test_batch", content)
    for number, (pixels, label) in enumerate(zip(slow_pixels(content), content["labels"], strict=True)):
        path = tmp_path / "b" / "cifar10" / "test" / CLASSES[label] / f"{number:03}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, lossless=True)
    published, folders = open_cifar10(tmp_path / "a", "test"), open_cifar10(tmp_path / "b", "test")
    assert torch.equal(published.pixels, folders.pixels)
    assert published.content_hash == folders.content_hash


def test_cifar100(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "cifar-100-python" / split, batch(30, 1, "fine_labels", 100))
    images = open_cifar100(tmp_path, "train")
    assert len(images.classes) == len(set(images.classes)) == 100
    assert sorted(images.classes) == list(images.classes)
    assert images.labels.tolist() == batch(30, 1, "fine_labels", 100)["fine_labels"]


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_does_not(tmp_path, protocol):
    content = {**batch(4, 1), "extra": Evil(tmp_path / "pwned")}
    write(tmp_path / "cifar-10-batches-py" / "test_batch", content, protocol)
    with pytest.raises(DataError, match=r"test_batch is not a file of CIFAR-10 \(it asks to run"):
        open_cifar10(tmp_path, "test")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"data": np.zeros((2, 3072), dtype=np.uint8)},
        {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [1]},
        {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [1, 10]},
        {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [-1, 1]},
        {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [0.5, 1]},
        {"data": np.zeros((2, 3071), dtype=np.uint8), "labels": [1, 1]},
        {"data": np.zeros((2, 3072), dtype=np.float32), "labels": [1, 1]},
        {"data": np.zeros((0, 3072), dtype=np.uint8), "labels": []},
        {"data": "text", "labels": [1]},
    ],
)
def test_other_content(tmp_path, content):
    write(tmp_path / "cifar-10-batches-py" / "test_batch", content)
    with pytest.raises(DataError, match=r"test_batch.*CIFAR-10.*[Uu]npack https://"):
        open_cifar10(tmp_path, "test")


def test_truncated_and_missing_files(tmp_path):
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    write(path, batch(4, 1))
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 30):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="not a file of CIFAR-10"):
            open_cifar10(tmp_path, "test")
    path.unlink()
    with pytest.raises(DataError, match="lacks test_batch"):
        open_cifar10(tmp_path, "test")


def test_absent_and_no_network(tmp_path):
    with pytest.raises(DataError, match=r"CIFAR-10 is not under .*cifar-10-python\.tar\.gz.*<class>.*--data-dir"):
        open_cifar10(tmp_path / "data", "train")
    assert not (tmp_path / "data").exists()


def fill_class_folders(root: Path, classes: list[str]) -> None:
    for name in classes:
        path = root / name / "0.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(path)


def test_class_folders_of_other_names(tmp_path):
    fill_class_folders(tmp_path / "cifar10" / "train", [*CLASSES[1:], "plane"])
    with pytest.raises(DataError, match="lacks the class 'airplane' of CIFAR-10"):
        open_cifar10(tmp_path, "train")
    fill_class_folders(tmp_path / "cifar10" / "train", ["airplane"])
    with pytest.raises(DataError, match=r"holds 'plane', not a class of CIFAR-10.*'airplane'"):
        open_cifar10(tmp_path, "train")
    with pytest.raises(DataError, match=r"no folder .*cifar10/test"):
        open_cifar10(tmp_path, "test")


def archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("downloaded", [True, False])
def test_the_archive_is_unpacked_file_by_file(tmp_path, monkeypatch, downloaded):
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    members = {f"cifar-10-batches-py/{name}": pickle.dumps(batch(4, 1)) for name in names}
    tricks = {"../climbed": b"x", "/tmp/ddeep-climbed": b"x", "cifar-10-batches-py/../../climbed": b"x"}
    data = tmp_path / "data"
    data.mkdir()
    made = tmp_path / "made.tar.gz"
    archive(made, {**tricks, **members})
    sha256 = cifar.sha256_of(made)
    monkeypatch.setattr(cifar, "_CIFAR10", cifar._Cifar(**{**vars(cifar._CIFAR10), "sha256": sha256}))

    def fake_download(url, expected, target, what):
        assert url == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
        assert (expected, what) == (sha256, "CIFAR-10")
        assert downloaded
        return made.rename(target)

    monkeypatch.setattr(cifar, "download", fake_download)
    if not downloaded:
        made.rename(data / "cifar-10-python.tar.gz")
    assert len(open_cifar10(data, "train")) == 20
    assert sorted(path.name for path in (data / "cifar-10-batches-py").iterdir()) == names
    # An archive that the user put there stays, one that was fetched goes.
    assert (data / "cifar-10-python.tar.gz").exists() is not downloaded
    assert not list(tmp_path.rglob("climbed"))
    assert not Path("/tmp/ddeep-climbed").exists()


def test_all_of_cifar10(real_data):
    train = open_cifar10(real_data("cifar10").parent, "train")
    assert isinstance(train, TensorImages)
    assert not isinstance(train, FileImages)
    assert train.pixels.shape == (50_000, 32, 32, 3)
    assert list(train.classes) == CLASSES
    assert train.labels.bincount().tolist() == [5000] * 10
    mean = train.pixels.view(-1, 3).sum(0).double() / (50_000 * 1024 * 255)
    torch.testing.assert_close(mean, torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64), rtol=0, atol=1e-4)
