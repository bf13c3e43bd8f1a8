"""What the shell may complete an option with. Names come from the registry, so nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

Completer = Callable[[str], list[str]]


def completer(kind: str | None, annotation: Any = None) -> Completer | None:
    """Completes names of a kind of plugins, folders of runs, or a literal type's values; None: the shell's own way."""
    if kind == "runs":
        return runs
    if kind is not None:
        return lambda incomplete: names(kind, incomplete)
    values = _literals(annotation)
    return (lambda incomplete: [value for value in values if value.startswith(incomplete)]) if values else None


def names(kind: str, incomplete: str) -> list[str]:
    """The specs of a kind that begin with what has been typed; ``family/…`` goes inside a family of models."""
    import warnings

    from ..registry.registry import registry
    from ..registry.specs import DatasetFamily, ModelFamily, resolve

    with warnings.catch_warnings(action="ignore"):
        catalog = registry().catalog(kind)
    prefix, slash, _ = incomplete.partition("/")
    family = catalog.get(prefix) if slash else None
    if isinstance(family, ModelFamily):
        found = [f"{prefix}/{member}" for member in resolve(family.names)()]
    else:
        ends = {ModelFamily: "/", DatasetFamily: ":"}
        found = [f"{spec.name}{ends.get(type(spec), '')}" for spec in catalog.unambiguous()]
    return [name for name in found if name.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """Folders under runs/, or below what has been typed, that hold a result."""
    typed = Path(incomplete or "runs/")
    parent = typed if incomplete.endswith("/") or not incomplete else typed.parent
    try:
        folders = sorted(path for path in parent.iterdir() if path.is_dir())
    except OSError:
        return []
    return [str(path) for path in folders if str(path).startswith(str(typed).rstrip("/")) or parent == typed]


def _literals(annotation: Any) -> list[str]:
    if get_origin(annotation) in (Union, UnionType):
        return [value for part in get_args(annotation) for value in _literals(part)]
    return [str(value) for value in get_args(annotation)] if get_origin(annotation) is Literal else []
