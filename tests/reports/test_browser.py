"""The report in a real browser: silent, offline, and doing what its controls say."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ddeep.experiments.settings import ReportConfig
from ddeep.reports import server, write_report
from ddeep.reports.findings import find
from ddeep.reports.looking import Looker
from ddeep.reports.run_page import run_page
from ddeep.reports.tiles import activation_maps, light
from ddeep.results.run import load
from tests.reports.browser import choose, complaints, css, one, open_page, opened, press, requests
from tests.reports.conftest import HOSTILE
from tests.reports.pages import data_of


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def loaded(browser: Any, digits_page: Path) -> Any:
    open_page(browser, digits_page)
    return browser


@pytest.fixture
def page(loaded: Any, digits_page: Path) -> Any:
    """The page of the digits, its overview; another test's page is left."""
    if loaded.current_url.partition("#")[0] != digits_page.as_uri():
        open_page(loaded, digits_page)
    go(loaded, "")
    return loaded


def go(browser: Any, place: str) -> None:
    browser.execute_script("location.hash = arguments[0]; dispatchEvent(new HashChangeEvent('hashchange'))", place)


def text(browser: Any, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def violations(browser: Any) -> list[str]:
    """What axe-core has against what is shown."""
    package = pytest.importorskip("axe_core_python", reason="needs axe-core-python (pip install 'ddeep[test]')")
    if not browser.execute_script("return Boolean(window.axe)"):
        browser.execute_script((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations))"
    )
    return [f"{one['id']}: {[node['html'][:90] for node in one['nodes'][:3]]}" for one in found]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_silent_offline_accessible_and_never_wider_than_the_window(
    browser: Any, digits_page: Path, width: int, scheme: str
) -> None:
    open_page(browser, digits_page, width, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for place in ("", "#class-3", "#filter-44"):
        go(browser, place)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, place
        assert violations(browser) == [], place
    dark = browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part < 60)"
    )
    assert dark == (scheme == "dark")
    assert requests(browser) == [digits_page.as_uri()]
    assert complaints(browser) == []


def test_the_first_screen_tells_the_verdict(page: Any) -> None:
    verdict = one(page, "h1.verdict")
    assert "94.8 %" in verdict.text
    assert verdict.rect["y"] + verdict.rect["height"] < 600
    assert [line.text for line in css(page, ".strip .value b")] == ["99.5 %", "94.8 %", "99.7 %", null_mean(page)]
    assert len(css(page, ".example")) == 3
    for term in css(page, "#verdict .term")[:2]:
        press(page, term)
        assert one(page, f"#{term.get_attribute('popovertarget')}").is_displayed()
        page.execute_script("document.querySelector('.meaning:popover-open').hidePopover()")


def null_mean(page: Any) -> str:
    return one(page, ".strip .random .value b").text


def test_the_gallery_finds_and_sorts(page: Any) -> None:
    def cards() -> list[int]:
        return [int(card.get_attribute("data-index")) for card in css(page, ".card")]

    assert cards() == list(range(10))
    choose(page, "#sort", "lost")
    lost = {c: row["lost"] for c, row in enumerate(data_of(Path(page.current_url.partition("#")[0][7:]))["perClass"])}
    assert [lost[c] for c in cards()] == sorted(lost.values(), reverse=True)
    choose(page, "#sort", "index")
    choose(page, "#find", "7")
    assert cards() == [7]  # no class has selected filter 7
    choose(page, "#find", "57")
    assert cards() == [
        c
        for c in range(10)
        if page.execute_script(
            f'return document.querySelector(\'#by-class tr[data-index="{c}"] a[href="#filter-57"]\') !== null'
        )
    ]
    choose(page, "#find", "")


def test_a_class_and_a_filter_one_at_a_time(page: Any) -> None:
    go(page, "#class-3")
    assert text(page, "#view h1") == "3"
    assert not one(page, "#overview").is_displayed()
    assert len(css(page, "#view .filter")) == 5
    assert len(css(page, "#view .filter:first-of-type .tiles:first-of-type li")) == 6
    press(page, one(page, "#view .filter .filter-link"))
    wait(lambda: text(page, "#view h1").startswith("Filter"))
    assert len(css(page, "#view .quantiles .tiles")) == 4
    page.back()
    wait(lambda: text(page, "#view h1") == "3")
    press(page, css(page, ".around .step")[2])
    wait(lambda: text(page, "#view h1") == "4")
    go(page, "#class-4-filter-48")
    assert page.execute_script("return document.activeElement.closest('.filter')?.id") == "class-4-filter-48"


def test_names_are_kept_shown_everywhere_and_exported(page: Any, digits_page: Path) -> None:
    go(page, "#filter-57")
    one(page, ".naming").send_keys("hook <b>")
    go(page, "")
    assert "hook <b>" in text(page, ".card[data-index='3']")
    page.refresh()
    assert "hook <b>" in text(page, ".card[data-index='3']")
    assert one(page, "#export").is_displayed()
    exported = page.execute_script(
        "HTMLAnchorElement.prototype.click = function () {"
        "  window.exported = decodeURIComponent(this.href.split(',')[1]); };"
        "document.getElementById('export').click(); return window.exported"
    )
    assert json.loads(exported)["names"] == {"57": "hook <b>"}
    assert json.loads(exported)["of"] == data_of(digits_page)["key"]
    page.execute_script("localStorage.clear()")
    page.refresh()


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


