"""A command in a fork of this process, which has imported torch already: it starts at once, and dies like any other."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Forked:
    """A running ``ddeep`` command, leader of a session of its own. ``log`` is where its stderr goes, after ``before``
    bytes of earlier ones.
    """

    pid: int
    log: Path
    before: int = 0
    status: int | None = None

    @classmethod
    def start(cls, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path) -> Forked:
        sys.stdout.flush()
        sys.stderr.flush()
        before = log.stat().st_size if log.exists() else 0
        ready, tell = os.pipe()
        pid = os.fork()
        if pid:
            os.close(tell)
            os.read(ready, 1)  # until it is about to begin
            os.close(ready)
            return cls(pid, log, before)
        status = 1
        try:
            os.setsid()
            os.chdir(folder)
            os.environ.update(environment)
            for stream, path in ((0, os.devnull), (1, os.devnull), (2, log)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), stream)
            # What the parent writes to may be pytest's; the command writes to its own.
            sys.stdin, sys.stdout, sys.stderr = (
                open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
                for number, mode in ((0, "r"), (1, "w"), (2, "w"))
            )
            sys.argv = ["ddeep", *arguments]
            from ddeep.__main__ import main

            os.write(tell, b".")
            status = main()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is None

    def kill(self) -> None:
        """Kill it and all that it has started, as a machine that dies does."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has not come to lead a session yet
            os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 600) -> int:
        """Its exit status, once it has ended."""
        end = time.monotonic() + seconds
        while self.running():
            assert time.monotonic() < end, f"it does not end: {self.said()}"
            time.sleep(0.01)
        assert self.status is not None
        return self.status

    def said(self) -> str:
        """What it has written to stderr."""
        return self.log.read_bytes()[self.before :].decode(errors="replace") if self.log.exists() else ""
