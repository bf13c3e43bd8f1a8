"""The command line. Each command is a thin function in a module of its own that imports torch, if at all, inside it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .. import __version__, console
from .._platform import keep_freed_memory
from ..errors import DdeepError, PeerError
from ..registry.discovery import BLOCK_VARIABLE
from . import cache, compare, explain, finetune, layers, listing, measure, merge, plugins, report, run, train
from .lists import ListCommand

__all__ = ["app", "main"]

app = typer.Typer(
    name="ddeep",
    help="Find, prove and use the class-specific filters of deep CNNs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("layers", short_help="Show a model's layers and what they put out.")(layers.layers)
app.command("list")(listing.list_)
app.add_typer(plugins.app, name="plugins", short_help="Show the installed plugins; write one; check one.")
app.command("run", short_help="Find each class's filters, decompose, refit and measure.")(run.run)
app.command("merge", short_help="Join the shards of one run and finish it.")(merge.merge)
app.add_typer(cache.app, name="cache", short_help="List what is cached; clear it.")
app.command("measure", cls=ListCommand, short_help="Measure how selective layers are, and what classes share.")(
    measure.measure
)
app.command("compare", cls=ListCommand, short_help="Compare strategies for every k, with intervals.")(compare.compare)
app.command("report", short_help="Turn a run into one HTML file that opens anywhere.")(report.report)
app.command("explain", short_help="Take a prediction apart, filter by filter.")(explain.explain)
app.command("train")(train.train)
app.command("finetune")(finetune.finetune)


def _show_version(wanted: bool) -> bool:
    if wanted:
        console.say(f"ddeep {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _global_options(
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
    no_plugins: Annotated[
        bool, typer.Option("--no-plugins", help=f"Load only the built-in plugins (as does {BLOCK_VARIABLE}='*').")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Download nothing, whatever is missing (as does DDEEP_OFFLINE=1).")
    ] = False,
) -> None:
    if offline:
        os.environ["DDEEP_OFFLINE"] = "1"
    if no_plugins:
        # In the environment, so that processes started by this one see the same plugins.
        os.environ[BLOCK_VARIABLE] = ",".join(filter(None, [os.environ.get(BLOCK_VARIABLE), "*"]))


def main() -> int:
    """Run the command line and return the exit status: 1 for known errors, 2 for usage errors, 130 after Ctrl-C."""
    console.prepare()
    keep_freed_memory()
    try:
        status = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has left. Python flushes stdout again at exit, which must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        _leave_the_others()
        console.json_mode(False)
    return status


def _leave_the_others() -> None:
    """Where this process works with others, part from them; torch is not imported for it."""
    if f"{__package__.rpartition('.')[0]}.distributed" in sys.modules:
        from ..evidence import processes

        processes.close()


def _run() -> int:
    try:
        app(prog_name="ddeep")
    except SystemExit as exit_:
        status = exit_.code
    except Exception as error:
        if os.environ.get("DDEEP_DEBUG"):
            raise
        if isinstance(error, PeerError) and os.environ.get("RANK", "0") != "0":
            return 1  # rank 0 reports it
        hint = "" if isinstance(error, DdeepError) else " (set DDEEP_DEBUG=1 for the traceback)"
        name = "" if isinstance(error, DdeepError) else f"{type(error).__name__}: "
        console.error(f"{name}{error}{hint}")
        return 1
    if status == 130:
        console.note("Interrupted.")
    elif isinstance(status, str):
        console.error(status)
    return status if isinstance(status, int) else int(status is not None)
