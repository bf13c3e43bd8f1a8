"""Little shared memory, as in containers: images go through pipes; nothing waits for ever."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from ddeep.data import loader as loading
from ddeep.data import shared_memory
from ddeep.data.images import FileImages
from ddeep.data.loader import Loader
from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import DataError
from tests.support.pictures import save_picture

RECIPE = Preprocessing((0.5,) * 3, (0.5,) * 3, 64, 64)


@pytest.fixture
def images(tmp_path: Path) -> FileImages:
    files = [save_picture(tmp_path / f"{number:03}.png", number, 64, 64) for number in range(60)]
    return FileImages(files, torch.zeros(60, dtype=torch.int64), ("a", "b"))


@pytest.fixture(autouse=True)
def _told_anew() -> Iterator[None]:
    shared_memory._tell.cache_clear()
    yield
    shared_memory._tell.cache_clear()


def test_through_pipes_comes_what_comes_through_shared_memory(
    images: FileImages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images.files[7].write_bytes(b"junk")  # type: ignore[index]
    expected = list(Loader(images, RECIPE, 8, workers=2, skip_bad=True))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(loading, "enough", lambda _: False)
    found = list(Loader(images, RECIPE, 8, workers=2, skip_bad=True))
    assert len(found) == len(expected) == 8
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def test_too_little_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert shared_memory.enough(0)
    assert not shared_memory.enough(1 << 60)
    assert not shared_memory.enough(1 << 60)
    assert capsys.readouterr().err.count("decoded images go through pipes") == 1
    monkeypatch.setattr(shared_memory, "_PLACE", Path("/nowhere"))
    assert shared_memory.enough(1 << 60)


def test_what_cannot_be_handed_over_ends_the_pass(images: FileImages, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's queue fails in a thread of its own, and torch would wait for ever for what it has lost."""

    def full(_: object) -> None:
        raise RuntimeError("unable to write to file </torch_1>: No space left on device (28)")

    monkeypatch.setitem(ForkingPickler._extra_reducers, torch.Tensor, full)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="A process that reads images died"):
        list(Loader(images, RECIPE, 8, workers=2))


PASS = """
import sys, torch
from pathlib import Path
from ddeep.data.images import FileImages
from ddeep.data.loader import Loader
from ddeep.data.preprocessing import Preprocessing
files = sorted(Path(sys.argv[1]).glob("*.png"))
images = FileImages(files, torch.zeros(len(files), dtype=torch.int64), ("a", "b"))
print(sum(len(batch.labels) for batch in Loader(images, Preprocessing((0.5,) * 3, (0.5,) * 3, 64, 64), 8, workers=2)))
"""


def test_a_pass_in_a_container_with_little_shared_memory(images: FileImages, tmp_path: Path) -> None:
    """In a mount namespace of its own, with 100 kB: a batch alone has as much."""
    mount = "mount -t tmpfs -o size=100k tmpfs /dev/shm"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "sh", "-c", mount]).returncode != 0:
        pytest.skip("this machine allows no mount namespace")
    inside = f'{mount} && exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inside, sys.executable, PASS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == f"{len(images)}\n", done.stderr
    assert "decoded images go through pipes" in done.stderr
