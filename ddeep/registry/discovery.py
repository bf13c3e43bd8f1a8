"""Find the entry points of group ``ddeep`` and load each by itself, so that none can break another."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Literal, NoReturn, cast, get_args

import pluggy

from ..errors import PluginError, suggestion
from ..interrupts import noticed_interrupts
from . import hookspecs
from .specs import (
    DatasetFamily,
    DatasetSpec,
    ExecutionSpec,
    Interpolation,
    MetricSpec,
    ModelFamily,
    ModelSpec,
    Pool,
    RegularizerSpec,
    Spec,
    StrategySpec,
    WeightsSpec,
    takes_reference,
)

GROUP = "ddeep"
BUILTIN = "ddeep"
BLOCK_VARIABLE = "DDEEP_BLOCK"

# What may be yielded, by the plural word that names the hook (``ddeep_<word>``) and the registry's mapping.
SPEC_TYPES: dict[str, tuple[type[Spec], ...]] = {
    "models": (ModelSpec, ModelFamily),
    "datasets": (DatasetSpec, DatasetFamily),
    "strategies": (StrategySpec,),
    "metrics": (MetricSpec,),
    "regularizers": (RegularizerSpec,),
    "executions": (ExecutionSpec,),
}

_HOOKS = ", ".join(f"ddeep_{kind}" for kind in SPEC_TYPES)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_CHOICES = {"pool": get_args(Pool), "interpolation": get_args(Interpolation), "of": ("layer", "selection", "filters")}


@dataclass(frozen=True)
class PluginRecord:
    """What became of one entry point.

    ``error`` says why a plugin failed or who blocked it; on a loaded plugin it is a warning. ``provides`` gives the
    names of its specs by hook, such as ``{"models": ("resnet20",)}``.
    """

    key: str
    distribution: str
    version: str
    status: Literal["loaded", "failed", "blocked"]
    error: str
    provides: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Discovered:
    """An installed entry point that nobody has imported yet."""

    key: str
    distribution: str
    version: str
    load: Callable[[], object]


def discover() -> list[Discovered]:
    """All entry points of group ``ddeep``, sorted by ``distribution:entry_point``.

    One whose installation is damaged is listed as a plugin that fails, by the name of its folder.
    """
    found: dict[str, list[Discovered]] = {}
    for distribution in distributions():
        try:
            if f"[{GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
                continue
            name, version = distribution.metadata["Name"] or "unnamed", distribution.metadata["Version"] or "unknown"
            listed = list(_entry_points(name, version, distribution))
        except Exception as error:
            name = _folder_name(distribution)
            listed = [Discovered(f"{name}:?", name, "unknown", _raiser(f"its metadata is damaged: {_one_line(error)}"))]
        # The first on the path shadows older copies of the same distribution, as Python's own import does.
        found.setdefault(normalized(name), listed)
    return sorted((entry for entries in found.values() for entry in entries), key=lambda entry: entry.key)


def _folder_name(distribution: Distribution) -> str:
    """What the folder of a distribution's metadata says that it is called."""
    folder = getattr(distribution, "_path", None)
    return str(getattr(folder, "name", "") or "unnamed").partition("-")[0]


def _entry_points(name: str, version: str, distribution: Distribution) -> Iterator[Discovered]:
    try:
        entries: list[EntryPoint] = [entry for entry in distribution.entry_points if entry.group == GROUP]
    except Exception as error:
        yield Discovered(f"{name}:?", name, version, _raiser(f"its entry points are damaged: {_one_line(error)}"))
        return
    for entry in entries:
        yield Discovered(f"{name}:{entry.name}", name, version, entry.load)


def _raiser(message: str) -> Callable[[], object]:
    def load() -> object:
        raise PluginError(message)

    return load


