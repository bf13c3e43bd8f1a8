"""What is wrong with a built site: links within it that lead nowhere, and pages that would fetch from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

_VIEW = re.compile(r"(class|filter)-\d+")  # of a report, whose script makes it when it is asked for
_LINKS = {"a": "href", "img": "src", "iframe": "src", "script": "src", "link": "href", "source": "src"}
_FETCHED = ("img", "iframe", "script", "source")
_NAMES_A_PAGE = ("canonical", "next", "prev", "edit")  # what `link` may point elsewhere for


class _Page(HTMLParser):
    """The anchors and links of a page, and its pictures without a description."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[str, str]] = []
        self.undescribed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        link = given.get(_LINKS.get(tag, ""))
        fetched = tag in _FETCHED or (tag == "link" and given.get("rel") not in _NAMES_A_PAGE)
        if link:
            self.links.append(("fetches" if fetched else "links to", link))
        inline = (link or "").startswith(
            "data:"
        )  # what a cell of a notebook has displayed, with its own words around it
        if tag == "img" and "alt" not in given and not inline:
            self.undescribed.append(given.get("src", ""))


def problems(site: Path) -> list[str]:
    """One line for each dead link, each address that a page would fetch from, each picture without a description."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        found += [f"{name}: a picture without a description: {picture[:60]}" for picture in page.undescribed]
        for does, link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                if does == "fetches" and not link.startswith("data:"):
                    found.append(f"{name} {does} {link}")
            elif name != "404.html" and not _leads(path, link, pages):  # that one stands for any address
                found.append(f"{name} {does} {link}, which is not there")
    return found


def _leads(path: Path, link: str, pages: dict[Path, _Page]) -> bool:
    """Whether a relative link leads to a file and, in a page, to an anchor."""
    address, anchor = urldefrag(link)
    target = (path.parent / unquote(urlsplit(address).path)).resolve() if address else path
    if target.is_dir():
        target /= "index.html"
    if target not in pages:
        return target.is_file()
    anchors = pages[target].anchors
    if "view" in anchors and _VIEW.fullmatch(anchor):
        return True
    return not anchor or unquote(anchor) in anchors or anchor.startswith("__")
