"""The command line. Each command is a thin function in a module of its own, imported only when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from .. import __version__, console
from .._platform import keep_freed_memory
from ..errors import DdeepError, PeerError
from ..interrupts import Interruption, noticed_interrupts
from ..registry.discovery import BLOCK_VARIABLE
from ..registry.own_code import ALLOW_VARIABLE

__all__ = ["COMMANDS", "app", "main"]

# The module of each command, and what the list of commands says of it.
COMMANDS = {
    "layers": ("layers", "Show a model's layers and what they put out."),
    "list": ("listing", "List models, datasets, strategies, metrics or regularizers."),
    "plugins": ("plugins", "Show the installed plugins; write one; check one."),
    "run": ("run", "Find each class's filters, decompose, refit and measure."),
    "merge": ("merge", "Join the shards of one run and finish it."),
    "verify": ("verify", "Check that runs, shards and the cache are what was written."),
    "cache": ("cache", "List what is cached; clear it."),
    "measure": ("measure", "Measure how selective layers are, and what classes share."),
    "compare": ("compare", "Compare strategies for every k, with intervals."),
    "report": ("report", "Turn a run into one HTML file that opens anywhere."),
    "serve": ("serve", "Show a run's page here, and look at images of your own."),
    "explain": ("explain", "Take a prediction apart, filter by filter."),
    "predict": ("predict", "Sets of classes that hold the true one as often as asked."),
    "train": ("train", "Train a model from scratch."),
    "finetune": ("finetune", "Train the whole network through its decomposed head."),
    "export": ("export", "Write a run's network as a file that needs no ddeep."),
    "cut": ("cut", "Make a smaller network for some of a run's classes."),
    "forget": ("forget", "Take classes out of a run's network without their images."),
    "merge-modules": ("merge_modules", "Join cut networks to one."),
}


class _Commands(TyperGroup):
    """Lists commands by what ``COMMANDS`` says of them; one that is called is imported.

    An option of all commands that follows one is told where it belongs.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        for late in {option for one in self.params for option in one.opts if not one.is_eager}.intersection(rest):
            ctx.fail(f"{late} comes before the command: ddeep {late} {name} …")
        return name, load_command(str(listed.name)) if listed is not None else None, rest


def load_command(name: str) -> Any:
    """The command called ``name``, imported."""
    module = import_module(f".{COMMANDS[name][0]}", __name__)
    command = typer.main.get_command(module.app)
    command.name = name
    return command


app = typer.Typer(
    name="ddeep",
    cls=_Commands,
    help="Find, prove and use the class-specific filters of deep CNNs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if sys.stdout.isatty() else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _listed() -> None:
    raise AssertionError("a command that is called is imported first")


for _name, (_, _short) in COMMANDS.items():
    app.command(_name, short_help=_short, help=_short)(_listed)


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
    own_code: Annotated[
        bool,
        typer.Option(
            "--own-code",
            help=f"Run the code of your own that a run's folder or a config file names (as does {ALLOW_VARIABLE}=1); "
            "what --model names needs no leave.",
        ),
    ] = False,
) -> None:
    if own_code:
        os.environ[ALLOW_VARIABLE] = "1"
    if offline:
        os.environ["DDEEP_OFFLINE"] = "1"
    if no_plugins:
        # In the environment, so that processes started by this one see the same plugins.
        os.environ[BLOCK_VARIABLE] = ",".join(filter(None, [os.environ.get(BLOCK_VARIABLE), "*"]))


def main() -> int:
    """Run the command line and return the exit status: 1 for known errors, 2 for usage errors, 130 after Ctrl-C."""
    console.prepare()
    keep_freed_memory()
    # pydantic reads every installed package's entry points for plugins of its own, and one that is damaged ends it.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with _no_silent_exit(), noticed_interrupts() as interruption:
            status = _run(interruption)
        if status == 0 and console.owes_document():
            console.error(f"The command ended early, without its document. {_WHOSE}")
            status = 1
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has left. Python flushes stdout again at exit, which must not complain either.
        console.json_mode(False)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        _leave_the_others()
        console.json_mode(False)
    return status


_WHOSE = "A plugin or a library did that: `ddeep --no-plugins …` leaves out all but the built-in ones."


@contextmanager
def _no_silent_exit() -> Iterator[None]:
    """While the block runs, nobody ends this process as if the command had succeeded; forked children may leave."""
    real, mine = os._exit, os.getpid()

    def leave(status: int) -> NoReturn:
        if os.getpid() == mine and status == 0:
            console.error(f"The command was ended from inside, by os._exit(0). {_WHOSE}")
            sys.stderr.flush()
            real(1)
        real(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit = real


def _leave_the_others() -> None:
    """Where this process works with others, part from them; torch is not imported for it."""
    if f"{__package__.rpartition('.')[0]}.evidence.processes" in sys.modules:
        from ..evidence import processes

        processes.close()


def _run(interruption: Interruption) -> int:
    try:
        app(prog_name="ddeep")
    except SystemExit as exit_:
        status = exit_.code
    except Exception as error:
        if os.environ.get("DDEEP_DEBUG"):
            raise
        if interruption.requested:  # what a Ctrl-C strikes may fail in its own way: a library's import, for one
            return _interrupted()
        if isinstance(error, PeerError) and os.environ.get("RANK", "0") != "0":
            return 1  # rank 0 reports it
        console.error(_told(error))
        return 1
    if status == 130:
        return _interrupted()
    if isinstance(status, str):
        console.error(status)
    return status if isinstance(status, int) else int(status is not None)


def _told(error: Exception) -> str:
    """What to say of an error: its own words where it was foreseen."""
    if isinstance(error, DdeepError):
        return str(error)
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):  # libraries want one on import
        return f"Cannot write a temporary file: {error.strerror}. Free the space, or set TMPDIR to a folder of yours."
    return f"{type(error).__name__}: {error} (set DDEEP_DEBUG=1 for the traceback)"


def _interrupted() -> int:
    console.note("Interrupted.")
    return 130
