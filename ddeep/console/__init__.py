"""The one sink for output: results on stdout, notes, warnings and progress on stderr.

Rich on a terminal, plain text elsewhere. With ``json_mode(True)`` stdout holds nothing but the document. Names come
from files and strangers: control characters in them are escaped and rich's markup is never interpreted.
"""

from __future__ import annotations

import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from shutil import get_terminal_size
from textwrap import wrap
from threading import Timer
from typing import TYPE_CHECKING, Any, Literal, TextIO

from .tables import drawn, numeric

if TYPE_CHECKING:
    from rich.console import Console

Stream = Literal["stdout", "stderr"]

# Control characters, line separators, direction overrides and lone surrogates: what could fool a terminal or a reader.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_STDOUT, _STDERR = 1, 2
_NAMES = 18  # columns for the names of facts
_SHOWN_AFTER = 1.0  # seconds before progress shows
_PLAIN_EVERY = 10.0  # seconds between plain progress lines


@dataclass
class _State:
    """In JSON mode, the real stdout, whether the descriptor is kept for it, and whether the document is out."""

    stdout: TextIO | None = None
    kept: TextIO | None = None
    printed: bool = False


_state = _State()


def prepare() -> None:
    """Set up the streams of a command: names that the terminal cannot encode are escaped, warnings take one line."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.showwarning = lambda message, *_: warn(str(message))


def json_mode(on: bool) -> None:
    """Keep stdout for ``document`` alone (on), or show tables and text and no document (off).

    While it is on, whatever a library prints goes to stderr, also where it writes to the descriptor of stdout itself.
    """
    if on and _state.stdout is None:
        _state.stdout, sys.stdout, _state.printed = sys.stdout, sys.stderr, False
        _state.kept = _keep_descriptor(_state.stdout)
    elif not on and _state.stdout is not None:
        if _state.kept is not None:
            os.dup2(_state.kept.fileno(), _STDOUT)
            with suppress(BrokenPipeError):
                _state.kept.close()
        sys.stdout, _state.stdout, _state.kept = _state.stdout, None, None


def _keep_descriptor(stream: Any) -> TextIO | None:
    """Another way to where ``stream`` writes, if that is the process's stdout, whose descriptor then is stderr's."""
    try:
        if stream.fileno() != _STDOUT or sys.stderr.fileno() != _STDERR:
            return None
    except (OSError, ValueError):  # a stream of a test's or a notebook's
        return None
    stream.flush()
    kept = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    return open(kept, "w", encoding=stream.encoding, errors="backslashreplace")  # noqa: PTH123 - a descriptor


def owes_document() -> bool:
    """Whether a document was asked for and has not been printed."""
    return _state.stdout is not None and not _state.printed and not _serving()


def clean(text: object) -> str:
    """``text`` as one safe line: control characters and the like become visible escapes such as ``\\x1b``."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), str(text))


def say(text: str = "") -> None:
    """Print lines of results on stdout."""
    if _state.stdout is None:
        _print("stdout", "\n".join(clean(line) for line in text.split("\n")))


def note(text: str) -> None:
    """Tell something beside the results, on stderr."""
    _print("stderr", clean(text), "dim")


def warn(text: str) -> None:
    """Warn on stderr, in one line."""
    _print("stderr", f"warning: {clean(_joined(text))}", "yellow")


def error(text: str) -> None:
    """Report what ends the command on stderr, in one line."""
    who = f"process {os.environ['RANK']}: " if _serving() else ""
    _print("stderr", f"error: {who}{clean(_joined(text))}", "bold red", everyone=True)


def fact(name: str, value: object) -> None:
    """Print what is known by name, one line on stdout; on a terminal a long one goes on below its own start."""
    if _state.stdout is None:
        _print("stdout", _wrapped(f"{clean(name):{_NAMES}} {clean(value)}", " " * (_NAMES + 1)))


def prose(text: str) -> None:
    """Print a sentence on stdout, broken between words where a terminal ends."""
    if _state.stdout is None:
        _print("stdout", _wrapped(clean(text)))


