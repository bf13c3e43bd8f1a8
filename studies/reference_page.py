"""The reference page: commands with their options, and what ``ddeep`` and ``ddeep.plugin`` offer, from the code.

python -m studies.reference_page     writes docs/reference.md
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import ddeep
from ddeep import plugin
from ddeep.cli import COMMANDS, load_command
from studies.paths import ROOT

FILE = ROOT / "docs" / "reference.md"
OTHERS = "Besides"


def page() -> str:
    """The whole page."""
    lines = [
        "# Reference",
        "",
        "Written by `python -m studies.reference_page` from the code; a test holds it to that.",
        "",
        "- [Commands](#commands)",
        "- [Python: `ddeep`](#python-ddeep)",
        "- [Python: `ddeep.plugin`](#python-ddeepplugin)",
        "",
        "## Commands",
        "",
        "Each takes `--json` (one document on stdout). Those with `--config FILE` read the same names from TOML.",
        "",
    ]
    for name in COMMANDS:
        lines += [*_command(f"ddeep {name}", load_command(name)), ""]
    lines += ["## Python: `ddeep`", "", "For users. `import ddeep` does not import torch.", "", *_names(ddeep), ""]
    lines += [
        "## Python: `ddeep.plugin`",
        "",
        "For authors of plugins. Nothing else of ddeep is public; the built-in plugins import no more than this.",
        "",
        *_names(plugin),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [option for option in command.params if option.param_type_name == "argument"]
    options = [option for option in command.params if option.param_type_name == "option" and option.name != "as_json"]
    usage = " ".join([name, *(option.name.upper() for option in arguments)])
    yield f"### `{name}`"
    yield ""
    yield _flowing(command.help)
    yield ""
    if arguments:
        yield f"`{usage}`: " + " ".join(f"{option.name.upper()}: {option.help}" for option in arguments)
        yield ""
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(option.rich_help_panel or OTHERS, []).append(option)
    if options:
        yield "| option | |"
        yield "|---|---|"
    for panel in sorted(panels, key=lambda panel: panel == OTHERS):
        yield f"| **{panel}** | |"
        for option in panels[panel]:
            flags = " / ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
            yield f"| {flags} | {_cell(option.help)} |"
    for sub in sorted(getattr(command, "commands", {})):
        yield ""
        yield from _command(f"{name} {sub}", command.commands[sub])


def _names(module: ModuleType) -> Iterator[str]:
    for name in sorted(module.__all__, key=str.lower):
        thing = getattr(module, name)
        text = _flowing((inspect.getdoc(thing) or "").partition("\n\n")[0]) if callable(thing) else ""
        yield f"- **`{name}{_signature(thing)}`**" + (f": {text}" if text else "")


def _signature(thing: Any) -> str:
    """Names and defaults; the types are in the code, and would fill the page."""
    if not inspect.isfunction(thing):
        return ""
    parts, keywords = [], False
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            keywords = True
            parts.append("*")
        mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parts.append(f"{mark}{parameter.name}{default}")
    return f"({', '.join(parts)})"


def _flowing(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> None:
    """Write it."""
    FILE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
