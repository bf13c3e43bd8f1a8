"""Selection files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bad_input import Bad, bad, check, selection, text
from tests.support.helpers import Outcome

ROWS: dict[str, Bad] = {
    # selection files
    "a selection that is not there": bad("run --model resnet20 --selection s.json", "Cannot read the selection s.json"),
    "a selection and k": bad(
        "run --model resnet20 --selection s.json --k 5", "--k goes with --strategy", prepare=selection({"0": [1]})
    ),
    "broken JSON": bad("run --model resnet20 --selection s.json", "s.json", "valid JSON", prepare=text("s.json", "{")),
    "a list for a selection": bad("run --model resnet20 --selection s.json", "a list", prepare=selection([])),
    "a class left out": bad(
        "run --model resnet20 --selection s.json",
        "Class 9 is left out",
        prepare=selection({str(c): [1] for c in range(9)}),
    ),
    "a filter out of range": bad(
        "run --model resnet20 --selection s.json",
        "selects filter 64, but the layer's filters are 0 to 63",
        prepare=selection({str(c): [64] for c in range(10)}),
    ),
    "a filter twice": bad(
        "run --model resnet20 --selection s.json",
        "filter 1 twice",
        prepare=selection({str(c): [1, 1] for c in range(10)}),
    ),
    "a selection with other classes": bad(
        "run --model resnet20 --selection s.json",
        "Class 0 is 'cat' in the selection",
        prepare=selection(
            {
                "schema": "ddeep.selection/1",
                "num_filters": 64,
                "absent": [],
                "source": {},
                "classes": [{"index": c, "name": f"cat{c}"[: 3 + c], "filters": [1], "scores": [1]} for c in range(10)],
            }
        ),
    ),
    "a selection of another layer": bad(
        "run --model resnet20 --layer layer2.2 --selection s.json",
        "selects filter 60",
        "0 to 31",
        prepare=selection({str(c): [60] for c in range(10)}),
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_it_is_named_and_nothing_is_lost(
    row: Bad, cli_here: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(row, cli_here, tmp_path, monkeypatch)
