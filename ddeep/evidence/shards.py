"""Evidence in shards: folders on disk, each with a part of the evidence of one layer, and how they join.

A shard holds ``shard.json``, and for each split its rows of the responses and the states of its statistics.
``shard.json`` vouches for all of them. Joined, they fill the response cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..data.images import SPLITS, FileImages, Images, Split
from ..errors import ConfigError, DataError
from ..files.atomic import map_array, new_rows
from ..files.regular import require_inside
from ..files.sealed import check_files, read_sealed, write_sealed
from ..files.tensors import write_tensors
from ..files.validation import first_problem
from ..networks.layer import Layer
from ..statistics.statistic import Statistic
from .evidence import Evidence
from .response_cache import CacheEntry
from .resume import PartialPass

SCHEMA = "ddeep.shard/1"
_FILE = "shard.json"
_SEEN, _DIGESTS = "seen", "digests"
_ROWS = 65536  # copied at once


class ShardFacts(BaseModel):
    """``shard.json``: which part of which run."""

    model_config = ConfigDict(strict=True)

    number: int = Field(ge=0)
    of: int = Field(ge=1)
    config: dict[str, Any]
    keys: dict[str, Any]
    filters: int = Field(ge=1)
    elsewhere: dict[str, Any] = Field(default_factory=dict)  # what ``files.sealed`` has taken out of ``config``


def write_split(
    folder: Path, split: Split, seen: Bool[Tensor, " n"], evidence: Evidence, digests: UInt8[Tensor, "n 16"] | None
) -> None:
    """Write what a shard has gathered of one split; ``seen`` says which of its images. There may be none.

    ``digests`` are the hashes of the split's files, of which the shard keeps its own.
    """
    rows = seen.nonzero()[:, 0]
    assert evidence.responses is not None
    mapped = new_rows(folder / f"{split}.npy", len(rows), evidence.filters)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        mapped[part] = evidence.responses[rows[part]].numpy()
    mapped.flush()
    states = {f"{s!r}.{name}": tensor for s in evidence.statistics.values() for name, tensor in s.state().items()}
    hashes = {_DIGESTS: digests[rows]} if digests is not None else {}
    write_tensors({_SEEN: seen, **hashes, **states}, folder / f"{split}.safetensors")


def write_facts(folder: Path, facts: ShardFacts) -> None:
    """Write ``shard.json`` beside both splits; it makes the folder a shard."""
    files = [f"{split}.{kind}" for split in SPLITS for kind in ("npy", "safetensors")]
    write_sealed(folder / _FILE, {"schema": SCHEMA, **facts.model_dump(exclude={"elsewhere"})}, files)


def read_facts(folder: Path, *, whole: bool = True) -> ShardFacts:
    """``shard.json``. Raises DataError for what is none, and, if ``whole``, for files that are not as written."""
    try:
        sealed = read_sealed(folder / _FILE)
        found = sealed.document.get("schema")
        if found != SCHEMA:
            raise ValueError(f"schema {str(found)[:60]!r}, expected {SCHEMA!r}")
        facts = ShardFacts.model_validate(sealed.document)
        if facts.number >= facts.of:
            raise ValueError(f"number {facts.number} of {facts.of}")
    except ValidationError as error:
        raise DataError(f"{folder} is not a shard: {first_problem(error)}.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a shard: {error}.") from None
    try:
        for name in (_FILE, *(f"{split}.{kind}" for split in SPLITS for kind in ("npy", "safetensors"))):
            require_inside(folder, name)
        if whole:
            check_files(folder, sealed)
    except ValueError as error:
        raise DataError(f"The shard {folder} is damaged: {error}. Copy it or gather it again.") from None
    return facts


def read_shards(folders: Iterable[Path]) -> list[tuple[Path, ShardFacts]]:
    """Every shard once, in order, all of one run. Raises ConfigError where they are not, DataError for damage."""
    found: dict[int, tuple[Path, ShardFacts]] = {}
    for folder in folders:
        about = read_facts(folder, whole=False)  # hashing takes a while: what does not belong together is told first
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
        different = [name for name in ("of", "keys", "filters") if getattr(about, name) != getattr(first, name)]
        if {**about.config, **about.elsewhere} != {**first.config, **first.elsewhere}:
            different.append("config")
        if different:
            raise ConfigError(f"{folder} belongs to another run than {shards[0][0]}: its {different[0]} differs.")
    for folder, _ in shards:
        read_facts(folder)
    return shards


def join(
    folders: Sequence[Path],
    split: Split,
    entry: CacheEntry,
    layer: Layer,
    statistics: Sequence[Statistic],
    *,
    images: Images,
    classes: int,
    filters: int,
) -> None:
    """Put the joined responses, and the states that responses cannot give again, into the cache.

    Raises DataError where a shard does not fit, an image is in none or in two, or is another one than here.
    """
    seen = torch.zeros(len(images), dtype=torch.bool)
    extra = [statistic for statistic in statistics if statistic.extras]
    for statistic in extra:
        statistic.start(classes, filters, "cpu")
    with PartialPass({"joined": entry.key}) as partial:
        rows = partial.rows(layer, len(images), filters)
        for folder in folders:
            try:
                tensors = load_file(folder / f"{split}.safetensors")
                responses = map_array(folder / f"{split}.npy", "r")
                mine = tensors[_SEEN]
                if (seen & mine).any():
                    raise DataError(f"{folder}: {int((seen & mine).sum())} images are in another shard, too.")
                if isinstance(images, FileImages):
                    _same_files(folder, split, images, mine, tensors[_DIGESTS])
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
        entry.adopt(partial.path(layer))
    for statistic in extra:
        entry.save(statistic, filters)


def _same_files(
    folder: Path, split: Split, images: FileImages, mine: Bool[Tensor, " n"], digests: UInt8[Tensor, "m 16"]
) -> None:
    """DataError where the shard's files held something else than those found here."""
    own = images.contents.complete()[mine]
    if digests.shape != own.shape:
        raise ValueError(f"it holds {len(digests)} hashes for {len(own)} images")
    other = (digests != own).any(1)
    if other.any():
        first = images.files[int(mine.nonzero()[other][0, 0])]
        raise DataError(
            f"{folder} was gathered from another {split} split than is found here: {int(other.sum())} of its images "
            f"differ, such as {str(first)!r}. Merge where the same images are (--data-dir), or gather it again."
        )
