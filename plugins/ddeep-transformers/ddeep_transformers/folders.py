"""Where a classifier's files are: a folder, or a copy of one that the hub keeps."""

from __future__ import annotations

from pathlib import Path

from ddeep.plugin import DownloadError, WeightsError, hub_folder, hub_names, is_hub_name

_NEEDED = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]


def names() -> list[str]:
    """The hub's repositories that are in this machine's cache and look like an image classifier."""
    return hub_names("preprocessor_config.json")


def find(member: str) -> Path:
    """The folder that ``member`` is, or the hub's repository of that name.

    Raises LookupError for what can be neither, and WeightsError for a repository that cannot be had.
    """
    folder = Path(member).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_name(member):
        raise LookupError(member)
    try:
        return hub_folder(member, _NEEDED)
    except DownloadError as error:
        raise WeightsError(f"There is no folder {member}. {error}") from error