def test_what_is_lit_is_what_python_lights(page: Any, digits_run: Path, digits_page: Path) -> None:
    found, pictures = find(digits_run, ReportConfig(no_layers=True)), data_of(digits_page)["pictures"]
    assert found.measured is not None
    subject = found.measured.subject
    recipe = subject.network.needed_preprocessing()
    for c in (0, 6):
        j = found.selection.filters[c][0]
        pair = data_of(digits_page)["pairs"]["rows"][c][0]["own"][0]
        image = int.from_bytes(
            __import__("base64").b64decode(pictures["tiles"]["image"]["bytes"])[2 * pair :][:2], "little"
        )
        pixels = subject.images["train"].pixels[[pictures["indices"][image]]]
        maps = activation_maps(
            subject.network.module, found.measured.layer, recipe.normalise(recipe.fit(pixels)), [j], subject.device
        )
        assert maps is not None
        shown = page.execute_script("return ddeep.light(arguments[0], arguments[1])", image, j)
        assert torch.allclose(torch.tensor(shown).view(96, 96), light(maps, 0, j).float(), atol=1 / 250)
    pixels = page.execute_script(
        "const canvas = document.querySelector('.card canvas');"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    colours = torch.tensor(pixels).view(-1, 4)[:, :3]
    assert (colours.min(1).values > 60).any()  # the image itself
    assert (colours == torch.tensor([255, 176, 0])).all(1).any()  # the line


def test_the_map_by_pointer_and_by_keyboard(page: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    cell = one(page, "#heat-table tbody tr:nth-child(3) td:nth-child(5)")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", cell)
    ActionChains(page).move_to_element(cell).perform()
    said = one(page, "#readout").text
    assert said.startswith("2 × filter ")
    assert all(word in said for word in ("mean W·r", "silenced", "mean response"))
    one(page, "#heat-table td[tabindex]").send_keys(Keys.ARROW_RIGHT)
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    active = page.switch_to.active_element
    assert active.get_attribute("data-c") == "1"
    assert one(page, "#readout").text.startswith("1 × filter ")
    assert len(css(page, "#heat-table td[tabindex]")) == 1

    def columns() -> list[int]:
        return [int(cell.get_attribute("data-j")) for cell in css(page, "#heat-table tbody tr:first-child td")]

    grouped = columns()
    for order in ("index", "alike", "users", "group"):
        choose(page, "#order-columns", order)
        assert sorted(columns()) == list(range(64))
        assert (columns() == sorted(columns())) == (order == "index")
    assert columns() == grouped
    press(page, one(page, "#only-selected"))
    assert 20 < len(columns()) < 50
    press(page, one(page, "#only-selected"))
    press(page, one(page, "[data-heat=response]"))
    own = one(page, "#heat-table td.own")
    c, j = own.get_attribute("data-c"), own.get_attribute("data-j")
    page.execute_script("arguments[0].tabIndex = 0; arguments[0].focus()", own)
    own.send_keys(Keys.ENTER)
    wait(lambda: page.execute_script("return location.hash") == f"#class-{c}-filter-{j}")


def test_mistakes_lead_to_their_images(page: Any) -> None:
    link = one(page, "#changed .seen a")
    number = link.get_attribute("href").rpartition("-")[2]
    press(page, link)
    wait(lambda: f"test:{number}" in text(page, "#explained .over"))
    assert {one(page, ".logit h3 .kind").text for _ in range(1)} == {"called"}


def test_every_control_can_be_reached_by_keyboard(page: Any) -> None:
    from selenium.webdriver import Keys

    page.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    reached = set()
    for _ in range(230):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.add(page.switch_to.active_element.get_attribute("id"))
    assert {"theme", "find", "sort", "lit", "head", "scope", "only", "order-columns", "order-rows"} <= reached


def test_light_and_dark_by_hand(page: Any) -> None:
    def paper() -> str:
        return str(page.execute_script("return getComputedStyle(document.body).backgroundColor"))

    before = paper()
    press(page, one(page, "#theme"))
    assert paper() != before
    press(page, one(page, "#theme"))
    assert paper() == before


def test_readable_without_scripts(browser: Any, digits_page: Path, tmp_path: Path) -> None:
    page = tmp_path / "still.html"
    shutil.copy(digits_page, page)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, page)
        assert not [e for e in css(browser, ".js") if e.is_displayed()]
        assert "94.8 %" in one(browser, "h1.verdict").text
        press_still(browser, "#table summary")
        rows = [row.text.split()[0] for row in css(browser, "#by-class tbody tr")]
        assert rows == [str(digit) for digit in range(10)]
        assert complaints(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def press_still(browser: Any, selector: str) -> None:
    from selenium.webdriver import Keys

    one(browser, selector).send_keys(Keys.ENTER)


def test_hostile_names_do_nothing(browser: Any, hostile_run: Path) -> None:
    page = write_report(hostile_run, ReportConfig(no_layers=True)).page
    open_page(browser, page, 390)
    for index in range(len(HOSTILE)):
        go(browser, f"#class-{index}")
        assert text(browser, "#view h1").strip()
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert requests(browser) == [page.as_uri()]
    assert complaints(browser) == []
    assert browser.execute_script("return document.scripts.length") == 2


def test_a_thousand_classes_open(browser: Any, thousand_page: Path) -> None:
    open_page(browser, thousand_page)
    assert complaints(browser) == []
    assert len(css(browser, ".card")) == 24
    press(browser, one(browser, "#more"))
    assert len(css(browser, ".card")) == 120
    choose(browser, "#find", "number 0777")
    assert [card.get_attribute("data-index") for card in css(browser, ".card")] == ["777"]
    canvas = one(browser, "#overview-map")
    assert browser.execute_script("return [arguments[0].height, arguments[0].width > 10]", canvas) == [1000, True]
    first = text(browser, "#heat-table tbody th")
    choose(browser, "#brush-rows", "500")
    assert text(browser, "#heat-table tbody th") != first
    go(browser, "#class-777")
    assert one(browser, "#view .filter").is_displayed()
    assert complaints(browser) == []


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
