"""docs/architectures.csv says what the architectures show: a sample of the families is examined anew, on every run.

``pytest -m slow`` examines one of every family.
"""

from __future__ import annotations

import csv
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ddeep_plugins_builtin.models import timm_models, torchvision_models
from studies import architecture_records, architecture_walk
from studies.architecture_page import listed as read_page
from studies.architecture_records import Record
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
EACH = 5  # families to one that every run looks at


def listed() -> dict[str, dict[str, str]]:
    with (DOCS / "architectures.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def smallest_of_families() -> list[tuple[str, bool]]:
    """The smallest architecture of every family that was examined by value, and whether it is small."""
    families: dict[str, tuple[int, str]] = {}
    for name, row in listed().items():
        if row["checked"] == "values":
            found = (int(row["parameters"]), name)
            families[row["family"]] = min(found, families.get(row["family"], found))
    return [(name, parameters <= architecture_records.LARGEST) for _, (parameters, name) in sorted(families.items())]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if small and at % EACH == 0 else pytest.mark.slow)
        for at, (name, small) in enumerate(smallest_of_families())
    ],
)
def test_an_architecture_is_as_the_table_says(name: str) -> None:
    row = listed()[name]
    assert {key: str(value) for key, value in asdict(architecture_records.examine(name, float("inf"))).items()} == row


def test_the_page_counts_what_the_table_lists() -> None:
    rows = listed().values()
    page = (DOCS / "architectures.md").read_text(encoding="utf-8")
    for library, module in (("timm", timm_models), ("torchvision", torchvision_models)):
        mine = [row for row in rows if row["name"].startswith(f"{library}/")]
        assert {row["name"].removeprefix(f"{library}/") for row in mine} <= set(module.names())
        working = sum(bool(row["head"] and row["layer"]) for row in mine)
        assert f"| {library} | {len(mine):,} | {working:,} ({100 * working / len(mine):.1f} %) |" in page
        assert working > 0.95 * len(mine)
    for row in rows:
        if not (row["head"] and row["layer"]):
            assert f"`{row['name']}`" in page
            assert row["problem"]


def record(name: str, **facts: object) -> Record:
    return Record(f"timm/{name}", "timm/family", **facts)  # type: ignore[arg-type]


def test_large_architectures_take_the_parts_of_their_siblings() -> None:
    """A ResNet examined by shape, as those of more than 40 million parameters are."""
    deferred = architecture_records.examine("timm/resnet10t", 1_000_000)
    assert not deferred.examined
    assert deferred.parameters > 4_000_000
    wrong = record("x", checked="values", head="fc", layer="conv1", pool="mean")
    right = record("y", checked="values", head="fc", layer="layer4", pool="mean")
    found = architecture_records.examine_shapes(deferred, [wrong, wrong, right])
    assert (found.head, found.layer, found.filters, found.checked) == ("fc", "layer4", 512, "shapes")
    assert architecture_records.examine_shapes(deferred, [wrong]).problem.startswith("head and layer of no smaller")


def test_an_architecture_that_takes_too_long_is_stopped_and_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr(architecture_records, "SECONDS", 1)
    monkeypatch.setattr(architecture_records, "look", endless)
    found = architecture_records.examine("timm/resnet10t")
    assert (found.works, found.problem) == (False, "TimeoutError: it takes more than 1 seconds")


def test_every_family_has_its_turn_before_any_has_its_second() -> None:
    names = architecture_walk.in_turn(architecture_records.all_names())
    assert sorted(names) == sorted(architecture_records.all_names())
    families = list(map(architecture_records.family_of, names))
    first = families[: len(set(families))]
    assert len(set(first)) == len(first)


def test_rows_of_an_earlier_walk_are_read_as_they_were_written() -> None:
    rows, found = listed(), read_page(DOCS / "architectures.csv")
    assert {name: {key: str(value) for key, value in asdict(one).items()} for name, one in found.items()} == rows
    assert {type(one.rewritten) for one in found.values()} == {bool}


def test_an_architecture_that_ends_its_process_is_recorded() -> None:
    found = architecture_walk.apart(_ends, "timm/resnet10t")
    assert (found.works, found.family, found.problem) == (False, "timm/resnet", "its process ended with status 7")


def _ends(_name: str) -> Record:
    os._exit(7)


def test_a_family_of_large_ones_goes_by_its_smallest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In one walk: the smallest is not the first of its family, and not the last."""
    names = ["timm/vit_b", "timm/vit_a", "timm/vit_c"]
    sizes = dict(zip(names, (2, 1, 3), strict=True))

    def look(how: Any, subject: Any, *more: Any) -> Record:
        if how is architecture_walk.examine:
            entry = Record(subject, "timm/vit", parameters=sizes[subject])
            return replace(entry, checked="values", head="head", layer="norm") if more else entry
        (siblings,) = more
        fits = any(one.works for one in siblings)
        return replace(
            subject, checked="shapes", **({"head": "head", "layer": "norm"} if fits else {"problem": "none"})
        )

    monkeypatch.setattr(architecture_walk, "all_names", lambda: names)
    monkeypatch.setattr(architecture_walk, "family_of", lambda _: "timm/vit")
    monkeypatch.setattr(architecture_walk, "apart", look)
    architecture_walk.walk(tmp_path / "records.jsonl", float("inf"))
    found = architecture_walk.read(tmp_path / "records.jsonl")
    assert {name: (one.checked, one.works) for name, one in found.items()} == {
        "timm/vit_a": ("values", True),
        "timm/vit_b": ("shapes", True),
        "timm/vit_c": ("shapes", True),
    }
