"""Fonts for names in any script: those installed that have what the usual one lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

SANS = ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"]  # the first that is installed


@dataclass(frozen=True)
class Fonts:
    """Families in the order in which a character is looked for, their files, and the characters that none has."""

    families: tuple[str, ...]
    files: tuple[Path, ...]
    missing: frozenset[str]

    @property
    def pdf_type(self) -> int:
        """How a PDF takes them: as TrueType, or as outlines where one is not."""
        return 42 if all(file.suffix.lower() == ".ttf" for file in self.files) else 3


def fit_fonts(figure: Figure) -> Fonts:
    """Give every text of the figure the fonts that its characters take; a figure in plain letters stays as it is."""
    texts: list[Text] = list(figure.findobj(Text))
    for axis in figure.findobj(Axis):
        texts += axis.get_ticklabels()
    fonts = fonts_for({letter for text in texts for letter in text.get_text()})
    if len(fonts.families) > 1:
        for text in texts:
            text.set_fontfamily(list(fonts.families))
    return fonts


def fonts_for(letters: Iterable[str]) -> Fonts:
    """The usual font, and then as few others as have the letters that it lacks."""
    usual = Path(findfont(FontProperties(family=SANS)))
    families, files = [_family(usual)], [usual]
    lacking = {letter for letter in letters if letter.isprintable() and ord(letter) not in letters_of(usual)}
    while lacking:
        others = {entry.name: Path(entry.fname) for entry in _upright() if entry.name not in families}
        found = {name: sum(ord(letter) in letters_of(file) for letter in lacking) for name, file in others.items()}
        best = max(sorted(found), key=lambda name: found[name], default=None)
        if best is None or not found[best]:
            break
        families.append(best)
        files.append(others[best])
        lacking = {letter for letter in lacking if ord(letter) not in letters_of(others[best])}
    return Fonts(tuple(families), tuple(files), frozenset(lacking))


@cache
def letters_of(file: Path) -> frozenset[int]:
    """Code points that a font file has glyphs for; none of one that cannot be read, such as of coloured bitmaps."""
    try:
        return frozenset(FT2Font(str(file)).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _upright() -> list[FontEntry]:
    """The installed fonts of regular shape, without matplotlib's own for formulas, which are no Unicode fonts."""
    own = matplotlib.get_data_path()
    return [
        entry
        for entry in sorted(fontManager.ttflist, key=lambda entry: entry.fname)
        if entry.style == "normal" and entry.weight in (400, "normal", "regular")
        if entry.name == "DejaVu Sans" or not entry.fname.startswith(own)
    ]


def _family(file: Path) -> str:
    return FT2Font(str(file)).family_name
