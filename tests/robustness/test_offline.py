"""``--offline``, and ``DDEEP_OFFLINE``: nothing is downloaded, whatever is missing."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.support.helpers import Outcome


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setenv("DDEEP_OFFLINE", "0")  # restored afterwards: --offline sets it


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ("--dataset cifar10 --weights resnet20-digits", "CIFAR-10"),
        ("--weights resnet20-12fca82f", "the weights 'resnet20-12fca82f'"),
    ],
)
def test_what_is_missing_is_named_not_downloaded(cli_here: Callable[..., Outcome], options: str, what: str) -> None:
    outcome = cli_here("--offline", "run", "--model", "resnet20", "--strategy", "paper", *options.split())
    assert outcome.status == 1
    assert what in outcome.err
    assert "downloads are forbidden (--offline or DDEEP_OFFLINE)" in outcome.err
    assert "Traceback" not in outcome.err


def test_without_it_a_download_is_tried(cli_here: Callable[..., Outcome]) -> None:
    outcome = cli_here("run", "--model", "resnet20", "--strategy", "paper", "--weights", "resnet20-12fca82f")
    assert outcome.status == 1
    assert "a connection was tried" in outcome.err
