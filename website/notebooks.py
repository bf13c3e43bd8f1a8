"""An executed notebook as a page, with what it printed and drew."""

from __future__ import annotations

from pathlib import Path

import nbconvert
from nbformat import read

# Where an environment is layered over another, Jupyter looks for these in the upper one alone.
_TEMPLATES = Path(nbconvert.__file__).parents[4] / "share" / "jupyter" / "nbconvert" / "templates"


def markdown(notebook: Path, page: Path) -> str:
    """Markdown of ``notebook``; its pictures go beside ``page``.

    Raises ValueError where a cell of code was not run: the site shows what was printed, and runs nothing itself.
    """
    cells = [cell for cell in read(notebook, as_version=4).cells if cell.cell_type == "code" and cell.source.strip()]
    if any(cell.execution_count is None for cell in cells):
        raise ValueError(f"{notebook.name} holds cells that were not run. Run all of it, and save it with its output.")
    folders = [str(_TEMPLATES)]
    exporter = nbconvert.MarkdownExporter(extra_template_basedirs=folders, extra_template_paths=folders)
    names = {"unique_key": f"{page.stem}-cell", "output_files_dir": f"{page.stem}-files"}
    text, made = exporter.from_filename(str(notebook), resources=names)
    for name, data in made.get("outputs", {}).items():
        (page.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (page.parent / name).write_bytes(data)
    return str(text)
