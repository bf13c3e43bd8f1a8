"""The documents of the repository as pages of the site: their links follow them, each has a place in the navigation."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from os.path import relpath
from pathlib import Path
from typing import Any

from setup import FILES, PAGES, SITE
from studies.paths import ROOT
from website.notebooks import markdown

SOURCE = ROOT / "docs"
# Documents that lie elsewhere in the repository, by their page.
ELSEWHERE = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "data.md": "data/README.md",
    "performance-log.md": "benchmarks/log.md",
}
ELSEWHERE |= {
    f"plugins/{path.parent.name}.md": str(path.relative_to(ROOT)) for path in ROOT.glob("plugins/*/README.md")
}
ELSEWHERE |= {
    f"weights/{path.name}": str(path.relative_to(ROOT)) for path in ROOT.glob("ddeep_plugins_builtin/weights/*.md")
}
# A page that the navigation of zensical.toml does not name is one of these, so that a new document needs no more.
TUTORIALS, HOW_TO = "Tutorials", "How to"
BY_FOLDER = {"plugins": "Example plugins", "weights": "Packaged weights"}
_LINK = re.compile(r"(!?\[(?:[^][]|!?\[[^]]*\](?:\([^)]*\))?)*\]\()([^)\s]+)(\))")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^\s*(```|~~~)")


def stage(folder: Path) -> None:
    """Write every document into ``folder``, the root of the site's pages."""
    for path in sorted(SOURCE.rglob("*")):
        target = folder / path.relative_to(SOURCE)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(with_links(path.read_text(encoding="utf-8"), path, target, folder), encoding="utf-8")
        elif path.suffix == ".ipynb":
            target = target.with_suffix(".md")
            target.write_text(with_links(markdown(path, target), path, target, folder), encoding="utf-8")
        elif path.is_file():
            shutil.copyfile(path, target)
    for page, source in ELSEWHERE.items():
        target, path = folder / page, ROOT / source
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(with_links(path.read_text(encoding="utf-8"), path, target, folder), encoding="utf-8")


def with_links(text: str, source: Path, target: Path, folder: Path) -> str:
    """``source``'s Markdown, its relative links leading to pages of the site or, where there is none, elsewhere."""

    def moved(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        if re.match(r"[a-z]+:|#", link):
            return match[0]
        path, sharp, anchor = link.partition("#")
        found = (source.parent / path).resolve()
        if target.parent.joinpath(path).exists() and not found.exists():
            return match[0]  # made for the page: a notebook's picture
        return f"{before}{_address(found, target, folder)}{sharp}{anchor}{after}"

    seen: Counter[str] = Counter()
    return "".join(_outside_code(text, lambda part: _HEADING.sub(partial(_anchored, seen), _LINK.sub(moved, part))))


def _anchored(seen: Counter[str], heading: re.Match[str]) -> str:
    """A heading that an earlier one equals gets the anchor that code hosts give it, which documents link to."""
    slug = re.sub(r"[^\w\- ]", "", heading[1].lower()).replace(" ", "-")
    seen[slug] += 1
    return heading[0] if seen[slug] == 1 else f"{heading[0]} {{ #{slug}-{seen[slug] - 1} }}"


def _address(found: Path, target: Path, folder: Path) -> str:
    readme = found / "README.md"
    repository = found.relative_to(ROOT).as_posix() if found.is_relative_to(ROOT) else None
    if repository == "README.md":
        return relpath(folder / "index.md", target.parent)
    for page, source in ELSEWHERE.items():
        if source in (repository, readme.relative_to(ROOT).as_posix() if found.is_dir() else None):
            return relpath(folder / page, target.parent)
    if found.is_relative_to(SOURCE):
        page_path = folder / found.relative_to(SOURCE)
        return relpath(page_path.with_suffix(".md") if found.suffix == ".ipynb" else page_path, target.parent)
    return f"{FILES if found.suffix in ('.png', '.svg') else PAGES}{repository}"


def _outside_code(text: str, change: Callable[[str], str]) -> Iterator[str]:
    """``text`` with ``change`` made to what is between its blocks of code."""
    part: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and not fence:
            yield change("".join(part))
            part, fence = [], mark[1]
        part.append(line)
        if mark and mark[1] == fence and len(part) > 1:
            yield "".join(part)
            part, fence = [], ""
    yield "".join(part) if fence else change("".join(part))


def configuration(folder: Path) -> str:
    """zensical.toml for the pages in ``folder``: the repository's, with a place for every page."""
    project: dict[str, Any] = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    named = set(_named(project["nav"]))
    pages = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    if absent := named - pages:
        raise SystemExit(f"error: zensical.toml names pages that are not there: {', '.join(sorted(absent))}")
    sections = dict(_sections(project["nav"]))
    for page in sorted(pages - named):
        notebook = (SOURCE / page).with_suffix(".ipynb").exists()
        sections[BY_FOLDER.get(page.partition("/")[0], TUTORIALS if notebook else HOW_TO)].append(page)
    return f"[project]\nsite_url = {_value(SITE)}\n{_toml(project)}"


def _sections(nav: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """The lists that a navigation names, at any depth."""
    for entry in nav:
        for name, entries in entry.items() if isinstance(entry, dict) else ():
            if isinstance(entries, list):
                yield name, entries
                yield from _sections(entries)


def _named(nav: Any) -> Iterator[str]:
    """The pages that a navigation names, at any depth."""
    for entry in nav.values() if isinstance(nav, dict) else nav:
        if isinstance(entry, str):
            yield entry
        else:
            yield from _named(entry)


def _toml(table: dict[str, Any]) -> str:
    """Keys and values as TOML, tables within as inline ones: JSON but for the sign between the two."""
    return "".join(f"{name} = {_value(value)}\n" for name, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
