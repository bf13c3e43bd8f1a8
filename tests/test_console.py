"""Output: where it goes, how it looks on a terminal and in a pipe, and what a hostile name cannot do."""

from __future__ import annotations

import io
import json
import re
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from ddeep import console
from ddeep.console.tables import GAP, drawn
from ddeep.files.json import json_text

HOSTILE = "\x1b[31mred\x1b]0;title\x07 [bold]x[/bold] \u202ereversed\x9b2J\r\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """One terminal for both streams, with no colour, so that escape sequences in it are styles or a name's own."""
    stream = Terminal()
    # pytest puts its own streams into sys before each phase of a test, so replace what the console looks at.
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=stream, stderr=stream))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def test_results_and_the_rest_go_to_different_streams(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a result")
    console.note("a note")
    console.warn("a\nwarning")
    console.error("an  error")
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert err == "a note\nwarning: a warning\nerror: an error\n"


def test_a_piped_table_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("accuracy", ["class", "full", "filters"], [["cat", "91.7", "3, 5"], ["aeroplane", 8, None]])
    assert capsys.readouterr().out == (
        "accuracy\nclass      full  filters\ncat        91.7  3, 5\naeroplane     8  -\n"
    )


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["8", "-12.5", "1,797", "3e-05", "97 %", "-", ""], True),
        (["1.0", "0.1.0"], False),
        (["3, 5"], False),
        (["8", "cat"], False),
    ],
)
def test_columns_of_figures_are_aligned_to_the_right(
    capsys: pytest.CaptureFixture[str], cells: list[str], right: bool
) -> None:
    console.table("", ["a wide column", "b"], [[cell, "|"] for cell in cells])
    for cell, line in zip(cells, capsys.readouterr().out.splitlines()[1:], strict=True):
        assert line == (cell.rjust(13) if right else cell.ljust(13)) + "  |"