def normalized(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def block_reason(plugin: Discovered, patterns: list[str]) -> str:
    """Why ``patterns`` (``distribution``, ``distribution:entry_point`` or ``*``) block a plugin, or an empty string.

    ``*`` stands for every plugin but the built-in ones.
    """
    for pattern in patterns:
        distribution, _, entry = pattern.partition(":")
        if pattern == "*" and normalized(plugin.distribution) != BUILTIN:
            return "blocked: only the built-in plugins were asked for"
        if normalized(distribution) == normalized(plugin.distribution) and entry in ("", plugin.key.partition(":")[2]):
            return f"blocked by {BLOCK_VARIABLE}={pattern}"
    return ""


def block_patterns() -> list[str]:
    """What the environment variable ``DDEEP_BLOCK`` lists, separated by commas."""
    return [part.strip() for part in os.environ.get(BLOCK_VARIABLE, "").split(",") if part.strip()]


def load_plugin(plugin: Discovered) -> tuple[PluginRecord, dict[str, list[Spec]]]:
    """Import one plugin and collect its specs. One that raises provides nothing, and its record says why.

    Whatever it raises, and even where it would end the process; only a Ctrl-C of the user's goes through.
    """
    with noticed_interrupts() as interruption, _no_exit():
        try:
            module = plugin.load()
            specs, warning = _specs_of(module)
        except BaseException as error:
            if interruption.requested:
                raise
            return _record(plugin, "failed", _one_line(error), {}), {}
    provides = {kind: tuple(spec.name for spec in yielded) for kind, yielded in specs.items()}
    return _record(plugin, "loaded", warning, provides), specs


@contextmanager
def _no_exit() -> Iterator[None]:
    """While the block runs, ``os._exit`` raises in this process; children that were forked may leave by it."""
    real, mine = os._exit, os.getpid()

    def refuse(status: int) -> NoReturn:
        if os.getpid() != mine:
            real(status)
        raise PluginError(f"it would end the process (os._exit({status!r}))")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = real


def blocked_record(plugin: Discovered, reason: str) -> PluginRecord:
    """The record of a plugin that was not even imported."""
    return _record(plugin, "blocked", reason, {})


def _record(
    plugin: Discovered,
    status: Literal["loaded", "failed", "blocked"],
    error: str,
    provides: dict[str, tuple[str, ...]],
) -> PluginRecord:
    return PluginRecord(plugin.key, plugin.distribution, plugin.version, status, error, provides)


def _specs_of(plugin: object) -> tuple[dict[str, list[Spec]], str]:
    # A manager of its own for each plugin: a half-registered one leaves nothing behind.
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    callers = manager.get_hookcallers(plugin) or []
    specs: dict[str, list[Spec]] = {}
    for caller in callers:
        if caller.has_spec():
            yielded = [spec for found in caller.get_hookimpls() for spec in cast(Iterable[object], found.function())]
            kind = caller.name.removeprefix("ddeep_")
            specs[kind] = _checked(kind, yielded)
    unknown = [caller.name for caller in callers if not caller.has_spec()]
    return specs, "; ".join([*_unknown_hooks(unknown), *_unmarked_hooks(plugin, callers)])


def _unknown_hooks(names: list[str]) -> Iterator[str]:
    for name in names:
        yield f"unknown hook {name!r}.{suggestion(name, _HOOKS.split(', ')) or f' The hooks are {_HOOKS}.'}"


def _unmarked_hooks(plugin: object, callers: list[pluggy.HookCaller]) -> Iterator[str]:
    marked = {caller.name for caller in callers}
    for kind in SPEC_TYPES:
        name = f"ddeep_{kind}"
        if name not in marked and inspect.isroutine(getattr(plugin, name, None)):
            yield f"{name!r} is ignored: put @hookimpl above it"
    if not marked:
        yield f"it implements no hook (of {_HOOKS})"


def _checked(kind: str, yielded: list[object]) -> list[Spec]:
    seen: dict[str, Spec] = {}
    for spec in yielded:
        if not isinstance(spec, SPEC_TYPES[kind]):
            expected = " or ".join(allowed.__name__ for allowed in SPEC_TYPES[kind])
            raise PluginError(f"ddeep_{kind} yielded {_shown(spec)}; it must yield {expected}")
        check_spec(spec)
        if spec.name in seen:
            raise PluginError(f"ddeep_{kind} yielded two specs named {spec.name!r}")
        seen[spec.name] = spec
    return list(seen.values())


def check_spec(spec: Spec) -> None:
    """Raise PluginError where a spec's name, references or choices cannot be right."""
    what = f"{type(spec).__name__} {spec.name!r}"
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        raise PluginError(f"{what}: a name is letters, digits and . _ + - (no spaces or slashes), 'my-model' for one")
    for field in fields(spec):
        value = getattr(spec, field.name)
        if takes_reference(field) and not _is_reference(value, optional=field.default is None):
            raise PluginError(f"{what}: {field.name}={_shown(value)} is neither a callable nor 'package.module:name'")
        if field.name in _CHOICES and value not in _CHOICES[field.name]:
            raise PluginError(f"{what}: {field.name}={_shown(value)} is none of {', '.join(_CHOICES[field.name])}")
    for weights in getattr(spec, "weights", ()):
        if not isinstance(weights, WeightsSpec):
            raise PluginError(f"{what}: weights holds {_shown(weights)}; it must hold WeightsSpec")
        check_spec(weights)


def _is_reference(value: object, *, optional: bool) -> bool:
    if isinstance(value, str):
        return _REFERENCE.fullmatch(value) is not None
    return callable(value) or (optional and value is None)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _one_line(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # a stranger's
        text = ""
    return (
        text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}" if text else type(error).__name__
    )
