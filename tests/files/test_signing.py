"""A signature tells what this user's ddeep has written from what anybody else has."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ddeep.files.signing import is_signed, sign
from tests.support.waiting import PATIENCE


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user has no key yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_what_was_signed_here_is_the_users_own() -> None:
    signature = sign("text")
    assert is_signed("text", signature)
    assert not is_signed("another text", signature)
    for other in (None, 7, "", "0" * 64, "é", [signature]):
        assert not is_signed("text", other)


def test_another_user_signs_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = sign("text")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    assert not is_signed("text", signature)  # who has no key
    assert sign("text") != signature
    assert not is_signed("text", signature)


def test_nobody_else_may_read_the_key(state: Path) -> None:
    sign("text")
    (key,) = (path for path in state.rglob("*") if path.is_file())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32


def test_where_no_key_can_be_kept_nothing_is_signed(state: Path) -> None:
    state.write_text("a file")
    assert sign("text") is None
    assert not is_signed("text", None)


def test_a_damaged_key_signs_nothing(state: Path) -> None:
    signature = sign("text")
    (key,) = (path for path in state.rglob("*") if path.is_file())
    for content in (b"", key.read_bytes()[:31], key.read_bytes() + b"x"):
        key.write_bytes(content)
        assert sign("text") is None
        assert not is_signed("text", signature)


def test_commands_that_start_at_once_have_one_key() -> None:
    code = "from ddeep.files.signing import sign; print(sign('text'))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    signatures = {process.communicate(timeout=PATIENCE)[0].strip() for process in running}
    assert len(signatures) == 1
    assert is_signed("text", *signatures)
