"""Evidence in shards: folders on disk, each with a part of the evidence of one layer.

A shard holds ``shard.json``, and for each split its rows of the responses, and the states of the statistics that
responses cannot give again. ``shard.json`` vouches for all of them. See ``shard_merge`` for how they join.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float32, Int64, UInt8
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..data.images import SPLITS, Split
from ..errors import ConfigError, DataError
from ..files.atomic import map_array, new_rows
from ..files.regular import require_inside
from ..files.sealed import check_files, read_sealed, write_sealed
from ..files.tensors import write_tensors
from ..files.validation import first_problem
from ..statistics.statistic import Reduction, Statistic
from .evidence import Evidence

SCHEMA, _BEFORE = "ddeep.shard/2", "ddeep.shard/1"
FILE = "shard.json"
ROWS = 65536  # copied at once
_IMAGES, _DIGESTS, _STATE = "images", "digests", "state."
_SEEN = "seen"  # in shards of the schema before: a mask over all images


class ShardFacts(BaseModel):
    """``shard.json``: which parts of which run. There are ``of``: groups of batches, or the files that hold images.

    ``reductions`` says how the states join, by split and name; None where a statistic joins in a way of its own.
    """

    model_config = ConfigDict(strict=True)

    numbers: list[int] = Field(min_length=1)
    of: int = Field(ge=1)
    by: Literal["batches", "files"] = "batches"
    config: dict[str, Any]
    keys: dict[str, Any]
    filters: int = Field(ge=1)
    reductions: dict[str, dict[str, Reduction]] | None = None
    elsewhere: dict[str, Any] = Field(default_factory=dict)  # what ``files.sealed`` has taken out of ``config``

    def differs(self, other: ShardFacts) -> str | None:
        """In what it is of another run; None where it is of the same."""
        names = ("of", "by", "keys", "filters", "reductions")
        different = [name for name in names if getattr(self, name) != getattr(other, name)]
        if {**self.config, **self.elsewhere} != {**other.config, **other.elsewhere}:
            different.append("config")
        return different[0] if different else None


class ShardSplit(NamedTuple):
    """What a shard has of one split: which images, their responses, the hashes of their files, and states by name."""

    images: Int64[Tensor, " m"]
    responses: Float32[Tensor, "m k"]
    digests: UInt8[Tensor, "m 16"] | None
    states: dict[str, Tensor]


def states_of(statistics: Iterable[Statistic]) -> dict[str, Tensor]:
    """The states of those that read more than responses, by name."""
    return {f"{s!r}.{name}": tensor for s in statistics if s.extras for name, tensor in s.state().items()}


def reductions_of(statistics: Iterable[Statistic]) -> dict[str, Reduction] | None:
    """How their states join; None where one joins in a way of its own."""
    extra = [statistic for statistic in statistics if statistic.extras]
    if any(type(statistic).merge is not Statistic.merge for statistic in extra):
        return None
    return {f"{s!r}.{name}": reduction for s in extra for name, reduction in s.reductions().items()}


def write_split(
    folder: Path,
    split: Split,
    images: Int64[Tensor, " m"],
    evidence: Evidence,
    digests: UInt8[Tensor, "m 16"] | None,
) -> None:
    """Write what a shard has gathered of the ``images`` of one split, row for row. There may be none."""
    assert evidence.responses is not None
    responses = torch.split(evidence.responses, ROWS)
    write_parts(folder, split, images, responses, digests, states_of(evidence.statistics.values()), evidence.filters)


def write_parts(
    folder: Path,
    split: Split,
    images: Int64[Tensor, " m"],
    responses: Iterable[Float32[Tensor, "p k"]],
    digests: UInt8[Tensor, "m 16"] | None,
    states: dict[str, Tensor],
    filters: int,
) -> None:
    """The same of responses that come in parts."""
    mapped, start = new_rows(folder / f"{split}.npy", len(images), filters), 0
    for part in responses:
        mapped[start : start + len(part)] = part.numpy()
        start += len(part)
    mapped.flush()
    hashes = {_DIGESTS: digests} if digests is not None else {}
    named = {f"{_STATE}{name}": tensor for name, tensor in states.items()}
    write_tensors({_IMAGES: images, **hashes, **named}, folder / f"{split}.safetensors")


def read_split(folder: Path, split: Split) -> ShardSplit:
    """What ``write_split`` wrote; the responses are mapped. Raises DataError for damage."""
    try:
        tensors = load_file(folder / f"{split}.safetensors")
        responses = torch.from_numpy(map_array(folder / f"{split}.npy", "c"))
        if _SEEN in tensors:  # the schema before
            images = tensors.pop(_SEEN).nonzero()[:, 0]
            states = {name: tensor for name, tensor in tensors.items() if name != _DIGESTS}
        else:
            images = tensors.pop(_IMAGES)
            states = {name.removeprefix(_STATE): t for name, t in tensors.items() if name.startswith(_STATE)}
        digests = tensors.get(_DIGESTS)
        whole = images.dtype == torch.int64 and images.ndim == 1 and responses.dtype == torch.float32
        if not whole or responses.ndim != 2 or len(responses) != len(images):
            raise ValueError(f"it holds {len(responses)} rows for {len(images)} images")
        if digests is not None and (digests.dtype != torch.uint8 or digests.ndim != 2 or len(digests) != len(images)):
            raise ValueError(f"it holds {len(digests)} hashes for {len(images)} images")
    except (OSError, SafetensorError, LookupError, ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"The shard {folder} cannot be read ({error}). Gather it again.") from None
    return ShardSplit(images, responses, digests, states)


def write_facts(folder: Path, facts: ShardFacts) -> None:
    """Write ``shard.json`` beside both splits; it makes the folder a shard."""
    write_sealed(folder / FILE, {"schema": SCHEMA, **facts.model_dump(exclude={"elsewhere"})}, _files())


def _files() -> list[str]:
    return [f"{split}.{kind}" for split in SPLITS for kind in ("npy", "safetensors")]


def read_facts(folder: Path, *, whole: bool = True) -> ShardFacts:
    """``shard.json``. Raises DataError for what is none, and, if ``whole``, for files that are not as written."""
    try:
        sealed = read_sealed(folder / FILE)
        document = dict(sealed.document)
        found = document.get("schema")
        if found not in (SCHEMA, _BEFORE):
            raise ValueError(f"schema {str(found)[:60]!r}, expected {SCHEMA!r}")
        if found == _BEFORE:
            document["numbers"] = [document.pop("number", None)]
        facts = ShardFacts.model_validate(document)
        if not 0 <= min(facts.numbers) <= max(facts.numbers) < facts.of:
            raise ValueError(f"number {max(facts.numbers)} of {facts.of}")
        if len(set(facts.numbers)) < len(facts.numbers):
            raise ValueError("it has a part twice")
    except ValidationError as error:
        raise DataError(f"{folder} is not a shard: {first_problem(error)}.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a shard: {error}.") from None
    try:
        for name in (FILE, *_files()):
            require_inside(folder, name)
        if whole:
            check_files(folder, sealed)
    except ValueError as error:
        raise DataError(f"The shard {folder} is damaged: {error}. Copy it or gather it again.") from None
    return facts


@dataclass(frozen=True)
class Shards:
    """Shards of one run that share no part: of each no more than its folder is held. ``first`` are one's facts.

    ``parts`` says which folder has which of the run's parts.
    """

    folders: tuple[Path, ...]
    first: ShardFacts
    parts: dict[int, Path]

    def missing(self) -> int | None:
        """The first part that no shard has."""
        if len(self.parts) == self.first.of:
            return None
        return next(number for number in range(self.first.of) if number not in self.parts)


def read_shards(folders: Iterable[Path], *, all_of_them: bool = True) -> Shards:
    """Shards of one run, in any order; a folder of shards stands for those in it.

    Raises ConfigError where they are not of one run or share a part, or where one is missing of ``all_of_them``, and
    DataError for damage.
    """
    # Hashing takes a while: what does not belong together is told first.
    found, first, parts = list[Path](), None, dict[int, Path]()
    for folder in _expanded(folders):
        facts = read_facts(folder, whole=False)
        first = first or facts
        for number in facts.numbers:
            if number in parts:
                both = f"{folder} and {parts[number]} are both shard {number + 1} of {facts.of}"
                raise ConfigError(f"{both}. Give each once.")
            parts[number] = folder
        found.append(folder)
    assert first is not None
    shards = Shards(tuple(sorted(found, key=dict(zip(parts.values(), parts, strict=True)).__getitem__)), first, parts)
    missing = shards.missing()
    if all_of_them and missing is not None:
        raise ConfigError(f"Shard {missing + 1} of {first.of} is missing. Give all shards of the run.")
    for folder in shards.folders:
        different = read_facts(folder).differs(first)
        if different is not None:
            raise ConfigError(f"{folder} belongs to another run than {found[0]}: its {different} differs.")
    return shards


def _expanded(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        inside = [] if (folder / FILE).exists() else sorted(path.parent for path in folder.glob(f"*/{FILE}"))
        yield from inside or [folder]
