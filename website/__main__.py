"""Build the site. Its pages are gathered under build/website/docs, where Zensical finds them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from studies.paths import ROOT
from website import catalogue, gallery, interface
from website.links import problems
from website.staging import configuration, stage

FOLDER = ROOT / "build" / "website"


def build(folder: Path = FOLDER) -> int:
    """Build the site in ``folder``/site; how many things were wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "docs"
    stage(pages)
    for maker in (catalogue, interface):
        for name, text in maker.pages().items():
            (pages / name).parent.mkdir(parents=True, exist_ok=True)
            (pages / name).write_text(text, encoding="utf-8")
    gallery.make(pages / "gallery", folder / "work")
    config = folder / "zensical.toml"
    config.write_text(configuration(pages), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(config)])
    if done.returncode:
        return 1
    found = problems(folder / "site")
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if not found:
        print(f"The site is in {folder / 'site'}: open index.html, no server is needed.")
    return len(found)


if __name__ == "__main__":
    sys.exit(min(build(), 1))
