"""What all commands share: how they are defined, and the options that are no settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..errors import suggestion


def new_app(*, invoke_without_command: bool = False) -> typer.Typer:
    """What a command, or several of one name, are defined on."""
    return typer.Typer(
        add_completion=False,
        invoke_without_command=invoke_without_command,
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
    )


def one_of(known: Sequence[str]) -> Callable[[str | None], str | None]:
    """What checks that a value is one of these, and says which is near."""

    def check(value: str | None) -> str | None:
        if value is None or value in known:
            return value
        raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}.{suggestion(value, known)}")

    return check


def examples(*lines: str) -> str:
    """The end of a command's help: what one would type."""
    return "\n\n".join(["Examples:", *lines])


def _choose_form(as_json: bool) -> bool:
    console.json_mode(as_json)
    return as_json


# A command with this option calls both console.table (or say) and console.document; the one asked for is shown.
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and no tables.", callback=_choose_form)
]
ConfigOption = Annotated[
    Path | None, typer.Option(help="TOML file with these options by name; the command line wins over it.")
]
