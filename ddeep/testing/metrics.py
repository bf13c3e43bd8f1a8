"""What metrics promise."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..evidence.context import Context
from ..registry.specs import MetricSpec, resolve
from ..selections.measure import SplitEvidence, measure, needed
from ..selections.selection import Selection
from ..statistics.statistic import Statistic
from .contract import Promise, broken_unless
from .statistics import check_statistics
from .toys import CLASSES, COMMON, FILTERS, Toy, make_toy

_NAMES = [2, 0, 3, 1]


_K = 2  # filters of a class in the selection where they all have as many


def _gathered(
    spec: MetricSpec, train: Toy, test: Toy, more: Collection[Statistic] = (), size: int = 16
) -> SplitEvidence:
    """What the metric declares of both splits, and ``more``."""
    of_train, of_test = (needed([spec], split, [_K]) for split in ("train", "test"))
    return SplitEvidence(train.evidence([*of_train, *more], size), test.evidence([*of_test, *more], size))


def _measure(spec: MetricSpec, train: Toy, test: Toy, selection: Selection | None, size: int = 16) -> Any:
    evidence = _gathered(spec, train, test, size=size)
    (figure,) = measure([spec], evidence, selection, train.context(test)).values()
    return figure


def _toys(absent: int = 0) -> tuple[Toy, Toy]:
    train = make_toy(absent=absent)
    test = make_toy(absent=absent, seed=1)
    return train, Toy(train.module, test.images, test.labels)


def _selection(names: list[int] | None = None, absent: int = 0) -> Selection:
    """Two or three filters for each class, class c being called ``names[c]``; none for absent classes."""
    rows: list[list[int]] = [[c % FILTERS, (c + 2) % FILTERS] + [5] * (c == 1) for c in range(CLASSES)]
    names = names or list(range(CLASSES))
    renamed = [rows[names.index(c)] for c in range(CLASSES)] + [[]] * absent
    return Selection.of(renamed, FILTERS, absent=range(CLASSES, CLASSES + absent))


def _is_json(spec: MetricSpec, _data_dir: Path) -> None:
    for absent in (0, 1):
        figure = _measure(spec, *_toys(absent), _selection(absent=absent))
        try:
            json.dumps(figure, allow_nan=False)
        except (TypeError, ValueError) as error:
            where = f", with {absent} class without images," if absent else ""
            broken_unless(
                False,
                f"`measure`{where} returned what is not JSON ({error})",
                "return numbers, lists and dictionaries: float(x), x.tolist(); None for what is not defined",
            )


def _is_deterministic(spec: MetricSpec, _data_dir: Path) -> None:
    toys = _toys()
    broken_unless(
        _measure(spec, *toys, _selection()) == _measure(spec, *toys, _selection()),
        "Two runs with the same seed measured differently",
        "draw random numbers from context.generator() only",
    )


def _ignores_batching(spec: MetricSpec, _data_dir: Path) -> None:
    if spec.stochastic:
        return
    train, test = _toys()
    expected = _measure(spec, train, test, _selection())
    for what, found in {
        "Another batch size": _measure(spec, train, test, _selection(), size=7),
        "Another order of the images": _measure(spec, train.shuffled(), test.shuffled(), _selection()),
    }.items():
        broken_unless(
            _alike(expected, found),
            f"{what} gives another figure: {found}, not {expected}",
            "compute from sums over images; or, if it draws random numbers, declare the spec `stochastic`",
        )


def _follows_relabelling(spec: MetricSpec, _data_dir: Path) -> None:
    if spec.stochastic:
        return
    train, test = _toys()
    expected = _measure(spec, train, test, _selection())
    found = _measure(spec, train.relabelled(_NAMES), test.relabelled(_NAMES), _selection(_NAMES))
    broken_unless(
        _alike(sorted(_numbers(expected)), sorted(_numbers(found))),
        f"Renaming the classes changes the figures: {expected} became {found}",
        "treat all classes alike; or, if it draws random numbers, declare the spec `stochastic`",
    )


def _keeps_to_its_flags(spec: MetricSpec, _data_dir: Path) -> None:
    train, test = _toys()
    evidence, context = _gathered(spec, train, test, COMMON), train.context(test)
    if not spec.head_only:
        _works(spec, evidence, replace(context, head=None), "the head", "head_only=True")
    if not spec.reruns:
        _works(spec, evidence, replace(context, run_test=None), "another run of the test split", "reruns=True")
    expected = resolve(spec.measure)(evidence, _pairs(), context)
    if "train" not in spec.responses:
        without = replace(evidence, train=replace(evidence.train, responses=None, labels=None))
        _works(spec, without, context, "the train split's kept responses", 'responses=("train",)', expected)
    if "test" not in spec.responses:
        without = replace(evidence, test=replace(evidence.of_test(), responses=None, labels=None))
        _works(spec, without, context, "the test split's kept responses", 'responses=("test",)', expected)
    declared = evidence.limited(spec, [_K])
    _works(spec, declared, context, "the statistics it does not declare", "them, by `needs`,", expected)
    if spec.of == "layer":
        broken_unless(
            _alike(_measure(spec, train, test, None), _measure(spec, train, test, _selection())),
            'It is of="layer" but depends on the selection',
            'declare of="selection"',
        )


def _works(
    spec: MetricSpec, evidence: SplitEvidence, context: Context, without: str, flag: str, expected: Any = None
) -> None:
    try:
        found = resolve(spec.measure)(evidence, _pairs(), context)
    except Exception as error:
        broken_unless(False, f"Without {without} it fails ({type(error).__name__}: {error})", f"add {flag} to the spec")
    else:
        same = expected is None or found == expected
        broken_unless(same, f"Without {without} it measures {found}, not {expected}", f"add {flag} to the spec")


def _pairs() -> Selection:
    """As many filters for each class."""
    return Selection.of([[c % FILTERS, (c + 2) % FILTERS] for c in range(CLASSES)], FILTERS)


def _keeps_its_hands_off(spec: MetricSpec, _data_dir: Path) -> None:
    train, test = _toys()
    weights = {name: tensor.clone() for name, tensor in train.module.state_dict().items()}
    evidence = _gathered(spec, train, test)
    kept = [part.responses.clone() for part in (evidence.train, evidence.of_test()) if part.responses is not None]
    resolve(spec.measure)(evidence, _selection(), train.context(test))
    unchanged = all(torch.equal(tensor, weights[name]) for name, tensor in train.module.state_dict().items())
    after = [part.responses for part in (evidence.train, evidence.of_test()) if part.responses is not None]
    same = all(torch.equal(one, other) for one, other in zip(kept, after, strict=True))
    broken_unless(unchanged and same, "It changed the network or the evidence", "work on copies: tensor.clone()")
    left = any(m.training or m._forward_hooks or m._forward_pre_hooks for m in train.module.modules())
    broken_unless(not left, "It left a hook, or training mode", "remove hooks and restore the mode in `finally`")


def _statistics(spec: MetricSpec, _data_dir: Path) -> None:
    check_statistics(lambda: needed([spec], "train", [_K]))
    check_statistics(lambda: needed([spec], "test", [_K]))


def _numbers(figure: Any) -> Iterator[float]:
    if isinstance(figure, dict):
        for value in figure.values():
            yield from _numbers(value)
    elif isinstance(figure, list | tuple):
        for value in figure:
            yield from _numbers(value)
    elif isinstance(figure, int | float):
        yield float(figure)


def _alike(one: Any, other: Any) -> bool:
    pairs = list(zip(_numbers(one), _numbers(other), strict=False))
    sizes = len(list(_numbers(one))) == len(list(_numbers(other)))
    return sizes and all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) for a, b in pairs)


PROMISES = [
    Promise("its statistics merge, save and plan their size", _statistics),
    Promise("its figures are JSON, absent classes or not", _is_json),
    Promise("it is deterministic", _is_deterministic),
    Promise("batch size and order of the images do not matter", _ignores_batching),
    Promise("renaming classes keeps its figures", _follows_relabelling),
    Promise("network and evidence stay as they were", _keeps_its_hands_off),
    Promise("it needs no more than its flags say", _keeps_to_its_flags),
]
