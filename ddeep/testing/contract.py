"""Promises of specs, and the checks that hold a plugin to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar
from unittest import SkipTest

from ..errors import DdeepError, PluginError, suggestion
from ..registry.discovery import SPEC_TYPES, PluginRecord, normalized
from ..registry.registry import registry
from ..registry.specs import DatasetFamily, ModelFamily, Spec, resolve, takes_reference

S = TypeVar("S", bound=Spec)


class BrokenPromise(PluginError):  # noqa: N818 - what it is
    """A spec that breaks its contract. The message says what to fix."""


class Unchecked(DdeepError, SkipTest):  # noqa: N818 - no error of the plugin's
    """A promise that cannot be checked here: data or weights are not at hand. pytest skips the test."""


@dataclass(frozen=True)
class Promise(Generic[S]):
    """What a spec of some kind promises, and the function that checks it: ``check(spec, data_dir)``."""

    text: str
    check: Callable[[S, Path], None]


@dataclass(frozen=True, eq=False)
class Check:
    """One promise of one spec. Calling it raises BrokenPromise, or Unchecked where it cannot be checked here."""

    kind: str
    spec: Spec
    promise: Promise[Any]
    data_dir: Path

    def __str__(self) -> str:
        return f"{self.kind}: {self.spec.name}: {self.promise.text}"

    def __call__(self) -> None:
        try:
            with _offline():
                self.promise.check(self.spec, self.data_dir)
        except (BrokenPromise, Unchecked):
            raise
        except Exception as error:
            raise BrokenPromise(f"{self}: {type(error).__name__}: {error}") from error


def contract(plugin: str | None = None, data_dir: Path | str = "data") -> list[Check]:
    """Every check of what ``plugin`` provides: a distribution, or ``distribution:entry_point``; None: all plugins.

    ``data_dir`` is where datasets and weights are looked for; nothing is downloaded. Raises PluginError where no such
    plugin is installed, or it failed to load.
    """
    return [
        Check(kind, registry().catalog(kind)[name], promise, Path(data_dir))
        for record in _records(plugin)
        for kind in SPEC_TYPES
        for name in record.provides.get(kind, ())
        for promise in _promises(kind, registry().catalog(kind)[name])
    ]


def broken_unless(condition: object, problem: str, fix: str) -> None:
    """Raise BrokenPromise, with what to do about it, unless ``condition`` holds."""
    if not condition:
        raise BrokenPromise(f"{problem}. Fix: {fix}.")


@contextmanager
def _offline() -> Iterator[None]:
    before = os.environ.get("DDEEP_OFFLINE")
    os.environ["DDEEP_OFFLINE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("DDEEP_OFFLINE")
        if before is not None:
            os.environ["DDEEP_OFFLINE"] = before


def _records(plugin: str | None) -> list[PluginRecord]:
    records = list(registry().plugins)
    if plugin is not None:
        distribution, _, entry = plugin.partition(":")
        records = [
            record
            for record in records
            if normalized(record.distribution) == normalized(distribution)
            and entry in ("", record.key.partition(":")[2])
        ]
        if not records:
            near = suggestion(plugin, {r.distribution for r in registry().plugins})
            raise PluginError(
                f"No plugin {plugin!r} is installed.{near} `ddeep plugins` lists them; a package in a folder is "
                "installed with `pip install --editable FOLDER`."
            )
    for record in records:
        if plugin is not None and record.status != "loaded":
            raise PluginError(f"The plugin {record.key} was not loaded: {record.error}")
    return [record for record in records if record.status == "loaded"]


def _promises(kind: str, spec: Spec) -> Iterator[Promise[Any]]:
    yield Promise("its metadata is complete", _metadata)
    yield Promise("its functions can be imported", _references)
    module = import_module(f"{__package__}.{kind}")
    yield from module.FAMILY if isinstance(spec, ModelFamily | DatasetFamily) else module.PROMISES


def _metadata(spec: Spec, _data_dir: Path) -> None:
    broken_unless(
        spec.summary.strip() and "\n" not in spec.summary.strip(),
        f"The summary of {spec.name!r} is {spec.summary!r}",
        "say in one line what it is; `ddeep list` shows it",
    )
    broken_unless(
        spec.source.strip(),
        f"{spec.name!r} has no source",
        "name the paper and equation, or the place it comes from, in `source`",
    )


def _references(spec: Spec, _data_dir: Path) -> None:
    for field in fields(spec):
        value = getattr(spec, field.name)
        if not isinstance(value, str) or not takes_reference(field):
            continue
        try:
            found = resolve(value)
        except (ImportError, AttributeError, PluginError) as error:
            raise BrokenPromise(
                f"{field.name}={value!r} of {spec.name!r} cannot be imported: {error}. "
                "Fix: write 'package.module:function', and name what it imports in `dependencies`."
            ) from error
        broken_unless(callable(found), f"{field.name}={value!r} is a {type(found).__name__}", "name a function")
