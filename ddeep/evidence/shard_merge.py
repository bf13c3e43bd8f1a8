"""How shards join: into the response cache, or some of them into one shard. One is open at a time, read in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from ..data.images import SPLITS, FileImages, Images, Split
from ..errors import ConfigError, DataError
from ..networks.layer import Layer
from ..statistics.statistic import Reduction, Statistic
from .response_cache import CacheEntry
from .resume import PartialPass
from .shards import ROWS, Shards, ShardSplit, read_split, write_facts, write_parts

_COMBINE: dict[Reduction, Callable[[Tensor, Tensor], Tensor]]
_COMBINE = {"sum": torch.add, "min": torch.minimum, "max": torch.maximum}


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
            _add(folder, read_split(folder, split), rows, seen, extra, images)
        if not seen.all():
            raise DataError(
                f"{int((~seen).sum())} images of the {split} split are in no shard. Gather the shards again."
            )
        partial.flush()
        entry.adopt(partial.path(layer))
    for statistic in extra:
        entry.save(statistic, filters)


def _add(
    folder: Path,
    shard: ShardSplit,
    rows: Float32[Tensor, "n k"],
    seen: Bool[Tensor, " n"],
    extra: Sequence[Statistic],
    images: Images,
) -> None:
    try:
        if len(shard.images) and not 0 <= int(shard.images.min()) <= int(shard.images.max()) < len(seen):
            raise ValueError(f"it has images beyond the {len(seen)} there are")
        if again := int(seen[shard.images].sum()):
            raise DataError(f"{folder}: {again} images are in another shard, too.")
        seen[shard.images] = True
        if _number_of_different(shard.images) < len(shard.images):
            raise ValueError("it has an image twice")
        if isinstance(images, FileImages):
            _same_files(folder, images, shard)
        for at, part in zip(torch.split(shard.images, ROWS), torch.split(shard.responses, ROWS), strict=True):
            rows[at] = part
        for statistic in extra:
            other = statistic.twin()
            other.load_state({name: shard.states[f"{statistic!r}.{name}"] for name in statistic.reductions()})
            statistic.merge(other)
    except (LookupError, ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"The shard {folder} cannot be read ({error}). Gather it again.") from None


def _same_files(folder: Path, images: FileImages, shard: ShardSplit) -> None:
    """DataError where the shard's files held something else than those found here."""
    own = images.contents.complete()[shard.images]
    if shard.digests is None or shard.digests.shape != own.shape:
        raise ValueError(f"it holds no hashes of its {len(own)} images")
    other = (shard.digests != own).any(1)
    if other.any():
        first = images.files[int(shard.images[other][0])]
        raise DataError(
            f"{folder} was gathered from other images than are found here: {int(other.sum())} of its images "
            f"differ, such as {str(first)!r}. Merge where the same images are (--data-dir), or gather it again."
        )


def join_to_shard(shards: Shards, out: Path) -> None:
    """Write the folder ``out``, one shard that holds what all of ``shards`` hold.

    Raises ConfigError where a statistic joins in a way of its own, and DataError for damage or an image given twice.
    """
    if shards.first.reductions is None:
        raise ConfigError(
            "These shards hold a statistic that joins in a way of its own, or are of an older ddeep: merge all at once."
        )
    for split in SPLITS:
        _write_joined(shards, split, out)
    write_facts(out, shards.first.model_copy(update={"numbers": sorted(shards.parts)}))


def _write_joined(shards: Shards, split: Split, out: Path) -> None:
    images, digests, states = list[Tensor](), list[Tensor](), dict[str, Tensor]()
    assert shards.first.reductions is not None
    reductions = shards.first.reductions[split]
    for folder in shards.folders:
        shard = read_split(folder, split)
        images.append(shard.images)
        digests += [] if shard.digests is None else [shard.digests]
        if shard.states.keys() != reductions.keys():
            raise DataError(f"The shard {folder} has other states than it says. Gather it again.")
        for name, state in shard.states.items():
            states[name] = _COMBINE[reductions[name]](states[name], state) if name in states else state
        del shard
    joined = torch.cat(images)
    if _number_of_different(joined) < len(joined):
        raise DataError(f"An image of the {split} split is in two of the shards. Gather them again.")
    hashes = torch.cat(digests) if digests else None
    write_parts(out, split, joined, _rows(shards, split), hashes, states, shards.first.filters)


def _number_of_different(images: Int64[Tensor, " m"]) -> int:
    return 0 if not len(images) else 1 + int((images.sort().values.diff() > 0).sum())


def _rows(shards: Shards, split: Split) -> Iterator[Float32[Tensor, "p k"]]:
    for folder in shards.folders:
        yield from torch.split(read_split(folder, split).responses, ROWS)
