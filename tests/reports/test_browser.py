"""The report in a real browser: silent, offline, and doing what its controls say."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ddeep.experiments.settings import ReportConfig
from ddeep.reports import write_report
from tests.reports.browser import choose, column, complaints, css, one, open_page, opened, press, requests
from tests.reports.conftest import HOSTILE


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def page(browser: Any, digits_page: Path) -> Any:
    open_page(browser, digits_page)
    return browser


def sections(browser: Any) -> list[str]:
    return [section.get_attribute("data-index") for section in css(browser, ".klass") if section.is_displayed()]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_silent_offline_and_never_wider_than_the_window(
    browser: Any, digits_page: Path, width: int, scheme: str
) -> None:
    open_page(browser, digits_page, width, scheme)
    assert requests(browser) == [digits_page.as_uri()]
    assert complaints(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    dark = browser.execute_script(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((part) => part < 60)"
    )
    assert dark == (scheme == "dark")


def test_the_figures_are_drawn(page: Any) -> None:
    for figure in css(page, "figure svg"):
        assert figure.size["width"] > 200
        assert figure.size["height"] > 150
    assert len(css(page, "figure svg")) == 2
    pixels = page.execute_async_script(
        """const done = arguments[0], tile = document.querySelector(".tile"), image = new Image();
        image.onload = () => done([image.naturalWidth, image.naturalHeight]);
        image.onerror = () => done("broken");
        image.src = getComputedStyle(tile).backgroundImage.slice(5, -2);"""
    )
    assert pixels == [6 * 96, 96]


def test_the_class_picker(page: Any) -> None:
    assert len(sections(page)) == 10
    choose(page, "#pick", "3")
    assert sections(page) == ["3"]
    press(page, one(page, "#next"))
    assert sections(page) == ["4"]
    press(page, one(page, "#previous"))
    press(page, one(page, "#previous"))
    assert sections(page) == ["2"]
    choose(page, "#pick", "")
    assert len(sections(page)) == 10


def test_links_between_classes_follow_the_picker(page: Any) -> None:
    choose(page, "#pick", "3")
    page.execute_script("location.hash = '#class-7'")
    wait(lambda: sections(page) == ["7"])
    assert one(page, "#pick").get_attribute("value") == "7"


def wait(condition: Callable[[], bool]) -> None:
    import time

    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_classes_by_what_they_lose(page: Any) -> None:
    everyone = column(page, "#by-class", 1)
    choose(page, "#least", one(page, "#least").get_attribute("max"))
    shown = column(page, "#by-class", 1)
    most = float(one(page, "#least").get_attribute("max"))
    lost = [float(option.get_attribute("data-drop")) for option in css(page, "#pick option[data-drop]")]
    assert len(shown) == sum(drop >= most for drop in lost) > 0
    told = f"{len(shown)} of 10 classes" if len(shown) < 10 else "all 10 classes"
    assert told in one(page, "#least-shown").text
    enabled = [option for option in css(page, "#pick option[data-drop]") if option.is_enabled()]
    assert len(enabled) == len(shown)
    choose(page, "#least", one(page, "#least").get_attribute("min"))
    assert column(page, "#by-class", 1) == everyone


def test_tables_sort_by_any_column(page: Any) -> None:
    head = one(page, "#by-class thead th:nth-child(4) button")
    assert head.text == "decomposed"
    press(page, head)
    falling = [float(text) for text in column(page, "#by-class", 4)]
    assert falling == sorted(falling, reverse=True)
    assert one(page, "#by-class thead th:nth-child(4)").get_attribute("aria-sort") == "descending"
    press(page, head)
    assert [float(text) for text in column(page, "#by-class", 4)] == sorted(falling)


def test_one_heat_map_at_a_time_in_any_order(page: Any) -> None:
    def shown() -> list[str]:
        return [view.get_attribute("data-key") for view in css(page, ".heat-view") if view.is_displayed()]

    def filters() -> list[int]:
        heads = css(page, "#heat-response thead th.c")
        return [int(head.get_attribute("data-index")) for head in heads if head.is_displayed()]

    assert shown() == ["contribution"]
    press(page, one(page, "[data-heat=response]"))
    assert shown() == ["response"]
    grouped = filters()
    choose(page, "#order-columns", "index")
    assert filters() == list(range(64))
    choose(page, "#order-columns", "group")
    assert filters() == grouped
    press(page, one(page, "#only-selected"))
    assert 20 < len(filters()) < 50
    press(page, one(page, "#only-selected"))
    press(page, one(page, f"#heat-response thead th[data-index='{grouped[0]}'] button"))
    responses = page.execute_script(
        "return [...document.querySelectorAll('#heat-response tbody tr')].map((row) => row.cells[1].textContent)"
    )
    values = [float(text.replace("−", "-")) for text in responses]
    assert values == sorted(values, reverse=True)


def test_a_cell_in_words_by_pointer_and_by_keyboard(page: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    cell = one(page, "#heat-contribution tbody tr:nth-child(3) td:nth-child(5)")
    ActionChains(page).move_to_element(cell).perform()
    said = one(page, "#readout").text
    assert said.startswith("2 × filter ")
    assert all(word in said for word in ("contribution", "knockout", "response"))
    first = one(page, "#heat-contribution td[tabindex]")
    first.send_keys(Keys.ARROW_RIGHT)
    page.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    active = page.switch_to.active_element
    assert active.tag_name == "td"
    place = page.execute_script("return [arguments[0].parentNode.rowIndex, arguments[0].cellIndex]", active)
    assert place == [2, 2]
    assert one(page, "#readout").text.startswith("1 × filter ")
    assert len(css(page, "#heat-contribution td[tabindex]")) == 1


def test_every_control_can_be_reached_by_keyboard(page: Any) -> None:
    from selenium.webdriver import Keys

    reached = set()
    for _ in range(60):
        page.switch_to.active_element.send_keys(Keys.TAB)
        element = page.switch_to.active_element
        reached |= {element.get_attribute("id"), element.tag_name}
    assert {"theme", "copy", "least", "order-columns", "order-rows", "only-selected"} <= reached


def test_light_and_dark_by_hand(page: Any) -> None:
    def paper() -> str:
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")  # type: ignore[no-any-return]

    before = paper()
    press(page, one(page, "#theme"))
    after = paper()
    assert after != before
    press(page, one(page, "#theme"))
    assert paper() == before


def test_activation_maps_can_be_left_out(page: Any) -> None:
    def picture() -> str:
        return page.execute_script("return getComputedStyle(document.querySelector('.tile')).backgroundImage")  # type: ignore[no-any-return]

    with_maps = picture()
    press(page, one(page, "#maps"))
    assert picture() != with_maps
    press(page, one(page, "#maps"))
    assert picture() == with_maps


def test_readable_without_scripts(browser: Any, digits_page: Path, tmp_path: Path) -> None:
    page = tmp_path / "still.html"
    shutil.copy(digits_page, page)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(browser, page)
        assert not [e for e in css(browser, ".js") if e.is_displayed()]
        assert len([e for e in css(browser, ".heat-view") if e.is_displayed()]) == 3
        assert len([e for e in css(browser, ".klass") if e.is_displayed()]) == 10
        assert column(browser, "#by-class", 1) == [str(digit) for digit in range(10)]
        assert complaints(browser) == []
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_hostile_names_do_nothing(browser: Any, hostile_run: Path) -> None:
    page = write_report(hostile_run, ReportConfig(no_layers=True)).page
    open_page(browser, page, 390)
    assert requests(browser) == [page.as_uri()]
    assert complaints(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert browser.execute_script("return document.scripts.length") == 1
    for index in range(len(HOSTILE)):
        choose(browser, "#pick", str(index))
        assert sections(browser) == [str(index)]
    from selenium.webdriver import ActionChains

    choose(browser, "#pick", "")
    ActionChains(browser).move_to_element(one(browser, "#heat-contribution td")).perform()
    assert one(browser, "#readout").text


def test_a_thousand_classes_open(browser: Any, thousand_page: Path) -> None:
    open_page(browser, thousand_page)
    assert complaints(browser) == []
    assert sections(browser) == ["0"]
    choose(browser, "#pick", "777")
    assert sections(browser) == ["777"]
    assert one(browser, "#class-777 .filter").is_displayed()
