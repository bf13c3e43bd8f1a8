"""A real browser for the tests, where one is installed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars",
)  # fmt: skip


@contextmanager
def opened(profile: Path) -> Iterator[Any]:
    """A headless Chromium that notes every request and console message; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (pip install 'ddeep[test]')")
    binary = next(filter(None, map(shutil.which, _BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs Chromium and its chromedriver (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        browser.set_page_load_timeout(120)
        yield browser
    finally:
        browser.quit()


def open_page(browser: Any, page: Path, width: int = 1280, scheme: str = "light") -> None:
    """Open a file at a width, in a light or dark system. Earlier requests and messages are forgotten."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for, except data carried by the page itself."""
    messages = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith("data:")]


def complaints(browser: Any) -> list[str]:
    """Everything on the console."""
    return [entry["message"] for entry in browser.get_log("browser")]


def go(browser: Any, place: str) -> None:
    """Follow a link within the page; to "", back to its overview."""
    browser.execute_script("location.hash = arguments[0]; dispatchEvent(new HashChangeEvent('hashchange'))", place)


def text(browser: Any, selector: str) -> str:
    """All text of the first such element, hidden or not; empty where there is none."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def css(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)  # type: ignore[no-any-return]


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def choose(browser: Any, selector: str, value: str) -> None:
    """Choose in a ``<select>`` or move a slider, as a user's change would."""
    script = "const e = arguments[0]; e.value = arguments[1]; for (const t of ['input', 'change'])"
    browser.execute_script(f"{script} e.dispatchEvent(new Event(t))", one(browser, selector), value)


def press(browser: Any, element: Any) -> None:
    """Click where nothing covers it: the browser's own scrolling may leave it under the page's fixed header."""
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()


def column(browser: Any, table: str, place: int) -> list[str]:
    return [cell.text for cell in css(browser, f"{table} tbody tr > :nth-child({place})") if cell.is_displayed()]


def violations(browser: Any) -> list[str]:
    """What axe-core has against what is shown, all folds opened, with the elements it concerns; skips without it."""
    package = pytest.importorskip("axe_core_python", reason="needs axe-core-python (pip install 'ddeep[test]')")
    browser.set_script_timeout(300)
    browser.execute_script("for (const folded of document.querySelectorAll('details')) folded.open = true")
    if not browser.execute_script("return Boolean(window.axe)"):
        browser.execute_script((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const done = arguments[0];"
        "axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations))"
    )
    return [f"{one['id']}: {one['help']}: {[node['html'][:120] for node in one['nodes'][:5]]}" for one in found]