def test_a_table_without_rows_shows_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("", ["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


def test_a_table_on_a_terminal_is_drawn(terminal: Terminal) -> None:
    console.table("accuracy", ["class", "full"], [["[bold]cat[/bold]", "91.7"]])
    title, head, row = terminal.getvalue().splitlines()
    assert (title, row.split()) == ("accuracy", ["[bold]cat[/bold]", "91.7"])
    assert head.startswith("\x1b[1mclass")  # in bold


def shown(terminal: Terminal) -> list[str]:
    return re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()


def test_words_go_on_in_the_next_line_and_numbers_do_not(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "32")
    console.table("", ["name", "what it is", "refit %"], [["paper", "the most often active ones", "90.67 ± 0.57"]])
    assert [line.rstrip() for line in shown(terminal)] == [
        "name   what it is        refit %",
        "paper  the most     90.67 ± 0.57",
        "       often",
        "       active ones",
    ]


def test_columns_without_room_go_on_below(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    console.table("", ["k", "name", "one", "two"], [["2", "cat", "1000000", "2000000"], ["3", "dog", "3", "4"]], keys=2)
    assert [line.split() for line in shown(terminal)] == [
        ["k", "name", "one"], ["2", "cat", "1000000"], ["3", "dog", "3"], [],
        ["k", "name", "two"], ["2", "cat", "2000000"], ["3", "dog", "4"],
    ]  # fmt: skip


@example(
    [("", 0, -0.0), ("a" * 13, 0, 0.0)], 30
)  # a word and a number, each of which has room, but not beside the other
@given(
    st.lists(st.tuples(st.text("ab ", max_size=30), st.integers(0, 10**9), st.floats(-1e3, 1e3)), min_size=1),
    st.integers(30, 120),
)
def test_no_table_breaks_a_number_or_leaves_its_room(rows: list[tuple[str, int, float]], room: int) -> None:
    cells = [(name, str(count), f"{share:.2f} ± {share:.1e}") for name, count, share in rows]
    right = [False, True, True]
    found = ""
    for table, wide in drawn(["name", "how many", "share %"], cells, right, 1, room):
        assert wide - GAP <= room
        stream = io.StringIO()
        Console(file=stream, width=wide).print(table, crop=False)
        found += stream.getvalue()
    for cell in cells:
        for text in cell[1:]:
            assert text in found


def test_facts_and_sentences_end_between_words(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    console.prose("a sentence that is longer than a terminal of forty columns")
    console.fact("p best", "chance of so large a difference")
    console.fact("saved in", "/a/" + "long/" * 9)
    assert shown(terminal) == [
        "a sentence that is longer than a",
        "terminal of forty columns",
        "p best             chance of so large a",
        "                   difference",
        "saved in",
        "                   /a/" + "long/" * 9,
    ]


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_dumb_terminal_gets_plain_text(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, term: str) -> None:
    monkeypatch.setenv("TERM", term)
    console.table("", ["class"], [["cat"]])
    console.warn("careful")
    assert terminal.getvalue() == "class\ncat\nwarning: careful\n"


def test_no_color_is_respected(terminal: Terminal) -> None:
    console.warn("careful")
    console.error("wrong")
    colours = re.findall(r"\x1b\[(?:\d+;)*(?:3|4|9|10)[0-7](?:;\d+)*m", terminal.getvalue())
    assert colours == []
    assert "warning: careful" in terminal.getvalue()


@pytest.mark.parametrize("tty", [False, True])
def test_hostile_names_are_shown_and_not_obeyed(tty: bool, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "isatty", lambda _: tty)
    console.table(HOSTILE, [HOSTILE], [[HOSTILE]])
    console.say(HOSTILE)
    console.note(HOSTILE)
    console.warn(HOSTILE)
    console.error(HOSTILE)
    shown = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())  # the styles that rich itself adds
    assert not set(shown) & set("\x1b\x07\x9b\r\u202e")
    assert shown.count(r"\x1b[31mred") == 7
    assert shown.count("[bold]x[/bold]") == 7


@given(st.text(st.characters(codec=None)))
def test_cleaned_text_is_one_line_of_encodable_characters(text: str) -> None:
    cleaned = console.clean(text)
    assert len(cleaned.splitlines()) <= 1
    assert "\x1b" not in cleaned
    cleaned.encode("utf-8")


def test_ordinary_text_stays_as_it_is() -> None:
    for text in ("aeroplane", "Ψ ≤ 0.5", "日本語", "naïve [tag]", "a\u00a0b"):
        assert console.clean(text) == text


def test_json_mode_keeps_stdout_for_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    console.document("not shown")
    console.json_mode(True)
    try:
        console.json_mode(True)
        console.table("", ["a"], [[1]])
        console.say("text")
        print("a library prints")
        console.document("{}")
    finally:
        console.json_mode(False)
        console.json_mode(False)
    console.say("after")
    out, err = capsys.readouterr()
    assert out == "{}\nafter\n"
    assert err == "a library prints\n"


def test_json_is_strict_and_takes_arrays_and_paths() -> None:
    data = {
        "nan": float("nan"),
        "inf": [float("inf"), -float("inf"), 1.5],
        "numpy": np.float64("nan"),
        "array": np.array([[1, 2], [3, 4]]),
        "floats": torch.tensor([0.5, float("nan")]),
        "count": np.int64(3),
        "flag": True,
        "none": None,
        "path": Path("runs") / "one",
        3: ("tuple", "\x1b Ψ \ud800"),
    }
    assert json.loads(json_text(data), parse_constant=lambda name: pytest.fail(name)) == {
        "nan": None,
        "inf": [None, None, 1.5],
        "numpy": None,
        "array": [[1, 2], [3, 4]],
        "floats": [0.5, None],
        "count": 3,
        "flag": True,
        "none": None,
        "path": str(Path("runs/one")),
        "3": ["tuple", "\x1b Ψ \ud800"],
    }
    assert json_text(data).isascii()


def test_json_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="no JSON form for object"):
        json_text({"a": object()})


def test_quick_work_shows_no_progress(terminal: Terminal) -> None:
    with console.progress("Evidence", total=3) as advance:
        for _ in range(3):
            advance(1)
    assert "Evidence" not in terminal.getvalue()


def test_slow_work_shows_progress_on_a_terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_SHOWN_AFTER", 0.05)
    results = sys.stdout
    with console.progress("[b]Evi\x1bdence", total=3) as advance:
        advance(2)
        time.sleep(0.5)
        console.say("beside it")
        assert sys.stdout is results  # still its own: results must not follow the progress to the terminal
    assert r"[b]Evi\x1bdence" in terminal.getvalue()
    assert "2/3" in terminal.getvalue()
    assert "beside it" in terminal.getvalue()


def test_progress_ends_with_its_block_even_when_that_fails(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_SHOWN_AFTER", 0.02)

    def fail() -> None:
        with console.progress("Evidence") as advance:
            advance(1)
            time.sleep(0.2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    length = len(terminal.getvalue())
    time.sleep(0.3)
    assert len(terminal.getvalue()) == length


def test_progress_in_a_pipe_is_a_plain_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in range(1000))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress("Evidence", total=50) as advance:
        for _ in range(50):
            advance(1)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "Evidence: 10 of 50"
    assert 3 <= len(lines) <= 5


def test_warnings_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        console.prepare()
        warnings.warn("first\nsecond", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: first second\n"


def test_a_status_is_shown_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with console.status() as update:
        for second in range(31):
            clock[0] = float(second)
            update(f"second {second}\x1b[2J")
    assert capsys.readouterr().err.splitlines() == [f"second {second}\\x1b[2J" for second in (10, 20, 30)]
