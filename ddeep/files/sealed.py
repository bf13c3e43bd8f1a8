"""Documents that vouch for what was written: for themselves, and for the files beside them.

A sealed document is a JSON object with one entry more, ``sealed``: the hash of all the rest and those of the files.
It protects against accidents and against figures edited by hand, not against somebody who seals anew. The user's
signature is in it, too: what another has written is read, but where it says that things are nobody looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from .atomic import sha256_of, written_whole
from .beside import name_beside, put_back, taken_out, write_beside
from .json import MAX_BYTES, json_text, read_object, write_json
from .regular import require_inside
from .signing import is_signed, sign

_SEAL = "sealed"
_ELSEWHERE = "elsewhere"
_SETTINGS = ("config", "finetuning")  # the parts of a document that say how to go on
# Of these settings the defaults hold in a document of another's; of the files that it names, the names.
DEFAULTS = {"data_dir": "data", "tracker": "none"}
FILES = ("weights", "responses", "selection")


@dataclass(frozen=True)
class Sealed:
    """A document without its seal, and the sha256 of every file it vouches for; None where it was never sealed.

    Unless the user's own ddeep wrote it on this machine, its settings name no places but the default ones, and no
    tracker: its entry ``elsewhere`` then holds what they did name, for messages.
    """

    document: dict[str, Any]
    files: Mapping[str, str] | None


def write_sealed(path: Path, document: Mapping[str, Any], files: Iterable[str] = ()) -> None:
    """Write ``document``, whole, so that it vouches for itself and for ``files``, which are there already.

    Large tables go into a file beside it (``beside``), for which it vouches, too.
    """
    folder, beside = path.parent, name_beside(path)
    plain, tables = taken_out({name: value for name, value in document.items() if name != _SEAL}, beside)
    if tables:
        write_beside(tables, path)
    names = {*files, *([beside] if tables else [])}
    seal: dict[str, Any] = {
        "document": _hash(plain),
        "files": {name: sha256_of(folder / name) for name in sorted(names)},
    }
    seal["signature"] = sign(json_text(seal))
    with written_whole(path) as temporary:
        write_json(temporary, {**plain, _SEAL: seal})


def read_sealed(path: Path, most_bytes: int = MAX_BYTES) -> Sealed:
    """Read what ``write_sealed`` wrote, or a document without a seal. Raises OSError, and ValueError for damage.

    Of the files that it vouches for only that of its own tables is looked at: see ``check_files``.
    """
    document = read_object(path, most_bytes)
    if _SEAL not in document:
        return Sealed(put_back(_without_places(document), path), None)
    seal = document.pop(_SEAL)
    files = seal.get("files") if isinstance(seal, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(value, str) and _inside(name) for name, value in files.items()
    ):
        raise ValueError("its seal is damaged")
    if seal.get("document") != _hash(document):
        raise ValueError("it is not what was written: something in it has been changed since")
    own = is_signed(json_text({"document": seal["document"], "files": files}), seal.get("signature"))
    document.pop(_ELSEWHERE, None)
    if name_beside(path) in files:
        _check_file(path.parent, name_beside(path), files[name_beside(path)])
    return Sealed(put_back(document if own else _without_places(document), path), files)


def _without_places(document: dict[str, Any]) -> dict[str, Any]:
    elsewhere: dict[str, Any] = {}
    for settings in (document.get(part) for part in _SETTINGS):
        if not isinstance(settings, dict):
            continue
        for name, default in DEFAULTS.items():
            if settings.get(name, default) != default:
                elsewhere[name], settings[name] = settings[name], default
        for name in FILES:
            value = settings.get(name)
            if isinstance(value, str) and PurePath(value).name != value:
                elsewhere[name], settings[name] = value, PurePath(value).name
    return {**document, _ELSEWHERE: elsewhere} if elsewhere else document


def check_files(folder: Path, sealed: Sealed) -> None:
    """Raise ValueError, which names the file, where one that the document vouches for is not as it was written.

    A link out of the folder is not followed.
    """
    for name, expected in (sealed.files or {}).items():
        _check_file(folder, name, expected)


def _check_file(folder: Path, name: str, expected: str) -> None:
    require_inside(folder, name)
    try:
        found = sha256_of(folder / name)
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {error.strerror}") from None
    if found != expected:
        raise ValueError(f"{name} is not what was written: it has been changed since")


def _hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json_text(document).encode()).hexdigest()


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name
