"""A run in shards: each gathered by a command of its own, wherever the images are, and joined afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ..data.images import SPLITS, FileImages
from ..errors import DataError
from ..evidence.passes import Pass, Share, run_share
from ..evidence.resume import PartialPass
from ..evidence.shards import ShardFacts, join, read_shards, write_facts, write_split
from ..files.atomic import written_whole
from ..files.downloads import nothing_fetched
from ..files.validation import first_problem
from .reopen import recorded_settings
from .run import make_plan
from .settings import RunConfig


def gather_shard(config: RunConfig, number: int, of: int, out: Path) -> None:
    """Run every ``of``-th batch of both splits, from batch ``number`` (0…of-1) on, and write the shard ``out``.

    Where there are fewer batches than shards, it holds no images of that split.
    """
    plan = make_plan(config)
    subject, layer = plan.subject, plan.layer
    facts = ShardFacts(
        number=number,
        of=of,
        config=config.model_dump(mode="json", exclude={"out"}),
        keys={split: subject.shard_key(split, layer) for split in SPLITS},
        filters=subject.filters(layer),
    )
    with written_whole(out) as folder:
        folder.mkdir()
        for split in SPLITS:
            wanted = Pass(split, {layer: plan.statistics[split]}, frozenset([layer]))
            share = Share(subject, wanted, number, of)
            with PartialPass(share.key()) as partial:
                evidence = run_share(share, partial)[layer]
                images, seen = subject.images[split], share.seen.cpu()
                digests = images.contents.complete(seen) if isinstance(images, FileImages) else None
                write_split(folder, split, seen, evidence, digests)
        write_facts(folder, facts)


def merge_shards(folders: Sequence[Path], data_dir: Path | None = None) -> RunConfig:
    """Join all shards of one run in the response cache; return the run's settings, to go on with.

    ``data_dir`` says where the data is here, if it is elsewhere than where the shards were gathered: a copy will do.
    """
    shards = read_shards(folders)
    where, first = shards[0][0] / "shard.json", shards[0][1]
    settings = recorded_settings(first.model_dump(include={"config", "elsewhere"}), data_dir)
    try:
        config = RunConfig.model_validate(settings)
    except ValidationError as error:
        raise DataError(f"{where} holds settings that are not valid: {first_problem(error)}.") from None
    with nothing_fetched():
        plan = make_plan(config)
    subject, layer = plan.subject, plan.layer
    if first.filters != subject.filters(layer):
        raise DataError(f"{where} is of {first.filters} filters; layer {layer.name!r} is not.")
    for split in SPLITS:
        here = json.loads(json.dumps(subject.shard_key(split, layer)))
        if first.keys.get(split) != here:
            raise DataError(
                f"The shards were gathered from another network, {split} split, layer or precision than is found here."
            )
        join(
            [folder for folder, _ in shards],
            split,
            subject.entry(split, layer),
            layer,
            plan.statistics[split],
            images=subject.images[split],
            classes=len(subject.classes),
            filters=first.filters,
        )
    return config
