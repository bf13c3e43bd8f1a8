"""What a run's page holds for its script: one document, its long tables packed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..console import clean
from .cluster import alike_order
from .findings import Findings, Measured
from .mistakes import changes
from .names import names_key
from .packing import packed, scaled
from .pictures import Pictures, Shown, Tile
from .portraits import Found, Pair, Portraits, portraits
from .proof import losses
from .switching import Sample, sample, switch_document
from .verdict import examples

MANY_PAIRS = 300  # of classes and filters: beyond, each shows fewer images
FINE = 300_000  # entries of a table; larger ones take one byte an entry
MOST_ENTRIES = 1_500_000  # of mean responses beside what they contribute
OWN, NEAR = 6, 4


def page_data(found: Findings, seed: int) -> dict[str, Any]:
    """The document. Without images or network it holds the run's own results."""
    document: dict[str, Any] = {
        "key": names_key(found.document),
        "names": {str(j): name for j, name in found.names.items()},
        "classes": [clean(name) for name in found.classes],
        "filters": found.selection.num_filters,
        "layer": clean(found.document["layer"]),
        "stages": found.stages,
        "perClass": _per_class(found, seed),
        "examples": [[c, why] for c, why in examples(found)],
    }
    measured = found.measured
    if measured is None:
        return document
    pairs = sum(map(len, found.selection.filters))
    own, near = (OWN, NEAR) if pairs <= MANY_PAIRS else (3, 2)
    seen = portraits(found, measured, own, near)
    chosen = sample(found, measured)
    pictures = Pictures.of(measured)
    if pictures is not None:
        _ask_for_pictures(found, measured, pictures, seen, chosen)
    document["map"] = _map(measured, [portrait.filter for portrait in seen.filters])
    document["portraits"] = _portraits(seen, pictures)
    document["pairs"] = _pairs(found, seen, pictures)
    document["looked"] = seen.images
    document["trained"] = len(measured.train.cached_responses()[1])
    if chosen is not None:
        document["switch"] = switch_document(found, measured, chosen) | _told(measured, chosen)
        document["switch"]["images_at"] = _sample_pictures(chosen, pictures)
    if found.final in measured.predictions and found.final != "full":
        document["changes"] = changes(measured, found.final)
    if pictures is not None and pictures.images:
        document["pictures"] = pictures.document()
    return document


def _per_class(found: Findings, seed: int) -> list[dict[str, Any]]:
    lost = losses(found, seed)
    rows = []
    for c, row in enumerate(found.document["per_class"]):
        filters, scores = found.selection.filters[c], found.selection.scores[c]
        pair = lost.get(c)
        rows.append(
            {
                "images": row["images"],
                "accuracy": [row[stage] for stage in found.stages],
                "lost": found.drop(c) if found.final != "full" else None,
                "interval": None if pair is None else [-pair.high, -pair.low],
                "filters": list(filters),
                "scores": [float(f"{score:.6g}") for score in scores],
            }
        )
    return rows


def _map(measured: Measured, shown: list[int]) -> dict[str, Any]:
    """Tables of classes by filters, their columns those of ``shown``, and both orders that bring like to like."""
    means = measured.means[:, shown]
    levels = 32767 if means.numel() <= FINE else 127
    at_head = measured.contributions is not None
    tables = {} if at_head and means.numel() > MOST_ENTRIES else {"response": scaled(means, levels)}
    by = means
    if measured.contributions is not None and measured.knockout is not None:
        by = measured.contributions[:, shown]
        tables["contribution"] = scaled(by, levels)
        changed = measured.knockout[:, shown]
        kind = "i1" if int(changed.abs().max()) < 128 else "i2"
        tables["knockout"] = packed(changed, kind) | {"step": 1}  # type: ignore[arg-type]
        tables["magnitude"] = packed(measured.contributions.abs().sum(1).nan_to_num(), "f4")
    classes, filters = alike_order(by)
    return {"columns": shown, "tables": tables, "alike": {"classes": classes, "filters": filters}}


def _portraits(seen: Portraits, pictures: Pictures | None) -> list[dict[str, Any]]:
    return [
        {
            "filter": one.filter,
            "top": _shown(one.top, one.filter, pictures),
            "quantiles": [_shown(some, one.filter, pictures) for some in one.quantiles],
            "classes": one.classes[:12],
            "first": sum(count for _, count in one.classes),
            "alike": [[j, round(r, 3)] for j, r in one.alike],
            "range": [one.low, one.high],
            "silent": round(one.silent, 4),
        }
        for one in seen.filters
    ]


