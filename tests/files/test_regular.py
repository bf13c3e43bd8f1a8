"""What is not a regular file is refused by every reader, and none waits for it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ddeep.data.decoding import read_rgb
from ddeep.errors import DdeepError
from ddeep.experiments.settings import RunConfig, read_config
from ddeep.files.atomic import map_array, sha256_of
from ddeep.files.json import read_object
from ddeep.files.regular import open_regular, read_bounded
from ddeep.networks.weights import read_state_dict
from ddeep.networks.weights_file import describe_file
from ddeep.reports.comparison_page import read_comparison
from ddeep.results.run import read_run
from ddeep.selections.selection import Selection
from ddeep.training.checkpoint import Checkpoint
from ddeep_plugins_builtin.datasets.cifar import _CIFAR10, _read
from ddeep_plugins_builtin.datasets.wordnet import read_list

READERS: dict[str, Callable[[Path], object]] = {
    "run.json": lambda path: read_run(path.parent),
    "comparison.json": lambda path: read_comparison(path.parent),
    "selection.json": Selection.load,
    "config.toml": lambda path: read_config(RunConfig, {}, path),
    "w.pt": read_state_dict,
    "w.safetensors": read_state_dict,
    "checkpoint.safetensors": Checkpoint.read,
    "a.png": read_rgb,
    "data_batch_1": lambda path: _read(path, _CIFAR10),
    "val_annotations.txt": read_list,
    "any.json": read_object,
    "any.npy": lambda path: map_array(path, "r"),
    "any": sha256_of,
    "other": open_regular,
}


@pytest.fixture(autouse=True)
def _no_reader_waits() -> Iterator[None]:
    def waited(*_: object) -> None:
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize("make", [make_pipe, make_socket, link_to_device, link_to_pipe, Path.mkdir])
@pytest.mark.parametrize("name", READERS)
def test_a_reader_refuses_what_is_no_file(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises((DdeepError, OSError)):
        READERS[name](tmp_path / name)


def test_a_strangers_weights_that_are_a_pipe_describe_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    assert describe_file(tmp_path / "w.safetensors") is None


def test_a_file_is_read_whole_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    assert read_bounded(path, 1 << 20) == bytes(1 << 20)
    with pytest.raises(ValueError, match="larger than 0 MiB"):
        read_bounded(path, (1 << 20) - 1)
    np.save(tmp_path / "x.npy", np.arange(3))
    assert map_array(tmp_path / "x.npy", "r").tolist() == [0, 1, 2]


def test_what_takes_a_files_place_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the opening; nothing stays open."""
    path = tmp_path / "file"
    path.write_bytes(b"1")
    real = os.open

    def exchanging(name: str, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return real(name, flags)

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", exchanging)
        with pytest.raises(OSError, match="a pipe, not a file"):
            open_regular(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
