"""Execute the notebooks of docs/notebooks anew, and keep what they show.

    python -m studies.notebooks            # all of them
    python -m studies.notebooks NAME ...   # some of them

Each runs as a reader would run it: in a folder that is empty but for `data/`, and in an environment into which it can
install. Needs `pip install 'ddeep[test]'`, and the ImageNet notebook what it says it needs.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "notebooks"


def executed(path: Path, data: Path = ROOT / "data") -> NotebookNode:
    """The notebook with fresh outputs, its real data from ``data``. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as environment, TemporaryDirectory() as folder:
        environ = layered(Path(environment))
        (Path(folder) / "data").symlink_to(data.resolve())
        kernel = AsyncKernelManager(kernel_name="python3")
        kernel.kernel_spec.argv[0] = f"{environment}/bin/python"
        client = NotebookClient(notebook, km=kernel, timeout=600, resources={"metadata": {"path": folder}})
        client.execute(env=environ)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        if cell.cell_type == "code":
            cell.outputs = list(_shown(cell.outputs))
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def _shown(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    """What a reader sees of a cell's outputs: one text, without what took how long, and each picture once."""
    printed = "".join(one.text for one in outputs if one.get("name") == "stdout")
    if printed:
        lines = [line for line in printed.splitlines(keepends=True) if not line.startswith("seconds ")]
        yield nbformat.v4.new_output("stream", name="stdout", text="".join(lines))
    for one in outputs:
        if one.output_type != "stream":
            if {"text/html", "image/png"} & one.data.keys():  # this is as long as all the rest, and not seen
                one.data.pop("text/plain", None)
            yield one


def layered(folder: Path) -> dict[str, str]:
    """A virtual environment over this one, into which plugins can be installed, as variables of processes in it."""
    venv.create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for command in ("ddeep", "pip", "pytest"):
        script = folder / "bin" / command
        script.write_text(f'#!/bin/sh\nexec {folder}/bin/python -m {command} "$@"\n')
        script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",  # files change within a second here
        "COLUMNS": "100",
        # Everything needed is here: nothing is fetched.
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way of saying 1
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def main(names: list[str]) -> None:
    """Execute and rewrite the notebooks of these names, by default all."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            nbformat.write(executed(path), path)


if __name__ == "__main__":
    main(sys.argv[1:])
