"""A page: one HTML file with everything in it, which asks for nothing from anywhere."""

from __future__ import annotations

import hashlib
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from pydantic import BaseModel

from ..console import clean
from ..training.recipe import FINE_TUNE
from .heat import number, shades_css

TEMPLATES = Path(__file__).parent / "templates"


def render(
    template: str, *, styles: Sequence[str] = (), scripts: Sequence[str] = ("report.js",), **content: Any
) -> str:
    """The page that ``template`` makes of ``content``; names in it are shown as text, whatever they hold.

    ``styles`` are added to those that all pages have; ``scripts`` become one, in this order.
    """
    script = f'"use strict";\n(() => {{\n{"".join(map(_read, scripts))}}})();\n'
    return (
        _environment()
        .get_template(template)
        .render(
            css=Markup("".join(map(_read, ("report.css", *styles))) + shades_css()),
            script=Markup(script),
            script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **content,
        )
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def command(name: str, kind: type[BaseModel], config: Mapping[str, Any]) -> str:
    """The command line ``ddeep <name>`` with the settings of ``config`` that are not the defaults of ``kind``."""
    words = ["ddeep", name]
    for key, value in _settings(kind, config):
        words.append(f"--{key.replace('_', '-')}")
        if value is not True:
            values = value if isinstance(value, list) else [value]
            words += [str(v) for v in values] if key == "weights" else [",".join(map(str, values))]
    return " ".join(shlex.quote(word) for word in words)


def call(name: str, kind: type[BaseModel], config: Mapping[str, Any]) -> str:
    """The same in Python, of a network and loaders that no command line can name."""
    given = [f"{key}={value!r}" for key, value in _settings(kind, config) if key != "model"]
    own = f"model={config.get('model')}(…)"
    return f"ddeep.{name}({', '.join([own, 'train=…', 'test=…', *given])})"


def _settings(kind: type[BaseModel], config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of ``config`` that are not the defaults of ``kind``."""
    for key, field in kind.model_fields.items():
        value = config.get(key)
        if key != "out" and value is not None and not _same(value, field.default):
            yield key, value


def finetune_command(document: Mapping[str, Any]) -> str:
    """The command line that fine-tunes the run in ``RUN`` as a run's document says; empty where it was not."""
    words = ["ddeep", "finetune", "RUN"]
    for key, value in _finetune_settings(document):
        option = key.replace("_", "-")
        if isinstance(value, bool):
            words += [f"--{'' if value else 'no-'}{option}"]
        elif isinstance(value, dict):
            words += [f"--{option}={name}={each}" for name, each in value.items()]
        elif isinstance(value, list):
            words += [f"--{option}={each}" for each in value]
        else:
            words += [f"--{option}", str(value)]
    return " ".join(shlex.quote(word) for word in words) if len(words) > 3 else ""


def finetune_call(document: Mapping[str, Any]) -> str:
    """The same in Python, of a ``result``; empty where it was not fine-tuned."""
    given = [f"{key}={value!r}" for key, value in _finetune_settings(document)]
    return f"ddeep.finetune({', '.join(['result', *given])})" if given else ""


def _finetune_settings(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings of a run's fine-tuning that are not the usual ones; its epochs always."""
    done = document.get("finetune")
    if not done:
        return
    usual = FINE_TUNE.identity()
    yield from ((name, value) for name, value in done["recipe"].items() if name == "epochs" or value != usual.get(name))
    if done["from"] == "decomposed":
        yield "no_refit", True
    if done["seed"]:
        yield "seed", done["seed"]
    if regularizer := done["regularizer"]:
        yield "regularizer", regularizer["name"]
        if regularizer["options"]:
            yield "regularizer_options", regularizer["options"]
        yield "layers", list(regularizer["layers"])


def _same(value: Any, default: Any) -> bool:
    """Whether a setting, read back from JSON, is the default."""
    if isinstance(default, Path):
        return bool(value == str(default))
    return bool(value == (list(default) if isinstance(default, tuple) else default))


def provenance(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What every result file says of its making."""
    rows = [
        ("Versions", ", ".join(f"{name} {value}" for name, value in document.get("versions", {}).items())),
        ("Plugins", ", ".join(f"{name} {value}" for name, value in document.get("plugins", {}).items())),
        ("Seconds", ", ".join(f"{name} {value:.1f}" for name, value in document.get("timings", {}).items())),
    ]
    return [(name, value) for name, value in rows if value]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Strangers' names: control characters and the like are shown, not obeyed.
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    environment.filters["number"] = number
    return environment
