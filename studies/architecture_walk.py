"""A walk through all architectures, each in a process of its own; resumable."""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .architecture_records import BYTES, Record, all_names, examine, examine_shapes, family_of


def in_turn(names: Iterable[str]) -> list[str]:
    """One of each family, then a second of each, and so on: an unfinished walk has seen something of all."""
    seen: Counter[str] = Counter()
    turns = []
    for name in names:
        family = family_of(name)
        turns.append((seen[family], name))
        seen[family] += 1
    return [name for _, name in sorted(turns)]


def read(path: Path) -> dict[str, Record]:
    lines = path.read_text().splitlines() if path.is_file() else []
    return {entry["name"]: Record(**entry) for entry in map(json.loads, lines)}


def smallest_of_large_families(done: dict[str, Record], members: Counter[str]) -> set[str]:
    """Of each family that is counted whole and has no member small enough: its smallest, for the others to go by."""
    families: dict[str, list[Record]] = {}
    for entry in done.values():
        families.setdefault(entry.family, []).append(entry)
    return {
        min(mine, key=lambda entry: (entry.parameters, entry.name)).name
        for family, mine in families.items()
        if len(mine) == members[family] and not any(entry.examined for entry in mine)
    }


def apart(look_at: Callable[..., Record], subject: str | Record, *more: Any) -> Record:
    """``look_at(subject, *more)`` in a process of its own: its memory is its own, and its end is not the walk's."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (BYTES, BYTES))
        sender.send(look_at(subject, *more))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    sender.close()
    try:
        return receiver.recv()  # type: ignore[no-any-return]
    except EOFError:
        process.join()
        facts = asdict(subject) if isinstance(subject, Record) else {"name": subject, "family": family_of(subject)}
        return Record(**{**facts, "problem": f"its process ended with status {process.exitcode}"})
    finally:
        process.join()


def walk(path: Path, limit: float) -> None:
    """Examine what the records lack, for at most ``limit`` seconds."""
    start = time.monotonic()
    done, members = read(path), Counter(map(family_of, all_names()))
    with path.open("a") as file:

        def put(entry: Record) -> None:
            done[entry.name] = entry
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()

        def put_shapes(name: str, *, last: bool) -> None:
            siblings = [other for other in done.values() if other.family == done[name].family]
            if not last and not any(other.works and other.checked == "values" for other in siblings):
                return
            found = apart(examine_shapes, done[name], siblings)
            if found.works or last:  # a sibling yet to be examined may show its parts
                put(found)

        for last in (False, True):
            for name in in_turn(all_names()):
                if time.monotonic() - start > limit:
                    return
                if name not in done:
                    put(apart(examine, name))
                if not done[name].examined:
                    put_shapes(name, last=last)
            for name in sorted(smallest_of_large_families(done, members)):
                put(apart(examine, name, float("inf")))
    print("done")
