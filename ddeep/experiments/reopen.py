"""A finished run, opened again: its network and its images, as long as they are still those of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .. import console
from ..data.images import SPLITS
from ..errors import ConfigError, DataError
from ..files.downloads import nothing_fetched
from ..files.sealed import DEFAULTS, FILES
from ..files.validation import first_problem
from ..networks.weights import weights_hash
from .opening import open_subject, provenance_of
from .settings import RunConfig

if TYPE_CHECKING:
    from torch import nn

    from ..evidence.subject import Subject


def run_config(document: dict[str, Any], data_dir: Path | None = None, device: str | None = None) -> RunConfig:
    """The settings that made a run, with another ``data_dir`` or ``device`` where one is given."""
    settings = recorded_settings(document, data_dir)
    settings |= {} if device is None else {"device": device}
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"The run's settings are not those of this ddeep: {first_problem(error)}.") from None


def recorded_settings(document: Mapping[str, Any], data_dir: Path | None = None) -> dict[str, Any]:
    """The settings in the document of a folder, with another ``data_dir`` where one is given.

    Of a folder that somebody else has written (``files.sealed``) no place is looked into: its files are looked for by
    name in ``data_dir``, or in the default one, and a warning says so.
    """
    settings = dict(document.get("config") or {})
    elsewhere = document.get("elsewhere") or {}
    if data_dir is not None:
        settings["data_dir"] = str(data_dir)
    place = Path(str(settings.get("data_dir") or DEFAULTS["data_dir"]))
    settings.pop("execution", None)  # whoever reads a document says where to compute
    settings |= {name: str(place / str(settings[name])) for name in FILES if name in elsewhere}
    told = [f"{name} {str(value)[:200]!r}" for name, value in elsewhere.items()]
    if data_dir is not None and list(elsewhere) == ["data_dir"]:
        told = []
    if told:
        console.warn(
            f"This was written by somebody else or on another machine, so what it names is not followed: "
            f"{', '.join(told)}. Its data is looked for in {place}; --data-dir says where else it is."
        )
    return settings


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


def with_module(subject: Subject, module: nn.Module) -> Subject:
    """The same images for another module of the same architecture; its evidence is kept under its own weights' hash."""
    hashed = weights_hash(module.state_dict())
    network = replace(subject.network, module=module, weights_hash=hashed)
    return replace(subject, network=network, execution=None, elsewhere=None)
