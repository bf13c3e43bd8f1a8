"""Blocks of a document that show commands and what they print: the commands run, their output seen."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def run_all(block: str, environ: Mapping[str, str], folder: Path, within: float = 0) -> int:
    """Run the commands of a block in ``folder``, and return how many; their numbers may differ by ``within``."""
    parts = re.split(r"^\$ ", block, flags=re.M)[1:]
    for part in parts:
        command, *expected = part.splitlines()
        done = subprocess.run(command, shell=True, cwd=folder, env=environ, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        assert_shown(expected, done.stdout.splitlines(), command, within)
    return len(parts)


def assert_shown(expected: list[str], printed: list[str], command: str, within: float = 0) -> None:
    """Every line but ``...`` was printed, in this order; without ``...`` nothing else was. Times are not compared."""
    lines = [re.sub(r" in [\d.]+s.*", "", line) for line in printed]
    wanted = [line for line in expected if line != "..."]
    if "..." not in expected:
        assert lines == wanted, command
    position = 0
    for line in wanted:
        found = next((place for place in range(position, len(lines)) if alike(lines[place], line, within)), None)
        assert found is not None, f"$ {command}\nprinted no {line!r} there but:\n" + "\n".join(printed)
        position = found + 1


def alike(line: str, wanted: str, within: float) -> bool:
    """Whether two lines are equal, or all but their numbers, and those differ by no more than ``within``."""
    words, others = line.split(), wanted.split()
    if line == wanted or not within:
        return line == wanted
    return len(words) == len(others) and all(map(partial(_close, within), words, others))


def _close(within: float, word: str, other: str) -> bool:
    numbers = NUMBER.fullmatch(word), NUMBER.fullmatch(other)
    return word == other or (all(numbers) and abs(float(word) - float(other)) <= within)
