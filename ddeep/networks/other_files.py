"""Files that are whole, but no weights as ddeep reads them: each is told what it is, and what would be right."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from ..errors import WeightsError
from ..files.regular import open_regular

_PROTOCOL = 2  # of pickle, torch's own
_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def refuse_other_kinds(path: Path, start: bytes) -> None:
    """Raise WeightsError for a pointer of git-lfs and for a web page, by how the file begins."""
    if start.startswith(_LFS):
        raise WeightsError(
            f"{path} is a pointer of git-lfs: it stands for weights that have not been fetched. Run `git lfs pull` in "
            "the repository it comes from, or download the file itself."
        )
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        raise WeightsError(
            f"{path} is a web page saved under the name of weights, most likely of a login or an error. Open the "
            "address in a browser, and download the file that it leads to."
        )


def refuse_programs(path: Path) -> None:
    """Raise WeightsError for what ``torch.jit.save`` and ``torch.export.save`` write: archives with a program."""
    with zipfile.ZipFile(path) as archive:
        inside = {name.partition("/")[2] for name in archive.namelist()}
    if any(name.startswith("code/") for name in inside) and "constants.pkl" in inside:
        raise WeightsError(
            f"{path} is a TorchScript archive: a program with its weights, and ddeep runs no code from a file. If you "
            "trust it, save its weights alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)."
        )
    if any(name.endswith("serialized_exported_program.json") or name.startswith("models/") for name in inside):
        raise WeightsError(
            f"{path} is a program of torch.export, and ddeep runs no code from a file. If you trust it, save its "
            "weights alone: torch.save(torch.export.load(FILE).state_dict, NEW)."
        )


def refuse_new_protocol(path: Path, zipped: bool) -> None:
    """Raise WeightsError where the pickle is of a protocol that torch writes only when it is told to."""
    if zipped:
        start = torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")
    else:
        with open_regular(path) as file:
            start = file.read(2)
    if start[:1] == b"\x80" and start[1] > _PROTOCOL:
        raise WeightsError(
            f"{path} is a checkpoint in pickle protocol {start[1]}; without running code torch reads protocol "
            f"{_PROTOCOL}, its own. Load it where it was made and save it anew: torch.save(state_dict, FILE)."
        )


def numpy_beside(path: Path) -> str:
    """What to say of a checkpoint with numpy's numbers in it, which torch does not read without running code."""
    return (
        f"{path} holds numpy numbers beside its tensors (a best accuracy, say), which are not read without running "
        "code. Load it where it was made, and save the state dict alone: torch.save(checkpoint['state_dict'], FILE)."
    )