def _pairs(found: Findings, seen: Portraits, pictures: Pictures | None) -> dict[str, Any]:
    """For every class, in the order of its filters: its images, near misses, and where its densities stand."""
    rows: list[list[dict[str, Any] | None]] = []
    densities: list[Tensor] = []
    for c, filters in enumerate(found.selection.filters):
        row: list[dict[str, Any] | None] = []
        for j in filters:
            pair = seen.pairs.get((c, j))
            if pair is not None:
                own, near = _shown(pair.own, j, pictures), _shown(pair.near, j, pictures)
                row.append({"own": own, "near": near, "density": len(densities)})
                densities.append(_bytes(pair.density))
            else:
                row.append(None)
        rows.append(row)
    table = torch.stack(densities) if densities else torch.zeros(0, 2, 1)
    return {"rows": rows, "densities": packed(table, "u1")}


def _bytes(density: Tensor) -> Tensor:
    """Both curves from 0 to 255, each its own highest."""
    highest = density.amax(1, keepdim=True).clamp(min=1)
    return (255 * density.double() / highest).round()


def _shown(images: Found, j: int, pictures: Pictures | None) -> list[Any]:
    """Tiles by number; without pictures the images' numbers and responses."""
    pairs = list(zip(images.indices, images.responses, strict=True))
    if pictures is None:
        return [[index, float(f"{response:.4g}")] for index, response in pairs]
    tiles = [pictures.tile(Tile(Shown("train", index), j, response)) for index, response in pairs]
    return [number for number in tiles if number >= 0]


def _ask_for_pictures(
    found: Findings, measured: Measured, pictures: Pictures, seen: Portraits, chosen: Sample | None
) -> None:
    """Ask in the order of importance: what comes last may find no room."""
    best = [c for c, _ in examples(found)]
    for c in best:
        for tile in _tiles_of(seen.pairs, c, found.selection.filters[c][:1]):
            pictures.tile(tile)
    for tile in _first_images(found, seen.pairs):
        pictures.tile(tile)
    if chosen is not None:
        _ask_for_sample(found, measured, pictures, chosen)
    rest = [
        *((j, pair.own) for (_, j), pair in seen.pairs.items()),
        *((one.filter, one.top) for one in seen.filters),
        *((j, pair.near) for (_, j), pair in seen.pairs.items()),
        *((one.filter, some) for one in seen.filters for some in one.quantiles),
    ]
    for turn in range(OWN):
        for j, images in rest:
            if turn < len(images.indices):
                pictures.tile(Tile(Shown("train", images.indices[turn]), j, images.responses[turn]))


def _tiles_of(pairs: dict[tuple[int, int], Pair], c: int, filters: tuple[int, ...]) -> Iterator[Tile]:
    for j in filters:
        pair = pairs.get((c, j))
        for index, response in zip(pair.own.indices, pair.own.responses, strict=True) if pair is not None else ():
            yield Tile(Shown("train", index), j, response)


def _first_images(found: Findings, pairs: dict[tuple[int, int], Pair]) -> Iterator[Tile]:
    """Of every class the best image of its best filter, then of its second, and so on."""
    for rank in range(max(map(len, found.selection.filters), default=0)):
        for c, filters in enumerate(found.selection.filters):
            if rank < len(filters):
                yield from list(_tiles_of(pairs, c, filters[rank : rank + 1]))[:1]


def _ask_for_sample(found: Findings, measured: Measured, pictures: Pictures, chosen: Sample) -> None:
    """The sample's images, with the filters of the class each is called, and of its own (or of the runner-up)."""
    stage = found.final if found.final in measured.heads else "full"
    tuned = stage == "finetuned"
    responses = chosen.tuned if tuned and chosen.tuned is not None else chosen.responses
    logits = torch.nn.functional.linear(responses, *measured.heads[stage])
    ranked = logits.argsort(dim=1, descending=True, stable=True)[:, :2].tolist()
    for row, index in enumerate(chosen.indices.tolist()):
        shown = Shown("test", index)
        pictures.image(shown)
        own = int(measured.labels[index])
        classes = {ranked[row][0], own if own != ranked[row][0] else ranked[row][1]}
        for j in sorted({j for c in classes for j in found.selection.filters[c]}):
            pictures.tile(Tile(shown, j, float(responses[row, j]), tuned))


def _sample_pictures(chosen: Sample, pictures: Pictures | None) -> list[int]:
    if pictures is None:
        return []
    return [pictures.images.get(Shown("test", index), -1) for index in chosen.indices.tolist()]


def _told(measured: Measured, chosen: Sample) -> dict[str, Any]:
    """What each image of the sample was called, by stage."""
    return {"told": {stage: told[chosen.indices].tolist() for stage, told in measured.predictions.items()}}
