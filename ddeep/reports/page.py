"""A page: one HTML file with everything in it, which asks for nothing from anywhere."""

from __future__ import annotations

import hashlib
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
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
    for key, field in kind.model_fields.items():
        value = config.get(key)
        if key == "out" or value is None or _same(value, field.default):
            continue
        words.append(f"--{key.replace('_', '-')}")
        if value is not True:
            values = value if isinstance(value, list) else [value]
            words += [str(v) for v in values] if key == "weights" else [",".join(map(str, values))]
    return " ".join(shlex.quote(word) for word in words)


def finetune_command(document: Mapping[str, Any]) -> str:
    """The command line that fine-tunes the run in ``RUN`` as a run's document says; empty where it was not."""
    done = document.get("finetune")
    if not done:
        return ""
    words, usual = ["ddeep", "finetune", "RUN"], FINE_TUNE.identity()
    for name, value in done["recipe"].items():
        option = name.replace("_", "-")
        if name != "epochs" and value == usual.get(name):
            continue
        words += [f"--{'' if value else 'no-'}{option}"] if isinstance(value, bool) else [f"--{option}", str(value)]
    if done["from"] == "decomposed":
        words.append("--no-refit")
    if done["seed"]:
        words += ["--seed", str(done["seed"])]
    if regularizer := done["regularizer"]:
        words += ["--regularizer", regularizer["name"]]
        words += [f"--regularizer-options={name}={value}" for name, value in regularizer["options"].items()]
        words += [f"--layers={layer}" for layer in regularizer["layers"]]
    return " ".join(shlex.quote(str(word)) for word in words)


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
