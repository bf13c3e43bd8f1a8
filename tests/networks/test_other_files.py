"""Sound files that are no weights are told what they are; sound checkpoints of other habits are read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ddeep.errors import WeightsError
from ddeep.networks.weights import load_strictly, read_state_dict

STATE = {"conv.weight": torch.arange(12.0).view(3, 4), "bn.num_batches_tracked": torch.tensor(7)}
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGES = (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", b"\xef\xbb\xbf<HTML>404</HTML>")


def scripted(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # torch has newer ways
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), path)


def with_numpy(zipped: bool) -> Callable[[Path], None]:
    saved = {"state_dict": STATE, "best": np.float64(91.5), "epoch": np.int64(3)}
    return lambda path: torch.save(saved, path, _use_new_zipfile_serialization=zipped)


def with_protocol(protocol: int, zipped: bool) -> Callable[[Path], None]:
    return lambda path: torch.save(STATE, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)


def bytes_of(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


TOLD: dict[str, tuple[Callable[[Path], object], str]] = {
    "protocol 4": (with_protocol(4, True), "pickle protocol 4; without running code torch reads protocol 2"),
    "protocol 5": (with_protocol(5, True), "pickle protocol 5"),
    "protocol 4, old format": (with_protocol(4, False), "pickle protocol 4"),
    "TorchScript": (scripted, r"is a TorchScript archive.*torch\.jit\.load\(FILE\)\.state_dict\(\)"),
    "torch.export": (exported, r"is a program of torch\.export"),
    "git-lfs": (bytes_of(LFS), "is a pointer of git-lfs.*git lfs pull"),
    "a page": (bytes_of(PAGES[0]), "is a web page"),
    "a page with a byte order mark": (bytes_of(PAGES[1]), "is a web page"),
    "numpy numbers": (with_numpy(True), "holds numpy numbers beside its tensors"),
    "numpy numbers, old format": (with_numpy(False), "holds numpy numbers beside its tensors"),
}


@pytest.mark.parametrize("kind", TOLD)
def test_it_is_told_what_it_is(kind: str, tmp_path: Path) -> None:
    write, says = TOLD[kind]
    write(tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=says) as caught:
        read_state_dict(tmp_path / "w.pt")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("content", [LFS, *PAGES])
def test_also_under_the_name_of_safetensors(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match=r"git-lfs|web page"):
        read_state_dict(tmp_path / "w.safetensors")


def test_the_state_of_an_averaged_model_is_that_of_its_module(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    averaged = AveragedModel(module)
    averaged.update_parameters(module)
    torch.save({"state_dict": averaged.state_dict()}, tmp_path / "ema.pt")
    state = read_state_dict(tmp_path / "ema.pt")
    load_strictly(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), state)
    assert torch.equal(state["0.weight"], module[0].weight)


def test_a_parameter_of_that_name_stays(tmp_path: Path) -> None:
    torch.save({"n_averaged": torch.ones(1), "conv.weight": torch.ones(1)}, tmp_path / "w.pt")
    assert read_state_dict(tmp_path / "w.pt").keys() == {"n_averaged", "conv.weight"}
