"""Evidence in shards: each gathered by a command of its own, wherever the images are, and joined afterwards.

A shard is a folder: ``shard.json``, and for each split the states of its statistics and its rows of the responses.
Joining fills the response cache, so that a run then finds everything there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..data.images import SPLITS, Split
from ..errors import ConfigError, DataError
from ..evidence.evidence import Evidence
from ..evidence.passes import Pass, Share, run_share
from ..evidence.resume import PartialPass
from ..files.atomic import map_array, new_rows, written_whole
from ..files.json import read_object, write_json
from ..files.tensors import write_tensors
from ..files.validation import first_problem
from ..statistics.statistic import Statistic
from .run import Plan, make_plan
from .settings import RunConfig

SCHEMA = "ddeep.shard/1"
_SEEN = "seen"


class ShardFacts(BaseModel):
    """``shard.json``: which part of which run."""

    model_config = ConfigDict(strict=True)

    number: int = Field(ge=0)
    of: int = Field(ge=1)
    config: dict[str, Any]
    keys: dict[str, Any]
    filters: int = Field(ge=1)


def gather_shard(config: RunConfig, number: int, of: int, out: Path) -> None:
    """Run every ``of``-th batch of both splits, from batch ``number`` (0…of-1) on, and write the shard ``out``."""
    plan = make_plan(config)
    about = {
        "schema": SCHEMA,
        "number": number,
        "of": of,
        "config": config.model_dump(mode="json", exclude={"out"}),
        "keys": {split: plan.subject.entry(split, plan.layer).key for split in SPLITS},
        "filters": 0,
    }
    with written_whole(out) as folder:
        folder.mkdir()
        for split in SPLITS:
            share = Share(plan.subject, _pass(plan, split), number, of)
            with PartialPass(share.key()) as partial:
                evidence = run_share(share, partial).get(plan.layer)
                if evidence is None:
                    raise ConfigError(f"Shard {number + 1} of {of} has no images: make fewer shards.")
                _write(folder, split, share, evidence)
                about["filters"] = evidence.filters
        write_json(folder / "shard.json", about)


def merge_shards(folders: Sequence[Path], data_dir: Path | None = None) -> RunConfig:
    """Join all shards of one run in the response cache; return the run's settings, to go on with.

    ``data_dir`` says where the data is here, if it is elsewhere than where the shards were gathered.
    """
    shards = _check(list(folders))
    first = shards[0][1]
    settings = {**first.config, **({} if data_dir is None else {"data_dir": str(data_dir)})}
    try:
        config = RunConfig.model_validate(settings)
    except ValidationError as error:
        where = shards[0][0] / "shard.json"
        raise DataError(f"{where} holds settings that are not valid: {first_problem(error)}.") from None
    plan = make_plan(config)
    if first.filters != plan.subject.filters(plan.layer):
        raise DataError(
            f"{shards[0][0] / 'shard.json'} is of {first.filters} filters; layer {plan.layer.name!r} is not."
        )
    for split in SPLITS:
        if first.keys.get(split) != json.loads(json.dumps(plan.subject.entry(split, plan.layer).key)):
            raise DataError(
                f"The shards were gathered from another network, {split} split, layer or precision than is found here."
            )
        _join(plan, split, [folder for folder, _ in shards], first.filters)
    return config


def _pass(plan: Plan, split: Split) -> Pass:
    return Pass(split, {plan.layer: plan.statistics[split]}, frozenset([plan.layer]))


def _write(folder: Path, split: Split, share: Share, evidence: Evidence) -> None:
    seen = share.seen.cpu()
    rows = seen.nonzero()[:, 0]
    assert evidence.responses is not None
    mapped = new_rows(folder / f"{split}.npy", len(rows), evidence.filters)
    for start in range(0, len(rows), 65536):
        part = slice(start, start + 65536)
        mapped[part] = evidence.responses[rows[part]].numpy()
    mapped.flush()
    write_tensors({_SEEN: seen, **_states(list(evidence.statistics.values()))}, folder / f"{split}.safetensors")


def _states(statistics: Sequence[Statistic]) -> dict[str, Tensor]:
    return {f"{s!r}.{name}": tensor for s in statistics for name, tensor in s.state().items()}


def _join(plan: Plan, split: Split, folders: list[Path], filters: int) -> None:
    """Put the joined responses, and the states that responses cannot give again, into the cache."""
    entry = plan.subject.entry(split, plan.layer)
    images = len(plan.subject.images[split])
    seen = torch.zeros(images, dtype=torch.bool)
    extra = [statistic for statistic in plan.statistics[split] if statistic.extras]
    for statistic in extra:
        statistic.start(len(plan.subject.classes), filters, "cpu")
    with PartialPass({"joined": entry.key}) as partial:
        rows = partial.rows(plan.layer, images, filters)
        for folder in folders:
            try:
                tensors = load_file(folder / f"{split}.safetensors")
                responses = map_array(folder / f"{split}.npy", "r")
                mine = tensors[_SEEN]
                if (seen & mine).any():
                    raise DataError(f"{folder}: {int((seen & mine).sum())} images are in another shard, too.")
                rows[mine] = torch.from_numpy(np.array(responses))
                for statistic in extra:
                    other = statistic.twin()
                    other.load_state({name: tensors[f"{statistic!r}.{name}"] for name in statistic.reductions()})
                    statistic.merge(other)
            except (OSError, SafetensorError, LookupError, ValueError, RuntimeError, TypeError) as error:
                raise DataError(f"The shard {folder} cannot be read ({error}). Gather it again.") from None
            seen |= mine
        if not seen.all():
            raise DataError(
                f"{int((~seen).sum())} images of the {split} split are in no shard. Gather the shards again."
            )
        partial.flush()
        entry.adopt(partial.path(plan.layer))
    for statistic in extra:
        entry.save(statistic, filters)


def _check(folders: list[Path]) -> list[tuple[Path, ShardFacts]]:
    """Every shard once, in order, all of one run."""
    found: dict[int, tuple[Path, ShardFacts]] = {}
    for folder in folders:
        about = _read_facts(folder)
        if about.number in found:
            other = found[about.number][0]
            raise ConfigError(f"{folder} and {other} are both shard {about.number + 1} of {about.of}. Give each once.")
        found[about.number] = (folder, about)
    shards = [found[number] for number in sorted(found)]
    first = shards[0][1]
    if len(shards) < first.of:
        missing = next(number for number in range(first.of) if number not in found)
        raise ConfigError(f"Shard {missing + 1} of {first.of} is missing. Give all shards of the run.")
    for folder, about in shards:
        different = [
            name for name in ("of", "config", "keys", "filters") if getattr(about, name) != getattr(first, name)
        ]
        if different:
            raise ConfigError(f"{folder} belongs to another run than {shards[0][0]}: its {different[0]} differs.")
    return shards


def _read_facts(folder: Path) -> ShardFacts:
    try:
        document = read_object(folder / "shard.json")
        if document.get("schema") != SCHEMA:
            raise ValueError(f"schema {str(document.get('schema'))[:60]!r}, expected {SCHEMA!r}")
        about = ShardFacts.model_validate(document)
        if about.number >= about.of:
            raise ValueError(f"number {about.number} of {about.of}")
    except ValidationError as error:
        raise DataError(f"{folder} is not a shard: {first_problem(error)}.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a shard: {error}.") from None
    return about
