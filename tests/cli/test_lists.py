"""Options that take several values."""

from __future__ import annotations

import pytest

from ddeep.cli.lists import separated, spread

SEVERAL = ["--weights", "--k"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--k 2 3 --model m", "--k 2 --k 3 --model m"),
        ("--k 2,3 --weights a b c", "--k 2,3 --weights a --weights b --weights c"),
        ("--k 2 --k 3", "--k 2 --k 3"),
        ("--weights=a b --k 1", "--weights=a b --k 1"),
        ("--model m n", "--model m n"),
        ("--weights - a", "--weights - --weights a"),
        ("--weights a -- b c", "--weights a -- b c"),
        ("--k", "--k"),
        ("", ""),
    ],
)
def test_names_are_repeated_before_each_value(given: str, meant: str) -> None:
    assert spread(given.split(), SEVERAL) == meant.split()


def test_commas_separate_too() -> None:
    assert separated(["2,3", " 5 ", "7,"]) == ("2", "3", "5", "7")
    assert separated(None) is None
