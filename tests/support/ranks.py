"""Several processes of one command, forked from the test's: they need not import torch and all the rest anew."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch._dynamo  # or each of the processes would load it for itself, to train
from accelerate.state import AcceleratorState

from tests.support.helpers import Outcome
from tests.support.waiting import PATIENCE


def ranks(processes: int, work: Callable[[], int], folder: Path) -> Outcome:
    """``work`` in so many processes that know of each other as torchrun's do; its status, and what all wrote together.

    One alone is a process like any other.

    What one writes lies in ``folder``. Nobody ends the others where one fails, so this is for work that none fails at.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    common = common if processes > 1 else {}
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=_one, args=(work, folder, rank, common)) for rank in range(processes)]
    folder.mkdir(exist_ok=True)
    for process in started:
        process.start()
    for process in started:
        process.join(PATIENCE)
        process.kill()
    out, err = ("".join((folder / f"{rank}.{end}").read_text() for rank in range(processes)) for end in ("out", "err"))
    return Outcome(max(abs(process.exitcode or 0) for process in started), out, err)


def _one(work: Callable[[], int], folder: Path, rank: int, common: Mapping[str, str]) -> None:
    if common:
        os.environ.update({**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
    torch.set_num_threads(1)  # those of the parent are not here, and would be waited for
    os.environ["OMP_NUM_THREADS"] = "1"  # or accelerate asks for more
    AcceleratorState._reset_state(reset_partial_state=True)  # a test before this one may have trained alone
    for end, stream in (("out", 1), ("err", 2)):
        with (folder / f"{rank}.{end}").open("w") as file:
            os.dup2(file.fileno(), stream)
    # What pytest has put in their place is the parent's.
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    try:
        status = work()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nothing of the parent's is tidied up here
