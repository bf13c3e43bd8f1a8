"""A new plugin package: what ``ddeep plugins new`` writes."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import Literal, get_args

from ..errors import ConfigError
from ..files.atomic import written_whole
from ..files.regular import read_bounded
from ..provenance import VERSION

Kind = Literal["model", "dataset", "strategy", "metric", "regularizer"]
KINDS: tuple[str, ...] = get_args(Kind)

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_BYTES = 1 << 20  # of a template
_NAME = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")

# What to try first, for the README.
_TRY = {
    "model": "ddeep layers $spec",
    "dataset": "ddeep train --model resnet20 --dataset $spec --epochs 2",
    "strategy": "ddeep run --model resnet20 --strategy $spec",
    "metric": "ddeep list metrics",
    "regularizer": "ddeep train --model resnet20 --dataset digits --epochs 2 --regularizer $spec --layers layer3.2",
}


def bounds(version: str) -> str:
    """What a plugin written with this version of ddeep depends on: see docs/plugin-contract.md."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f"ddeep>={major}.{minor},<{f'0.{minor + 1}' if major == 0 else major + 1}"


def write_plugin(name: str, kind: str, parent: Path) -> Path:
    """Write the package ``name`` with one spec of ``kind`` into a new folder of ``parent``, and return the folder.

    The package installs and passes its own tests as it is. ``name`` without a leading ``ddeep-`` is the spec's name.
    Raises ConfigError for a name that a distribution cannot have, and where the folder exists.
    """
    if not _NAME.fullmatch(name) or name in ("ddeep", "ddeep-"):
        raise ConfigError(f"{name!r} cannot name a package. Use small letters, digits and dashes, as in 'ddeep-mine'.")
    if kind not in KINDS:
        raise ConfigError(f"A plugin adds a {', '.join(KINDS)}, not a {kind!r}.")
    folder = parent / name
    if folder.exists():
        raise ConfigError(f"{folder} exists. Choose another name, or remove it.")
    module = re.sub(r"[-.]", "_", name)
    words = {"distribution": name, "module": module, "spec": name.removeprefix("ddeep-"), "kind": kind}
    words["try"] = Template(_TRY[kind]).substitute(words)
    words["bounds"] = bounds(VERSION)
    contents = {
        "pyproject.toml": "plugin-pyproject.toml",
        "README.md": "plugin-README.md",
        "LICENSE": "plugin-LICENSE",
        ".github/workflows/tests.yml": "plugin-ci.yml",
        f"{module}.py": f"plugin-{kind}.py",
        "tests/test_contract.py": "plugin-test-contract.py",
        f"tests/test_{kind}.py": f"plugin-{kind}-test.py",
    }
    with written_whole(folder) as temporary:
        for path, template in contents.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            text = read_bounded(_TEMPLATES / f"{template}.txt", _MOST_BYTES).decode("utf-8")
            (temporary / path).write_text(Template(text).substitute(words), encoding="utf-8")
    return folder
