"""The views of a run's report in a real browser: gallery, class, filter, map, mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ddeep.experiments.settings import ReportConfig
from ddeep.reports.findings import find
from ddeep.reports.tiles import activation_maps, light
from tests.reports.browser import choose, complaints, css, go, one, open_page, press, text, wait
from tests.reports.pages import data_of


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
    assert "145 of 146 train images" in text(page, "#view .filter")
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
