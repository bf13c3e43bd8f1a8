"""The switch in a real browser: what it computes is what the network does."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ddeep.experiments.settings import ReportConfig
from ddeep.reports import server
from ddeep.reports.findings import find
from ddeep.reports.looking import Looker
from ddeep.reports.run_page import run_page
from ddeep.results.run import load
from tests.reports.browser import choose, css, one, press, text, wait
from tests.reports.pages import data_of


def test_the_switch_computes_what_the_network_does(page: Any, digits_run: Path) -> None:
    found = find(digits_run, ReportConfig(no_layers=True))
    assert found.measured is not None
    responses, labels = found.measured.test.cached_responses()
    sample = page.execute_script("return ddeep.sample")
    for stage, head in found.measured.heads.items():
        for off in ([], [0, 17, 57]):
            kept = responses[sample].clone()
            kept[:, off] = 0
            shown = page.execute_script(
                "return ddeep.sample.map((_, i) => ddeep.logits(i, arguments[0], arguments[1]))", stage, off
            )
            assert torch.allclose(torch.tensor(shown), F.linear(kept, *head), rtol=1e-5, atol=1e-5), (stage, off)
    saved = load(digits_run)
    subject = found.measured.subject
    pixels = subject.network.needed_preprocessing().fit(subject.images["test"].pixels[sample[:20]])
    with torch.no_grad():
        logits = saved(subject.network.needed_preprocessing().normalise(pixels))
    shown = page.execute_script("return [...Array(20).keys()].map((i) => ddeep.logits(i))")
    assert torch.allclose(torch.tensor(shown), logits, rtol=1e-5, atol=2e-5)
    right = int((F.linear(responses[sample], *found.measured.heads["refit"]).argmax(1) == labels[sample]).sum())
    assert text(page, "#score").startswith(f"{right} of 240 right in the sample")
    assert f"{found.document['accuracy']['refit']:.1f} %" in text(page, "#score")


def added_up(page: Any, column: int) -> None:
    """The parts of a logit that are shown add up to it, to the last digit."""
    values = page.execute_script(
        "const logit = document.querySelectorAll('.logit')[arguments[0]];"
        "return [...logit.querySelectorAll('.value')].map((one) => one.textContent)",
        column,
    )
    *parts, logit = [round(1000 * float(value.replace("−", "-"))) for value in values if value != "off"]
    assert sum(parts) == logit


def test_filters_switched_off_change_all_at_once(page: Any) -> None:
    added_up(page, 0)
    added_up(page, 1)
    before = text(page, ".odds")
    toggle = one(page, ".logit [role=switch]")
    place = toggle.get_attribute("data-switch")
    press(page, toggle)
    j = int(place.split(":")[1])
    assert f"{j} ×" in text(page, "#off")
    assert text(page, ".odds") != before
    assert "all on" in text(page, "#score")
    added_up(page, 0)
    added_up(page, 1)
    press(page, one(page, "#off .chip"))
    assert text(page, "#off") == "All filters are on."
    assert text(page, ".odds") == before
    choose(page, "#scope", "3")
    press(page, one(page, "#all-filters summary"))
    press(page, one(page, "#filter-chips [data-switch='any:57']"))
    assert "57 for 3 ×" in text(page, "#off")
    choose(page, "#head", "full")
    added_up(page, 0)
    choose(page, "#head", "refit")
    choose(page, "#scope", "")
    press(page, css(page, "#off button")[-1])


def test_a_dropped_image_is_looked_at(browser: Any, digits_run: Path, digits_page: Path, tmp_path: Path) -> None:
    """By the server's page, which shows the names in a file, too."""
    pytest.importorskip("uvicorn", reason="needs starlette and uvicorn (pip install 'ddeep[serve]')")
    from PIL import Image

    names = {"schema": "ddeep.names/1", "of": data_of(digits_page)["key"], "names": {"57": "hook <b>"}}
    (tmp_path / "names.json").write_text(json.dumps(names))
    found = find(digits_run, ReportConfig(no_layers=True, names=tmp_path / "names.json"))
    assert found.measured is not None
    listening = server.bound(0)
    app = server.application(run_page(found, [], served=True), Looker(found))
    threading.Thread(target=server.serve, args=(app, listening), daemon=True).start()
    file = tmp_path / "mine.png"
    Image.fromarray(found.measured.subject.images["test"].pixels[0].numpy()).save(file)
    browser.get(f"http://127.0.0.1:{listening.getsockname()[1]}/")
    browser.get_log("browser")
    assert "hook <b>" in text(browser, ".card[data-index='3']")
    one(browser, "#file").send_keys(str(file))
    wait(lambda: "mine.png" in text(browser, "#explained .over"))
    told = int(found.measured.predictions["refit"][0])
    assert text(browser, "#explained .says b") == found.classes[told]
    added_up(browser, 0)
    (tmp_path / "none.png").write_text("nothing")
    one(browser, "#file").send_keys(str(tmp_path / "none.png"))
    wait(lambda: "does not decode as an image" in text(browser, "#drop-says"))
