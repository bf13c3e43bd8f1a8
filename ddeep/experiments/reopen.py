"""A finished run, opened again: its network and its images, as long as they are still those of the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..data.images import SPLITS
from ..errors import ConfigError, DataError
from ..files.downloads import nothing_fetched
from ..files.validation import first_problem
from .opening import open_subject, provenance_of
from .settings import RunConfig

if TYPE_CHECKING:
    from ..evidence.subject import Subject


def run_config(document: dict[str, Any], data_dir: Path | None = None, device: str | None = None) -> RunConfig:
    """The settings that made a run, with another ``data_dir`` or ``device`` where one is given."""
    settings = dict(document.get("config") or {})
    settings |= {name: value for name, value in (("data_dir", data_dir), ("device", device)) if value is not None}
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"The run's settings are not those of this ddeep: {first_problem(error)}.") from None


def reopen(document: dict[str, Any], data_dir: Path | None = None, device: str | None = None) -> Subject:
    """Open the dataset and the network of a run again; nothing is downloaded for it.

    ``data_dir`` may hold a copy of the images: what they hold counts, not where they lie or when they were written.
    Raises DdeepError where they are gone, and DataError where they are not those the run has seen.
    """
    config = run_config(document, data_dir, device)
    with nothing_fetched():
        subject = open_subject(config)
    check_same(document, subject)
    return subject


def check_same(document: dict[str, Any], subject: Subject) -> None:
    """Raise DataError where the network's weights or the images are not those the run has seen.

    Figures of two kinds of images must not stand side by side.
    """
    then, now = document.get("hashes") or {}, provenance_of(subject)["hashes"]
    changed = [part for part in ("weights", *SPLITS) if then.get(part) != now[part]]
    if changed:
        what = {"weights": "the network's weights"}.get(changed[0], f"the images of the {changed[0]} split")
        raise DataError(
            f"{what[0].upper()}{what[1:]} have changed since the run (model {document.get('model')!r}, dataset "
            f"{subject.dataset!r}). Bring the old ones back, or run it again."
        )
