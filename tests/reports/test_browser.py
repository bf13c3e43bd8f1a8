"""The report of a run in a real browser: silent, offline, and readable by everybody."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ddeep.experiments.settings import ReportConfig
from ddeep.reports import write_report
from tests.reports.browser import column, complaints, css, go, one, open_page, press, requests, text, violations
from tests.reports.conftest import HOSTILE


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


def test_command_and_provenance_are_folded_and_open_where_they_are_wanted(page: Any) -> None:
    from selenium.webdriver import Keys

    def shown() -> list[bool]:
        places = ("#command", "#provenance dd")
        return [page.execute_script("return arguments[0].checkVisibility()", one(page, place)) for place in places]

    page.execute_script("document.querySelectorAll('.printed').forEach((fold) => { fold.open = false; })")
    assert shown() == [False, False]
    one(page, ".printed summary").send_keys(Keys.ENTER)
    assert shown() == [True, False]
    for section in ("#classes", "#provenance"):
        press(page, one(page, f"nav [href='{section}']"))
    assert shown() == [True, True]
    assert not one(page, "#by-class").is_displayed()
    page.execute_script("document.querySelectorAll('.printed').forEach((fold) => { fold.open = false; })")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert shown() == [True, True]
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert shown() == [False, False]


def test_a_terms_meaning_and_sorting_stand_side_by_side(page: Any) -> None:
    page.execute_script("document.querySelectorAll('#metrics details').forEach((fold) => { fold.open = true; })")
    head = one(page, "#metrics .sortable thead th:last-child")
    press(page, head.find_element("css selector", ".term"))
    meaning = one(page, "#term-metric-psi")
    assert "(Ψ)" in meaning.text
    assert "Badola" in meaning.text
    page.execute_script("document.querySelector('.meaning:popover-open').hidePopover()")
    sort = head.find_element("css selector", ".sort")
    assert sort.get_attribute("aria-label") == "Sort by psi"
    press(page, sort)
    assert head.get_attribute("aria-sort") == "descending"
    psi = [float(text) for text in column(page, "#metrics .sortable", 4)]
    assert len(psi) > 10
    assert psi == sorted(psi, reverse=True)


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
