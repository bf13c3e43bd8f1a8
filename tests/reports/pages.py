"""A page read the way a browser reads it, without one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


@dataclass
class Page(HTMLParser):
    """Every element with its attributes, the text a reader sees, and the rows of every table by its identifier."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    _cell: bool = False
    _hidden: int = 0

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._hidden += tag in ("script", "style")
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs).get("id") or f"table {len(self.tables)}", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)
        if self._cell:
            self._rows[-1][-1] += data.strip()

    def of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every ``tag``."""
        return [attributes for name, attributes in self.elements if name == tag]


def read(page: Path | str) -> Page:
    """Parse a file, or text."""
    parsed = Page()
    parsed.feed(page.read_text(encoding="utf-8") if isinstance(page, Path) else page)
    parsed.close()
    return parsed


def visible(page: Path | str) -> str:
    """What a reader sees, as one text."""
    return " ".join("".join(read(page).texts).split())


def references(page: str) -> list[str]:
    """Everything a browser would fetch or go to."""
    attributes = [
        value
        for _, found in read(page).elements
        for name, value in found.items()
        if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "ping", "background")
    ]
    return attributes + re.findall(r"url\(\s*['\"]?([^)'\"]{0,40})", page) + re.findall(r"@import[^;]*", page)


def data_of(page: Path | str) -> dict[str, Any]:
    """The document that a run's page holds for its script."""
    text = page.read_text(encoding="utf-8") if isinstance(page, Path) else page
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index, no-any-return]