def width() -> int:
    """Columns of the terminal; elsewhere what COLUMNS says, or 80."""
    return get_terminal_size().columns


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, keys: int = 1) -> None:
    """Print a table on stdout. Columns whose cells are all numbers (or empty) are aligned to the right.

    A cell is shown as it is given (``None`` as a dash): format figures before. On a terminal only words are broken
    over lines, never a number; columns that have no room there go on in a table below, after the first ``keys`` ones.
    """
    if _state.stdout is not None:
        return
    columns = [clean(name) for name in columns]
    cells = [["-" if value is None else clean(value) for value in row] for row in rows]
    right = [all(numeric(row[index]) for row in cells) for index in range(len(columns))]
    if title:
        _print("stdout", clean(title))
    if _is_terminal("stdout"):
        for number, (part, wide) in enumerate(drawn(columns, cells, right, keys, width())):
            if number:
                _print("stdout", "")
            _rich("stdout").print(part, crop=False, width=wide)
        return
    widths = [max(len(text) for text in column) for column in zip(columns, *cells, strict=True)]
    for row in [columns, *cells]:
        aligned = (
            text.rjust(width) if flush_right else text.ljust(width)
            for text, width, flush_right in zip(row, widths, right, strict=True)
        )
        _print("stdout", "  ".join(aligned).rstrip())


def document(text: str) -> None:
    """Print the command's document, a JSON text, on stdout, if that is what was asked for."""
    if _state.stdout is not None:
        stream = _state.kept or _state.stdout
        stream.write(text + "\n")
        stream.flush()
        _state.printed = True


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show progress on stderr while the block runs, if it runs for more than a second.

    Yields ``advance(steps)``. Off a terminal there is a plain line now and then; without ``total`` a moving bar only.
    """
    show = _rich_progress if _is_terminal("stderr") else _plain_progress
    with show(clean(title), total) as advance:
        yield advance


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Show the latest of many lines on stderr: in place on a terminal, elsewhere one now and then.

    Yields ``update(line)``, to be called as often as there is news.
    """
    if _is_terminal("stderr"):
        from rich.text import Text

        with _rich("stderr").status("") as shown:
            yield lambda text: shown.update(Text(clean(text)))
        return
    due = time.monotonic() + _PLAIN_EVERY

    def update(text: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _PLAIN_EVERY
            note(text)

    yield update


@contextmanager
def _plain_progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    done, due = 0, time.monotonic() + _PLAIN_EVERY

    def advance(steps: int) -> None:
        nonlocal done, due
        done += steps
        if time.monotonic() >= due and not _serving():
            due = time.monotonic() + _PLAIN_EVERY
            _print("stderr", f"{title}: {done}" + (f" of {total}" if total else ""))

    yield advance


@contextmanager
def _rich_progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [TextColumn("{task.description}", markup=False), BarColumn()]
    counted = [MofNCompleteColumn(), TimeRemainingColumn()] if total is not None else []
    # redirect_stdout would send results meant for a pipe to the terminal.
    bar = Progress(*columns, *counted, console=_rich("stderr"), transient=True, redirect_stdout=False)
    task = bar.add_task(title, total=total)
    timer = Timer(_SHOWN_AFTER, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda steps: bar.advance(task, steps)
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def _wrapped(text: str, indent: str = "") -> str:
    """``text`` in lines that a terminal has room for; elsewhere as it is."""
    if not _is_terminal("stdout"):
        return text
    lines = wrap(text, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _serving() -> bool:
    """Whether this is one of several processes, and not the one that talks to the user."""
    return os.environ.get("RANK", "0") != "0"


def _print(name: Stream, text: str, style: str = "", *, everyone: bool = False) -> None:
    if _serving() and not everyone:
        return
    if not _is_terminal(name):
        getattr(sys, name).write(text + "\n")
        return
    from rich.text import Text

    _rich(name).print(Text(text, style=style), soft_wrap=True)


def _rich(name: Stream) -> Console:
    from rich.console import Console

    return Console(file=getattr(sys, name), highlight=False)


def _is_terminal(name: Stream) -> bool:
    return getattr(sys, name).isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def _joined(text: str) -> str:
    return " ".join(text.split())
