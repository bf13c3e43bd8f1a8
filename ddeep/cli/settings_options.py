"""The options of a settings model become those of a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ..experiments.settings import Panel
from ..registry.own_code import allow
from .completion import completer
from .lists import separated

Command = Callable[..., None]

_FIRST = ("model", "weights", "dataset", "data_dir", "layer", "layers", "strategy", "strategies", "k", "budget")


def takes(model: type[BaseModel], *, but: Collection[str] = (), into: str = "given") -> Callable[[Command], Command]:
    """Make a command of a function: its parameter ``into`` becomes an option for each field of ``model``.

    It is then a dict of those that were given, to be read by ``read_config``, which knows defaults and checks;
    ``but`` names fields that are none of the command's options. Options with several values take them with commas,
    repeated or apart.
    """
    fields = {name: field for name, field in model.model_fields.items() if name not in but}

    def decorate(function: Command) -> Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())
        generated = [_parameter(name, field) for name, field in _ordered(fields)]
        at = next(place for place, parameter in enumerate(own) if parameter.name == into)
        rest = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own[at + 1 :]]
        parameters = [*own[:at], *generated, *rest]

        def command(**values: Any) -> None:
            given = {name: _value(name, values.pop(name)) for name in fields}
            if isinstance(given.get("model"), str):
                allow(given["model"])  # typed, where a config file's would not be
            function(**{into: {name: value for name, value in given.items() if value is not None}}, **values)

        command.__doc__ = function.__doc__
        command.__name__ = function.__name__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    def _value(name: str, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if name == "weights":  # file names may hold commas
            return tuple(value) or None
        return separated(value)

    return decorate


def _ordered(fields: dict[str, FieldInfo]) -> list[tuple[str, FieldInfo]]:
    """Panel by panel, and in each what is asked for most first."""
    panels = get_args(Panel)
    place = {name: number for number, name in enumerate(_FIRST)}
    return sorted(fields.items(), key=lambda item: (panels.index(_panel(item[1])), place.get(item[0], len(place))))


def _extra(field: FieldInfo) -> dict[str, Any]:
    assert isinstance(field.json_schema_extra, dict)
    return field.json_schema_extra


def _panel(field: FieldInfo) -> str:
    return str(_extra(field)["panel"])


def help_of(field: FieldInfo) -> str:
    """A field's help, with its default where that can be typed."""
    default = field.default
    typed = isinstance(default, str | int | float | Path) and not isinstance(default, bool)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default) if typed else ""
    return f"{field.description} (default: {shown})" if shown and not field.is_required() else f"{field.description}"


def flags_of(name: str, field: FieldInfo) -> str:
    """How an option is written, both ways where it can be switched off."""
    flag = f"--{name.replace('_', '-')}"
    return (
        f"{flag}/--no-{name.replace('_', '-')}" if _plain(field.annotation) is bool and field.default is None else flag
    )


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """The option of a field. None stands for what was not given: a config file, or the default, then counts."""
    kind = _plain(field.annotation)
    shown = typer.Option(
        flags_of(name, field),
        help=help_of(field),
        rich_help_panel=_panel(field),
        autocompletion=completer(_extra(field)["complete"], field.annotation),
        show_default=False,
    )
    annotation: Any = Annotated[kind | None, shown]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _plain(annotation: Any) -> Any:
    """What the command line makes of a value before the settings check it."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        return _plain(kinds[0]) if len(kinds) == 1 else str
    if get_origin(annotation) is dict or (get_origin(annotation) is tuple and get_args(annotation)[-1] is Ellipsis):
        return list[str]
    return annotation if annotation in (bool, int, float, Path) else str
