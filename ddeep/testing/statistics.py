"""What statistics promise: value equality, mergeability, a state that can be saved, and a known size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import torch

from ..statistics.batch import ResponseBatch
from ..statistics.statistic import Statistic
from .contract import broken_unless

_CLASSES, _FILTERS, _IMAGES = 3, 5, 32


def check_statistics(make: Callable[[], Iterable[Statistic]]) -> None:
    """Check what ``make`` (a spec's ``needs``) returns, calling it twice."""
    once, again = list(make()), list(make())
    for statistic in once:
        name = type(statistic).__name__
        broken_unless(
            isinstance(statistic, Statistic),
            f"`needs` returned a {name}",
            "return objects of subclasses of ddeep.statistics.statistic.Statistic",
        )
    broken_unless(
        once == again and [hash(s) for s in once] == [hash(s) for s in again],
        f"Two calls of `needs` returned {once} and {again}, which are not equal",
        "make each statistic a @dataclass(unsafe_hash=True) whose fields other than its parameters are accumulator()",
    )
    for statistic in once:
        if not statistic.after():
            _check_one(statistic)


def _check_one(statistic: Statistic) -> None:
    name = type(statistic).__name__
    _check_looks(statistic)
    whole, first, second = (_gathered(statistic, *rows) for rows in ((0, 32), (0, 20), (20, 32)))
    first.merge(second)
    broken_unless(
        _same(whole, first),
        f"{name} gathered over two parts of the images and merged differs from the whole",
        "let `update` only add to the accumulators, or take their minimum or maximum, as accumulator(reduction) says",
    )
    loaded = _empty(statistic)
    loaded.load_state(whole.state())
    broken_unless(
        _same(whole, loaded),
        f"{name} saved by `state` and loaded by `load_state` differs",
        "make every tensor that `update` changes an accumulator() field",
    )
    planned = statistic.nbytes(_CLASSES, _FILTERS)
    taken = sum(tensor.nbytes for tensor in whole.state().values())
    broken_unless(
        planned == taken,
        f"{name} takes {taken} bytes after some images, but {planned} when it starts",
        "let `start` allocate all that `update` fills, by C, K and its own parameters: so memory is refused in time",
    )


def _check_looks(statistic: Statistic) -> None:
    maps = torch.rand(_IMAGES, _FILTERS, 9, generator=torch.Generator().manual_seed(1))
    for look in statistic.extras:
        if isinstance(look, str):
            continue
        whole, parts = look(maps.clone()), [look(part.clone()) for part in torch.split(maps, 20)]
        broken_unless(
            len(whole) == _IMAGES and torch.allclose(whole, torch.cat(parts), rtol=1e-6),
            f"What {look.__name__} makes of {_IMAGES} images' maps is {tuple(whole.shape)}, or depends on their batch",
            "return one row for each image (N, …), made of its own maps alone",
        )


def _gathered(like: Statistic, start: int, stop: int) -> Any:
    statistic = _empty(like)
    statistic.update(_rows(like, start, stop))
    return statistic


def _empty(like: Statistic) -> Any:
    made = type(like)(**{f.name: getattr(like, f.name) for f in fields(like) if f.init})  # type: ignore[arg-type]
    made.start(_CLASSES, _FILTERS, "cpu")
    return made


def _rows(like: Statistic, start: int, stop: int) -> ResponseBatch:
    random = torch.Generator().manual_seed(0)
    part = slice(start, stop)
    maps = torch.rand(_IMAGES, _FILTERS, 9, generator=torch.Generator().manual_seed(1))[part]
    return ResponseBatch(
        responses=torch.rand(_IMAGES, _FILTERS, generator=random)[part],
        labels=(torch.arange(_IMAGES) % _CLASSES)[part],
        indices=torch.arange(_IMAGES)[part],
        zeros=torch.rand(_IMAGES, _FILTERS, generator=random)[part],
        gradient_activation=torch.randn(_IMAGES, _FILTERS, generator=random)[part],
        logits=torch.randn(_IMAGES, _CLASSES, generator=random)[part],
        looked={look: look(maps) for look in like.extras if not isinstance(look, str)},
    )


def _same(one: Statistic, other: Statistic) -> bool:
    mine, theirs = one.state(), other.state()
    return mine.keys() == theirs.keys() and all(
        torch.allclose(mine[name].double(), theirs[name].double(), rtol=1e-9, atol=0, equal_nan=True) for name in mine
    )
