"""Readers of untrusted files, fed damaged ones: success or a DdeepError. The long form is ``make fuzz``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.robustness.fuzz.harness import read, slug
from tests.robustness.fuzz.targets import Target, targets
from tests.support.effort import EFFORT

TARGETS = targets()
CASES = Path(__file__).parent / "cases"
every_target = pytest.mark.parametrize("target", TARGETS, ids=slug)


@every_target
def test_damage_is_refused_or_harmless(target: Target, tmp_path: Path) -> None:
    @settings(max_examples=max(1, round(40 * EFFORT)), deadline=None, suppress_health_check=list(HealthCheck))
    @given(target.inputs())
    def attempt(content: bytes) -> None:
        read(target, content, tmp_path)

    attempt()


@every_target
def test_what_is_valid_is_read(target: Target, tmp_path: Path) -> None:
    """Else every input would be refused at the door, and nothing behind it tried."""
    import json

    for content in [*target.seeds, *(json.dumps(document).encode() for document in target.documents)]:
        (tmp_path / target.file).write_bytes(content)
        target.read(tmp_path / target.file)


def _cases() -> list[tuple[Target, Path]]:
    return [(target, path) for target in TARGETS for path in sorted((CASES / slug(target)).glob("*"))]


@pytest.mark.parametrize(("target", "case"), _cases(), ids=lambda part: part.name if isinstance(part, Path) else "")
def test_what_once_crashed_a_reader_does_so_no_more(target: Target, case: Path, tmp_path: Path) -> None:
    read(target, case.read_bytes(), tmp_path)


def test_the_harness_sees_a_crash(tmp_path: Path) -> None:
    """Else it could never fail."""

    def fragile(path: Path) -> None:
        raise KeyError(path.name)

    with pytest.raises(KeyError):
        read(Target("fragile", fragile, seeds=[b"x"]), b"x", tmp_path)
