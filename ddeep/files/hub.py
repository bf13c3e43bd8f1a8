"""Repositories of the Hugging Face hub: as its own cache on this machine has them, else fetched by its own client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..console import note
from .downloads import DownloadError, offline

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(name: str) -> bool:
    """Whether ``name`` has the form ``owner/name``."""
    return _NAME.fullmatch(name) is not None


def hub_folder(name: str, patterns: Sequence[str]) -> Path:
    """A folder with the files of the repository ``name`` (``owner/name``) that match ``patterns``; no other is fetched.

    Raises DownloadError where the cache has none and it cannot, or must not, be fetched.
    """
    try:
        return _snapshot(name, patterns, fetch=False)
    except OSError:  # it is not there
        pass
    where = f"https://huggingface.co/{name}"
    if offline():
        raise DownloadError(
            f"The hub's cache on this machine (HF_HOME) has no {name}, and it is not fetched: downloads are forbidden "
            "(--offline, DDEEP_OFFLINE), or a file names it and no command of yours."
        )
    note(f"Fetching {name} from {where}.")
    try:
        return _snapshot(name, patterns, fetch=True)
    except Exception as error:  # of the hub's client, or of the network
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DownloadError(
            f"{name} cannot be had from {where}: {reason}. Where there is a network, run `hf download {name}` and "
            "bring its folder here."
        ) from error


def _snapshot(name: str, patterns: Sequence[str], *, fetch: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, cache_dir=_cache(), allow_patterns=list(patterns), local_files_only=not fetch))


def hub_names(file: str) -> list[str]:
    """The repositories in the hub's cache that hold ``file``, sorted."""
    found = Path(_cache()).glob(f"models--*--*/snapshots/*/{file}")
    return sorted({path.parents[2].name.removeprefix("models--").replace("--", "/", 1) for path in found})


def _cache() -> str:
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE
