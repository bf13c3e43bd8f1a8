"""Several processes, started by torchrun or accelerate launch: who is who, and how they share what they gathered.

Rank 0 runs the command. The other ranks serve it: they wait for a pass over the images, run their batches of it, hand
over what they gathered, and wait again. So only rank 0 decides, writes and prints, and nothing after a pass need know
that there were several processes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor

from ..errors import PeerError
from ..networks.layer import Layer
from ..statistics.statistic import Reduction, Statistic
from .ranks import rank as rank
from .ranks import world as world

ROWS_AT_ONCE = 65536  # responses sent in one message
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_OPERATIONS: dict[Reduction, Any] = {
    "sum": dist.ReduceOp.SUM,
    "min": dist.ReduceOp.MIN,
    "max": dist.ReduceOp.MAX,
}


class WorkerDone(SystemExit):
    """A serving process has done its part and ends well."""


def connect(device: torch.device) -> torch.device:
    """Join the other processes, if any: gloo on the CPU, NCCL on GPUs. Returns this process's own device."""
    if world() == 1:
        return device
    state = PartialState(cpu=device.type == "cpu")
    return state.device if device.type == "cuda" and device.index is None else device


def broadcast(message: object) -> None:
    """Rank 0 tells the serving ranks what to do next."""
    dist.broadcast_object_list([message], src=0)


def receive() -> Any:
    """A serving rank waits for what rank 0 tells."""
    box: list[Any] = [None]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def close() -> None:
    """Take leave of the other processes; if this is rank 0, they are let go."""
    if not dist.is_initialized():
        return
    try:
        if rank() == 0:
            broadcast(None)
    except RuntimeError:
        pass  # they are gone already
    finally:
        dist.destroy_process_group()


def raise_together(problem: str | None) -> None:
    """Meet the other processes; if any has a ``problem``, raise the first in all of them, and part."""
    problems: list[str | None] = [None] * world()
    dist.all_gather_object(problems, problem)
    first = next((number for number, text in enumerate(problems) if text is not None), None)
    if first is not None:
        dist.destroy_process_group()
        raise PeerError(f"Process {first} of {world()}: {problems[first]}")


def merge(statistic: Statistic, device: torch.device) -> None:
    """Merge a statistic's accumulators over all processes, by all-reduce where its merge is the plain one."""
    if type(statistic).merge is Statistic.merge:
        state = statistic.state()
        for name, reduction in statistic.reductions().items():
            shared = state[name].to(device)
            dist.all_reduce(shared, _OPERATIONS[reduction])
            state[name] = shared.cpu()
        statistic.load_state(state)
        return
    states: list[dict[str, Tensor]] = [{}] * world()
    dist.all_gather_object(states, statistic.state())
    _merge_in_order(statistic, states)


def _merge_in_order(statistic: Statistic, states: list[dict[str, Tensor]]) -> None:
    """Merge the states of ranks 0, 1, … in that order, so that every process ends with the same."""
    statistic.load_state(states[0])
    for state in states[1:]:
        other = statistic.twin()
        other.load_state(state)
        statistic.merge(other)


def agreed(filters: dict[Layer, int]) -> dict[Layer, int]:
    """What any process knows of the layers' numbers of filters."""
    known: list[dict[Layer, int]] = [{}] * world()
    dist.all_gather_object(known, filters)
    return {layer: count for part in known for layer, count in part.items()}


def total(seen: Tensor, skipped: int) -> tuple[Tensor, int]:
    """The images that any process has seen, and how many all have skipped."""
    union = seen.to(torch.uint8)
    dist.all_reduce(union, dist.ReduceOp.MAX)
    count = torch.tensor([skipped], device=seen.device)
    dist.all_reduce(count)
    return union.bool(), int(count)


def union(rows: Tensor, device: torch.device) -> Tensor:
    """Of rows of bytes that are zero where a process has none, all that any process has."""
    shared = rows.to(device, copy=True)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return shared.cpu()


