"""The same readers, with inputs chosen by what code they reach: atheris (libFuzzer), where it is installed.

    pip install atheris
    python -m tests.robustness.fuzz.guided selection -runs=100000

What follows the reader's name are libFuzzer's own options. It stops at the first crash and keeps that input.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ddeep"]), warnings.catch_warnings(action="ignore"):
    from tests.robustness.fuzz.harness import read, slug
    from tests.robustness.fuzz.targets import targets


def main() -> None:
    """Fuzz one reader, starting from its valid files."""
    known = {slug(target): target for target in targets()}
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        raise SystemExit(f"Name a reader: {', '.join(known)}")
    target = known[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as name:
        corpus, folder = Path(name) / "corpus", Path(name) / "read"
        corpus.mkdir()
        folder.mkdir()
        for number, content in enumerate(target.valid()):
            (corpus / str(number)).write_bytes(content)
        atheris.Setup([*sys.argv, str(corpus)], lambda content: read(target, content, folder))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
