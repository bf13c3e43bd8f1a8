"""Reference pages of what can be set and called, from models and docstrings: settings, specs, Python."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from html import escape
from types import ModuleType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import ddeep
from ddeep import plugin
from ddeep.experiments import settings
from ddeep.registry.specs import Spec


def pages() -> dict[str, str]:
    """The pages by their name."""
    made = {
        "settings": _settings(),
        "specs": _specs(),
        "python": _api(ddeep, "Python", "What `import ddeep` offers. It does not import torch before it must."),
        "plugin": _api_by_topic(
            plugin,
            "Python for plugins",
            "What `ddeep.plugin` offers authors of plugins. Nothing else of ddeep is public; the built-in plugins "
            "import no more than this.",
        ),
    }
    return {f"reference/{name}.md": "\n".join(lines) + "\n" for name, lines in made.items()}


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield (
        "Every option is a field of one of these models: what the [command line](../reference.md) takes with dashes, a "
        "TOML file (`--config`) and Python's keywords take under these names."
    )
    models = {name: getattr(settings, name) for name in settings.__all__ if name.endswith("Config")}
    for name, model in models.items():
        if name in ("NetworkConfig", "SubjectConfig", "RecipeConfig"):
            continue  # what others share, fields and all
        yield from ("", f"## `{name}`", "", _prose(model), "", "| name | type | default | |", "|---|---|---|---|")
        for field_name, field in model.model_fields.items():
            default = "needed" if field.is_required() else _code(_shown(field.get_default(call_default_factory=True)))
            kind, text = _code(_type(field.annotation)), cell(field.description or "")
            yield f"| `{field_name}` | {kind} | {default} | {text} |"


def _specs() -> Iterator[str]:
    yield "# Specs"
    yield ""
    yield "What a plugin yields: frozen dataclasses. [How to write one](../plugins.md)."
    common = {field.name for field in dataclasses.fields(Spec)}
    for name in (name for name in ddeep.__all__ if name.endswith(("Spec", "Family"))):
        spec = getattr(ddeep, name)
        yield from ("", f"## `{name}`", "", _prose(spec), "", "| field | type | default |", "|---|---|---|")
        for field in sorted(dataclasses.fields(spec), key=lambda field: field.name not in common):
            absent = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            default = field.default_factory() if callable(field.default_factory) else field.default
            yield f"| `{field.name}` | {_code(str(field.type))} | {'needed' if absent else _code(_shown(default))} |"


def _api(module: ModuleType, title: str, introduction: str) -> Iterator[str]:
    yield from (f"# {title}", "", introduction)
    for name, thing in _things(module):
        yield from _entry("##", name, thing)


def _api_by_topic(module: ModuleType, title: str, introduction: str) -> Iterator[str]:
    yield from (f"# {title}", "", introduction)
    things = {name: (_topic(module, name, thing), thing) for name, thing in _things(module)}
    for topic, heading in _TOPICS.items():
        yield from ("", f"## {heading}")
        for name, (own, thing) in things.items():
            if own == topic:
                yield from _entry("###", name, thing)


# The packages of ddeep that names for plugins are from, as a reader of their reference wants them.
_TOPICS = {
    "registry": "Hooks and specs",
    "evidence": "What strategies and metrics are given",
    "statistics": "Statistics",
    "selections": "Selections",
    "heads": "Heads",
    "networks": "Networks",
    "data": "Images",
    "files": "Files",
    "console": "Messages",
    "errors": "Errors",
}


def _topic(module: ModuleType, name: str, thing: Any) -> str:
    """The package of ddeep that a name is from; a hook's marker has pluggy's module, a type of choices none."""
    place = vars(module)["_LAZY"].get(name) or getattr(thing, "__module__", "").removeprefix("ddeep.")
    topic: str = place.partition(".")[0]
    return topic if topic in _TOPICS else "registry"


def _things(module: ModuleType) -> Iterator[tuple[str, Any]]:
    for name in sorted(module.__all__, key=str.lower):
        thing = getattr(module, name)
        yield name, inspect.unwrap(thing) if callable(thing) else thing


def _entry(mark: str, name: str, thing: Any) -> Iterator[str]:
    yield from ("", f"{mark} `{name}`")
    if inspect.isfunction(thing):
        yield from ("", "```python", _signature(name, thing), "```")
    if inspect.isfunction(thing) or inspect.isclass(thing):
        yield from ("", _prose(thing))
    elif " object at 0x" in str(thing):
        yield from ("", f"`{type(thing).__module__.partition('.')[0]}`'s {type(thing).__name__}.")
    else:
        yield from ("", f"`{cell(str(thing))}`")
    if inspect.isclass(thing) and not issubclass(thing, (Exception, Spec)):
        yield from _fields(name, thing)
        yield from _methods(thing)


def _fields(name: str, kind: type) -> Iterator[str]:
    """How an object is made, and what it holds, where that is declared."""
    if not dataclasses.is_dataclass(kind):
        return
    gathered = [field for field in dataclasses.fields(kind) if not field.init and not field.name.startswith("_")]
    held = [f"{name}.{field.name}: {field.type}" for field in gathered]
    yield from ("", "```python", _signature(name, kind), *held, "```")


def _methods(kind: type) -> Iterator[str]:
    for name, member in vars(kind).items():
        function = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        function = function.fget if isinstance(function, property) else function
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        kept = f"{kind.__name__}.{name}" if isinstance(member, property) else _signature(name, function)
        yield from ("", "```python", kept, "```", "", _prose(function))


def _signature(name: str, function: Any) -> str:
    """The call with its types, on lines of their own where it is long."""
    signature = inspect.signature(function)
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts.append(_parameter(parameter))
    empty = signature.return_annotation is signature.empty or inspect.isclass(function)
    returned = "" if empty else f" -> {inspect.formatannotation(signature.return_annotation)}".replace("'", "")
    line = f"{name}({', '.join(parts)}){returned}"
    return line if len(line) <= 100 else "".join([f"{name}(\n", *(f"    {part},\n" for part in parts), f"){returned}"])


def _parameter(parameter: inspect.Parameter) -> str:
    """As it is written: the annotations of ddeep's modules are texts, which inspect would quote."""
    mark = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = parameter.annotation
    shown = "" if kind is parameter.empty else f": {kind if isinstance(kind, str) else inspect.formatannotation(kind)}"
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}".replace("<factory>", "…")
    return f"{mark}{parameter.name}{shown}{default}"


def _prose(thing: Any) -> str:
    """A docstring as Markdown: reStructuredText's double backquotes are Markdown's single ones."""
    return (inspect.getdoc(thing) or "").replace("``", "`")


def _type(annotation: Any) -> str:
    """A field's type without what pydantic attaches to it."""
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join("None" if part is NoneType else _type(part) for part in get_args(annotation))
    if annotation is Ellipsis:
        return "..."
    if get_origin(annotation) is Annotated:
        return _type(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " | ".join(map(repr, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"tuple[{', '.join(map(_type, get_args(annotation)))}]"
    return inspect.formatannotation(annotation).replace("pathlib.", "").replace("typing.", "")


def _shown(value: Any) -> str:
    if value is None or value in ((), ""):
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _code(text: str) -> str:
    """Code in a cell, where Markdown's own marks would show the escaped bar as it is escaped."""
    return f"<code>{escape(text, quote=False).replace('|', '&#124;')}</code>"


def cell(text: str) -> str:
    """Text in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
