"""The shell around every command: start-up, exit statuses, errors in one line, JSON."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import ddeep
from ddeep import cli as shell
from ddeep.errors import ConfigError
from tests.support.helpers import Distributions, Outcome

Cli = Callable[..., Outcome]
KINDS = ["models", "datasets", "strategies", "metrics", "regularizers", "executions"]


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["list"], ["list", "models"], ["plugins"]])
def test_start_up_imports_little_and_no_torch(args: list[str], tmp_path: Path) -> None:
    """What start-up takes is what it imports; `python -m benchmarks start_up` has the seconds."""
    code = (
        "import sys\n"
        f"sys.argv = ['ddeep', *{args!r}]\n"
        "from ddeep.cli import main\n"
        "status = main()\n"
        "heavy = {'torch', 'torchvision', 'timm', 'numpy', 'sklearn'} & set(sys.modules)\n"
        "count = len(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else f'{count} modules' if count > 400 else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")


def test_version_is_that_of_the_package(cli: Cli) -> None:
    assert cli("--version") == Outcome(0, f"ddeep {ddeep.__version__}\n", "")


def test_help_lists_the_commands_and_the_global_options(cli: Cli) -> None:
    shown = cli("-h")
    assert shown.status == 0
    for word in ("list", "plugins", "--version", "--no-plugins"):
        assert word in shown.out
    assert "..." not in shown.out.partition("Commands:")[2]  # each told whole
    assert shown.out.isascii()  # no frames in a pipe
    assert "\x1b" not in shown.out


@pytest.mark.parametrize(
    "args",
    [["nonsense"], ["list", "modells"], ["list", "models", "*", "extra"], ["--nonsense"], ["plugins", "--jsonn"]],
)
def test_usage_errors_exit_2_and_name_the_thing(cli_here: Cli, args: list[str]) -> None:
    outcome = cli_here(*args)
    assert outcome.status == 2
    assert outcome.out == ""
    assert any(word in outcome.err for word in args if word not in ("list", "models", "plugins", "*"))
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("args", [["plugins"], ["list"], *(["list", kind] for kind in KINDS)])
def test_json_is_one_document_and_names_its_schema(cli_here: Cli, args: list[str]) -> None:
    outcome = cli_here(*args, "--json")
    assert outcome.status == 0
    assert outcome.json["schema"] == f"ddeep.{args[0]}/1"


def test_list_shows_what_the_registry_holds(cli_here: Cli) -> None:
    from ddeep.registry.registry import registry

    listed = cli_here("list", "--json").json
    for kind in KINDS:
        assert [entry["name"].removesuffix("…").rstrip("/:") for entry in listed[kind]] == list(
            registry().catalog(kind)
        )
        for entry in listed[kind]:
            assert entry["plugin"] in registry().versions()
            assert entry["name"].removesuffix("…").rstrip("/:") in cli_here("list", kind).out


def test_list_takes_a_glob(cli_here: Cli) -> None:
    names = [entry["name"] for entry in cli_here("list", "models", "resnet2?", "--json").json["models"]]
    assert names == ["resnet20"]
    nothing = cli_here("list", "models", "xyzzy")
    assert nothing.status == 0
    assert nothing.out == ""
    assert "Nothing matches 'xyzzy'" in nothing.err


def fails(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `ddeep fail` raise ``error``."""

    def command() -> None:
        raise error

    does(monkeypatch, command)


def does(monkeypatch: pytest.MonkeyPatch, command: Callable[[], None]) -> None:
    """Let `ddeep fail` be ``command``."""
    broken = typer.Typer(pretty_exceptions_enable=False)
    broken.callback()(lambda: None)
    broken.command("fail")(command)
    monkeypatch.setattr(shell, "app", broken)


def test_a_known_error_is_one_line_and_exit_1(cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, ConfigError("k is 0.\nGive 1 \x1b[31mto 64."))
    assert cli_here("fail") == Outcome(1, "", "error: k is 0. Give 1 \\x1b[31mto 64.\n")


def test_an_unknown_error_is_named_in_one_line(cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, ZeroDivisionError("by\nzero"))
    outcome = cli_here("fail")
    assert outcome == Outcome(1, "", "error: ZeroDivisionError: by zero (set DDEEP_DEBUG=1 for the traceback)\n")


def test_debug_shows_the_traceback(cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(monkeypatch, ConfigError("k is 0"))
    monkeypatch.setenv("DDEEP_DEBUG", "1")
    with pytest.raises(ConfigError, match="k is 0"):
        cli_here("fail")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (SystemExit("a library gives up"), 1, "error: a library gives up\n"),
        (SystemExit(7), 7, ""),
        (SystemExit(), 0, ""),
    ],
)
def test_ways_to_stop(
    cli_here: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, text: str
) -> None:
    fails(monkeypatch, error)
    assert cli_here("fail") == Outcome(status, "", text)


def test_what_a_ctrl_c_strikes_may_fail_in_its_own_way(cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extension module that is being imported makes an ImportError of it."""

    def command() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    does(monkeypatch, command)
    assert cli_here("fail") == Outcome(130, "", "Interrupted.\n")


STRUCK = """
import signal, sys

class Strikes:
    def find_spec(self, name, path=None, target=None):
        if name == "ddeep.cli":
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("initialization failed") from None

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Strikes())
from ddeep.__main__ import main
from tests.support.waiting import PATIENCE
sys.exit(main())
"""


def test_ctrl_c_while_the_command_line_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", STRUCK], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_a_reader_that_leaves_is_no_error(distributions: Distributions) -> None:
    names = "\n".join(f"    yield StrategySpec('s{number}', select='a:b')" for number in range(5000))
    distributions.install(
        "many", f"from ddeep import StrategySpec, hookimpl\n@hookimpl\ndef ddeep_strategies():\n{names}"
    )
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "ddeep", "list", "strategies"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(distributions.site)},
    )
    os.close(writer)
    os.read(reader, 100)
    os.close(reader)
    _, errors = process.communicate(timeout=PATIENCE)
    assert errors == b""
    assert process.returncode == 1


def test_ctrl_c_is_one_line_and_exit_130(distributions: Distributions) -> None:
    distributions.install("slow", "import time\nprint('loading', flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "ddeep", "plugins"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(distributions.site)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert errors == "Interrupted.\n"
    assert process.returncode == 130


def test_a_stream_that_cannot_show_a_letter_gets_an_escape(cli: Cli) -> None:
    listed = cli("list", "models", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert listed.status == 0
    assert listed.out.isascii()


def test_the_module_and_the_script_are_the_same_program(cli: Cli) -> None:
    script = Path(sys.executable).with_name("ddeep")
    assert script.exists()
    done = subprocess.run([sys.executable, script, "--version"], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == cli("--version").out
