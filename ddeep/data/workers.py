"""Processes that read files for this one, batch by batch and a few batches ahead."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import DataError
from .shared_memory import end_when_nothing_can_be_sent

PREFETCHED = 2  # batches that each worker is ahead


def default_workers(world: int = 1) -> int:
    """Reading processes for each of ``world`` processes: one per processor that may be used, at most 8."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, processors // world))


def read_ahead(batches: Dataset[Any], workers: int, *, in_shared_memory: bool, pinned: bool = False) -> Iterator[Any]:
    """All items of ``batches``, in order, each made by one of the ``workers``; by this process where there are none.

    They are handed over in shared memory, or else through pipes, for which they must hold no tensors. Raises DataError
    where a worker dies.
    """
    loader: DataLoader[Any] = DataLoader(
        batches,
        batch_size=None,
        collate_fn=None if in_shared_memory else _as_it_is,
        prefetch_factor=PREFETCHED if workers else None,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=partial(_end_with, os.getpid()),
        # Starting a process afresh would import torch again; and the parent of a forked one is this process.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        generator=torch.Generator(),  # or every pass would move on the random numbers of all else
    )
    try:
        yield from _started(loader)
    except (RuntimeError, ConnectionError, EOFError) as error:  # the latter where it died while it handed over a batch
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise DataError(
            "A process that reads images died, most likely for want of memory (or of shared memory, /dev/shm). "
            "Try a smaller --batch-size."
        ) from error


def _started(loader: DataLoader[Any]) -> Iterator[Any]:
    """An iterator whose workers leave signals to this process, and whose next() reports a worker that died."""
    # Workers inherit the mask: Ctrl-C reaches this process alone.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if threading.current_thread() is threading.main_thread():
            # torch has set one that raises a dead worker's error in whatever code happens to run.
            signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


def _end_with(parent: int, _number: int) -> None:
    """Make a worker end soon after ``parent``. torch's own watch misses one that dies while its workers start.

    And quietly: a parent that Ctrl-C has stopped no longer takes what a thread of the worker is about to send.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    def report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, BrokenPipeError | ConnectionResetError):
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report
    end_when_nothing_can_be_sent()
    threading.Thread(target=watch, daemon=True).start()


def _as_it_is(batch: Any) -> Any:
    return batch