def collect_rows(seen: Tensor, rows: Tensor, path: Path, device: torch.device) -> None:
    """Bring the rows that each process has ``seen`` into rank 0's ``rows``, which are mapped from ``path`` in each.

    A process of the same machine that sees rank 0's very file writes into it. Of one elsewhere whose file rank 0 sees,
    on a file system that they share, rank 0 reads them there. From any other they are sent, a part at a time.
    """
    mine = seen.nonzero()[:, 0]
    file: list[Any] = [_identity(path)]
    dist.broadcast_object_list(file, src=0)
    written = rank() == 0 or _write_into(file[0], mine, rows)
    kept = None if written else _kept(path, seen)
    offers: list[_Kept | None] = [None] * world()
    dist.all_gather_object(offers, kept)  # all have written, too
    read: list[Any] = [[rank() == 0 and offer is not None and _read_from(offer, rows) for offer in offers]]
    dist.broadcast_object_list(read, src=0)
    if kept is not None:
        _mark(path).unlink()
    if kept is not None and not read[0][rank()]:
        for indices in torch.split(mine, ROWS_AT_ONCE):
            dist.send(indices.to(device), dst=0)
            dist.send(rows[indices].to(device), dst=0)
    if rank() > 0:
        return
    for source, offer in enumerate(offers):
        waiting = offer.number if offer is not None and not read[0][source] else 0
        for start in range(0, waiting, ROWS_AT_ONCE):
            size = min(ROWS_AT_ONCE, waiting - start)
            indices = torch.empty(size, dtype=torch.int64, device=device)
            values = torch.empty(size, rows.shape[1], device=device)
            dist.recv(indices, src=source)
            dist.recv(values, src=source)
            rows[indices.cpu()] = values.cpu()


class _Kept(NamedTuple):
    """A process's own file of rows, on its disk by now: ``number`` of them, those of ``seen`` (as bits).

    Beside it lies a file with the text ``mark``: who reads that there has found the very file.
    """

    path: str
    mark: str
    number: int
    seen: bytes


def _kept(path: Path, seen: Tensor) -> _Kept:
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # what is mapped, too
    mark = uuid4().hex
    _mark(path).write_text(mark)
    return _Kept(str(path), mark, int(seen.sum()), np.packbits(seen.numpy()).tobytes())


def _mark(path: Path) -> Path:
    return path.with_suffix(".mark")


def _read_from(kept: _Kept, rows: Tensor) -> bool:
    """Copy the rows that another process has kept from its file, if that is to be seen here."""
    try:
        if _mark(Path(kept.path)).read_text() != kept.mark:
            return False
        there = torch.from_numpy(np.lib.format.open_memmap(kept.path, mode="c"))
    except (OSError, ValueError):
        return False
    if there.shape != rows.shape:
        return False
    seen = np.unpackbits(np.frombuffer(kept.seen, np.uint8), count=len(rows)).astype(bool)
    for indices in torch.split(torch.from_numpy(seen).nonzero()[:, 0], ROWS_AT_ONCE):
        rows[indices] = there[indices]
    return True


def _identity(path: Path) -> tuple[str, tuple[str, int, int] | None]:
    """A file, and what no other file anywhere has: the running kernel, the device and the inode; None where unknown."""
    try:
        found = path.stat()
        return str(path), (_BOOT.read_text().strip(), found.st_dev, found.st_ino)
    except OSError:
        return str(path), None


def _write_into(file: tuple[str, tuple[str, int, int] | None], mine: Tensor, rows: Tensor) -> bool:
    """Write the rows ``mine`` into rank 0's file, if it is to be seen here as well. Mappings of one kernel agree."""
    path, identity = Path(file[0]), file[1]
    if identity is None or _identity(path)[1] != identity:
        return False
    there = torch.from_numpy(np.lib.format.open_memmap(path, mode="r+"))
    for indices in torch.split(mine, ROWS_AT_ONCE):
        there[indices] = rows[indices]
    return True
