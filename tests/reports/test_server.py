"""The server of a run's page: what it sees of an image, and whom it answers."""

from __future__ import annotations

import http.client
import json
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ddeep.errors import ConfigError
from ddeep.experiments.settings import ReportConfig
from ddeep.reports import server
from ddeep.reports.findings import Findings, find
from ddeep.reports.looking import Looker
from tests.reports.conftest import make_run
from tests.reports.test_run_data import read_back

pytest.importorskip("uvicorn", reason="needs starlette and uvicorn (pip install 'ddeep[serve]')")
BYTES = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def found(digits_run: Path) -> Findings:
    return find(digits_run, ReportConfig(no_layers=True))


@pytest.fixture(scope="module")
def port(found: Findings) -> int:
    listening = server.bound(0)
    app = server.application("<p>the page</p>", Looker(found))
    threading.Thread(target=server.serve, args=(app, listening), daemon=True).start()
    return int(listening.getsockname()[1])


def ask(port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def digit(found: Findings, index: int) -> bytes:
    assert found.measured is not None
    written = BytesIO()
    Image.fromarray(found.measured.subject.images["test"].pixels[index].numpy()).save(written, "PNG")
    return written.getvalue()


def test_an_image_is_seen_as_the_network_sees_it(found: Findings, port: int) -> None:
    assert ask(port, "GET", "/") == (200, "<p>the page</p>")
    measured = found.measured
    assert measured is not None
    for index in (0, 5):
        status, text = ask(port, "POST", "/look", digit(found, index), BYTES)
        assert status == 200, text
        seen: dict[str, Any] = json.loads(text)
        expected = measured.test.cached_responses()[0][index].numpy()
        assert np.allclose(read_back(seen["responses"]["base"]), expected, rtol=1e-4, atol=1e-5)
        assert seen["filters"] == sorted(found.users())
        maps = read_back(seen["maps"])
        assert maps.shape == (len(seen["filters"]), 8, 8)
        assert maps.max() == 255
        assert seen["picture"].startswith("data:image/webp;base64,")


STRANGERS = [
    {"Content-Type": "text/plain"},
    {**BYTES, "Origin": "http://evil.example"},
    {**BYTES, "Origin": "null"},
    {**BYTES, "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", STRANGERS)
def test_other_pages_get_no_answer(found: Findings, port: int, headers: dict[str, str]) -> None:
    assert ask(port, "POST", "/look", digit(found, 0), headers) == (
        400,
        '{"error":"Only this server\'s own page may ask."}',
    )


def test_other_names_and_methods_get_no_answer(port: int) -> None:
    assert ask(port, "GET", "/", headers={"Host": "evil.example"})[0] == 400
    assert ask(port, "GET", "/", headers={"Host": f"localhost:{port}"})[0] == 200
    assert ask(port, "GET", "/look")[0] == 405
    assert ask(port, "GET", "/../../etc/passwd")[0] == 404


def test_what_is_no_image_is_refused_in_one_line(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = ask(port, "POST", "/look", b"nothing of the kind", BYTES)
    assert status == 400
    assert json.loads(text)["error"].startswith("'the image' does not decode as an image")
    huge = BytesIO()
    Image.new("1", (65_000, 65_000)).save(huge, "PNG")
    status, text = ask(port, "POST", "/look", huge.getvalue(), BYTES)
    assert status == 400
    assert "claims more than" in json.loads(text)["error"]
    monkeypatch.setattr(server, "MOST_BYTES", 1000)
    status, text = ask(port, "POST", "/look", b"x" * 5000, BYTES)
    assert (status, "MiB. Make it smaller." in text) == (400, True)


def test_a_port_that_is_taken(port: int) -> None:
    with pytest.raises(ConfigError, match=f"Port {port} cannot be had"):
        server.bound(port)


def test_runs_without_anything_to_look_with(tmp_path: Path) -> None:
    inner = find(
        make_run(tmp_path / "inner", model="resnet20", strategy="paper", layer="layer1.1"), ReportConfig(no_layers=True)
    )
    with pytest.raises(ConfigError, match="does not feed the head"):
        Looker(inner)
    inner.measured = None
    with pytest.raises(ConfigError, match="network is needed"):
        Looker(inner)
    assert torch.is_grad_enabled()
