"""A run in shards: each gathered by a command of its own, wherever the images are, and joined afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from pydantic import ValidationError
from torch import Tensor

from .. import console
from ..data.images import SPLITS, FileImages, Split
from ..data.pictures import PicturesInside
from ..data.pixel_cache import left_in_files
from ..errors import CacheError, ConfigError, DataError
from ..evidence.evidence import Evidence
from ..evidence.passes import Pass, Share, run_share
from ..evidence.resume import PartialPass
from ..evidence.shard_merge import join, join_to_shard
from ..evidence.shards import FILE, ShardFacts, read_facts, read_shards, reductions_of, write_facts, write_split
from ..files.atomic import written_whole
from ..files.downloads import nothing_fetched
from ..files.validation import first_problem
from .opening import open_left_in_files
from .reopen import recorded_settings
from .run import Plan, make_plan
from .settings import RunConfig

_Wanted = dict[Split, Int64[Tensor, " m"]]


def gather_shard(config: RunConfig, number: int, of: int, out: Path) -> None:
    """Run every ``of``-th batch of both splits, from batch ``number`` (0…of-1) on, and write the shard ``out``.

    Only images of those batches are read. Where there are fewer batches than shards, it holds no images of that split.
    """
    plan = _plan(config)
    wanted: _Wanted = {}
    for split in SPLITS:
        batches = torch.split(torch.arange(len(plan.subject.images[split])), config.batch_size)[number::of]
        wanted[split] = torch.cat([torch.zeros(0, dtype=torch.int64), *batches])
    _gather(plan, wanted, _facts(plan, config).model_copy(update={"numbers": [number], "of": of}), out)


def gather_files(config: RunConfig, out: Path, turn: int = 0, turns: int = 1) -> tuple[int, int]:
    """Write a shard into ``out`` for each of the files that hold images, tars for instance, but for those it has.

    Of several that share the work each takes every ``turns``-th file, from ``turn`` on. Returns how many it has
    gathered, and how many files there are. Raises ConfigError where images are files of their own, or ``out`` holds
    shards of another run.
    """
    plan = _plan(config)
    holders = _holders(plan)
    facts = _facts(plan, config).model_copy(update={"of": len(holders), "by": "files"})
    gathered = 0
    for number in range(turn, len(holders), turns):
        path, split, images = holders[number]
        folder = out / f"{number:0{len(str(len(holders)))}d}-{path.stem}"
        if _is_there(folder, facts.model_copy(update={"numbers": [number]})):
            continue
        none = torch.zeros(0, dtype=torch.int64)
        wanted: _Wanted = {one: images if one == split else none for one in SPLITS}
        console.note(f"{path} ({number + 1} of {len(holders)})")
        try:
            _gather(plan, wanted, facts.model_copy(update={"numbers": [number]}), folder)
        except CacheError:
            if not (folder / FILE).exists():  # else another command was first, and its shard is as good
                raise
        gathered += 1
    return gathered, len(holders)


def _plan(config: RunConfig) -> Plan:
    with left_in_files():
        return make_plan(config)


def _holders(plan: Plan) -> list[tuple[Path, Split, Int64[Tensor, " m"]]]:
    """The files that hold the images of both splits, and which."""
    found: list[tuple[Path, Split, Int64[Tensor, " m"]]] = []
    for split in SPLITS:
        images = plan.subject.images[split]
        if not isinstance(images, FileImages) or not isinstance(images.files, PicturesInside):
            raise ConfigError(
                f"--shard files is for images within larger files, such as tars (--dataset wds:…); those of "
                f"{plan.subject.dataset!r} are not. Give --shard I/N."
            )
        numbers = images.files.numbers()
        order = numbers.argsort(stable=True)
        counts = numbers.bincount(minlength=len(images.files.paths)).tolist()
        parts = zip(images.files.paths, torch.split(order, counts), strict=True)
        found += [(path, split, part) for path, part in parts if len(part)]
    return found


def _facts(plan: Plan, config: RunConfig) -> ShardFacts:
    subject, layer = plan.subject, plan.layer
    reductions = {split: reductions_of(plan.statistics[split]) for split in SPLITS}
    return ShardFacts(
        numbers=[0],
        of=1,
        config=config.model_dump(mode="json", exclude={"out"}),
        keys={split: subject.shard_key(split, layer, subject.images[split]) for split in SPLITS},
        filters=subject.filters(layer),
        reductions=None if None in reductions.values() else reductions,  # type: ignore[arg-type]
    )


def _is_there(folder: Path, facts: ShardFacts) -> bool:
    if not (folder / FILE).exists():
        return False
    found = read_facts(folder, whole=False)
    wanted = ShardFacts.model_validate(json.loads(facts.model_dump_json()))
    different = "numbers" if found.numbers != wanted.numbers else found.differs(wanted)
    if different is not None:
        raise ConfigError(f"{folder} is a shard of another run: its {different} differs. Choose another --out.")
    return True


def _gather(plan: Plan, wanted: _Wanted, facts: ShardFacts, out: Path) -> None:
    with written_whole(out) as folder:
        folder.mkdir()
        for split, images in wanted.items():
            _gather_split(plan, split, images, facts.filters, folder)
        write_facts(folder, facts)


def _gather_split(plan: Plan, split: Split, images: Int64[Tensor, " m"], filters: int, folder: Path) -> None:
    subject, layer = plan.subject, plan.layer
    # What responses give again is gathered when they are joined.
    statistics = [statistic for statistic in plan.statistics[split] if statistic.extras]
    in_files = isinstance(subject.images[split], FileImages)
    if not len(images):
        for statistic in statistics:
            statistic.start(len(subject.classes), filters, "cpu")
        rows, counts = torch.zeros(0, filters), torch.zeros(len(subject.classes), dtype=torch.int64)
        empty = Evidence(layer, split, counts, filters, {statistic: statistic for statistic in statistics}, rows)
        write_split(folder, split, images, empty, torch.zeros(0, 16, dtype=torch.uint8) if in_files else None)
        return
    share = Share(subject, Pass(split, {layer: statistics}, frozenset([layer])), only=images)
    with PartialPass(share.key()) as partial:
        evidence = run_share(share, partial)[layer]
        seen = share.seen.cpu()
        digests = share.images.contents.complete(seen)[seen] if isinstance(share.images, FileImages) else None
        assert evidence.responses is not None
        if not seen.all():  # some could not be read
            evidence.responses = evidence.responses[seen]
        write_split(folder, split, images[seen], evidence, digests)


def merge_shards(folders: Sequence[Path], data_dir: Path | None = None) -> RunConfig:
    """Join all shards of one run in the response cache; return the run's settings, to go on with.

    ``data_dir`` says where the data is here, if it is elsewhere than where the shards were gathered: a copy will do.
    """
    shards = read_shards(folders)
    where, first = shards.folders[0] / FILE, shards.first
    settings = recorded_settings(first.model_dump(include={"config", "elsewhere"}), data_dir)
    try:
        config = RunConfig.model_validate(settings)
    except ValidationError as error:
        raise DataError(f"{where} holds settings that are not valid: {first_problem(error)}.") from None
    with nothing_fetched():
        plan = make_plan(config)
        files = open_left_in_files(config, plan.subject)
    subject, layer = plan.subject, plan.layer
    if first.filters != subject.filters(layer):
        raise DataError(f"{where} is of {first.filters} filters; layer {layer.name!r} is not.")
    for split in SPLITS:
        here = json.loads(json.dumps(subject.shard_key(split, layer, files[split])))
        if first.keys.get(split) != here:
            raise DataError(
                f"The shards were gathered from another network, {split} split, layer or precision than is found here."
            )
        join(
            shards.folders,
            split,
            subject.entry(split, layer),
            layer,
            plan.statistics[split],
            images=files[split],
            classes=len(subject.classes),
            filters=first.filters,
        )
    return config


def merge_into_shard(folders: Sequence[Path], out: Path) -> tuple[int, int]:
    """Join some shards of one run to one shard ``out``; return of how many parts of how many it is.

    Neither the images nor the network are needed for it.
    """
    shards = read_shards(folders, all_of_them=False)
    with written_whole(out) as folder:
        folder.mkdir()
        join_to_shard(shards, folder)
    return len(shards.parts), shards.first.of
