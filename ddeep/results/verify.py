"""Whether what lies on disk is what was written: runs and all other results, shards and the cache.

Hashes are compared, and of a run those figures repeated that its own files give again: no image is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.contents import read_table
from ..data.pixel_cache import check_converted
from ..errors import DataError, DdeepError
from ..evidence.response_cache import check_entry
from ..evidence.shards import read_facts
from ..files.beside import put_back
from ..files.cache import MARKER, PARTS, entries_in
from ..files.index import check_index
from ..files.json import read_object
from ..files.paths import cache_root
from ..files.sealed import check_files, read_sealed
from ..networks.weights import read_state_dict
from ..selections.selection import Selection
from .run import RUN_SCHEMA, RUNNING, read_run

_CLOSE = 1e-6  # percent


@dataclass(frozen=True)
class Verdict:
    """What became of one thing: ``problem`` says what is wrong with it, ``sealed`` whether anything vouches for it."""

    path: Path
    kind: str
    problem: str | None = None
    sealed: bool = True


def verify(path: Path) -> Iterator[Verdict]:
    """Check a result's folder, a shard or a cache. Raises DataError where ``path`` is none of them."""
    if (path / MARKER).exists() or path.resolve() == cache_root().resolve():
        yield from _verify_cache(path)
        return
    for name, check in _CHECKS.items():
        if (path / name).exists():
            yield check(path)
            return
    raise DataError(f"{path} is neither a result of ddeep ({', '.join(_CHECKS)}) nor its cache. Give such a folder.")


def _verify_run(folder: Path) -> Verdict:
    try:
        sealed = read_sealed(folder / "run.json")
        schema = str(sealed.document.get("schema"))
        kind = "run" if schema == RUN_SCHEMA else "training"
        document = read_run(folder, RUN_SCHEMA if kind == "run" else "ddeep.train/1", unfinished=True)
        if kind == "run":
            repeat_figures(folder, document)
    except DdeepError as error:
        return Verdict(folder, "run", str(error))
    except (OSError, ValueError) as error:
        return Verdict(folder, "run", f"{folder / 'run.json'}: {error}")
    unfinished = ", not finished" if document.get("status") == RUNNING else ""
    return Verdict(folder, kind + unfinished, sealed=sealed.files is not None)


def repeat_figures(folder: Path, document: dict[str, Any]) -> None:
    """Work out again what a run's own files say twice. Raises DataError where they disagree."""
    rows = document["per_class"]
    selection = Selection.load(folder / "selection.json", num_classes=len(rows))
    if [list(row) for row in selection.filters] != list(document["selection"].values()):
        raise DataError(f"{folder}: selection.json holds other filters than run.json.")
    if [row["filters"] for row in rows] != list(document["selection"].values()):
        raise DataError(f"{folder / 'run.json'}: per_class holds other filters than selection.")
    if (folder / "metrics.json").exists():
        metrics = put_back({"metrics": read_object(folder / "metrics.json")}, folder / "run.json")
        if metrics["metrics"] != document["metrics"]:
            raise DataError(f"{folder}: metrics.json holds other figures than run.json.")
    for stage, percent in document["accuracy"].items():
        counted = [(row["images"], row[stage]) for row in rows if row["images"] and row.get(stage) is not None]
        images = sum(count for count, _ in counted)
        if percent is None or not images:
            continue
        mean = math.fsum(count * share for count, share in counted) / images
        if abs(mean - percent) > _CLOSE:
            raise DataError(
                f"{folder / 'run.json'}: the {stage} accuracy is {percent} %, but its classes give {mean:.6f} %."
            )
    if (folder / "model.safetensors").exists():
        _check_head(folder, str(document["head"]), selection)


def _check_head(folder: Path, head: str, selection: Selection) -> None:
    weight = read_state_dict(folder / "model.safetensors").get(f"{head}.weight")
    if weight is None or tuple(weight.shape) != tuple(selection.mask().shape):
        raise DataError(f"{folder / 'model.safetensors'} holds no head {head!r} for the run's classes and filters.")
    outside = int(((weight != 0) & ~selection.mask()).sum())
    if outside and not selection.absent:  # classes without images keep their dense rows
        raise DataError(f"{folder / 'model.safetensors'}: {outside} weights of its head are of filters not selected.")


def _verify_sealed(name: str, kind: str) -> Callable[[Path], Verdict]:
    def check(folder: Path) -> Verdict:
        try:
            sealed = read_sealed(folder / name)
            check_files(folder, sealed)
        except (OSError, ValueError) as error:
            return Verdict(folder, kind, f"{folder / name}: {error}")
        return Verdict(folder, kind, sealed=sealed.files is not None)

    return check


def _verify_shard(folder: Path) -> Verdict:
    try:
        read_facts(folder)
    except DdeepError as error:
        return Verdict(folder, "shard", str(error))
    return Verdict(folder, "shard", sealed=read_sealed(folder / "shard.json").files is not None)


def _verify_cache(root: Path) -> Iterator[Verdict]:
    checks = {
        "responses": check_entry,
        "datasets": check_converted,
        "contents": read_table,
        "indexes": check_index,
    }
    for part, check in checks.items():
        for path in entries_in(root / part, PARTS[part]):
            try:
                check(path)
            except (OSError, ValueError, LookupError, TypeError, json.JSONDecodeError) as error:
                yield Verdict(path, f"cache, {part}", f"{path}: {error}. It will be made again when it is needed.")
            else:
                yield Verdict(path, f"cache, {part}")


# By the document that makes a folder what it is.
_CHECKS: dict[str, Callable[[Path], Verdict]] = {
    "run.json": _verify_run,
    "comparison.json": _verify_sealed("comparison.json", "comparison"),
    "measurement.json": _verify_sealed("measurement.json", "measurement"),
    "shard.json": _verify_shard,
    **{f"{kind}.json": _verify_sealed(f"{kind}.json", kind) for kind in ("export", "cut", "forget", "modules")},
}
