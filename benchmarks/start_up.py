"""Starting up: commands that need no network, against Python's own start and an import of torch."""

from __future__ import annotations

from collections.abc import Callable

from ._common import Cost, Report, Settings, alternate, command

COMMANDS = {
    "python": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "ddeep --help": ["-m", "ddeep", "--help"],
    "ddeep list models": ["-m", "ddeep", "list", "models"],
    "ddeep list strategies": ["-m", "ddeep", "list", "strategies"],
}


def measure(settings: Settings) -> Report:
    """Seconds until each is done."""
    report = Report()
    report.costs = alternate({name: _command(words) for name, words in COMMANDS.items()}, settings.sized(9, 1))
    for name in COMMANDS:
        report.add(name, report.seconds(name), "s", at_most=0.5 if name.startswith("ddeep") else None)
    return report


def _command(words: list[str]) -> Callable[[], Cost]:
    return lambda: command(words).cost
