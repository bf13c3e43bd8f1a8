"""One style for every figure: on paper (PNG, SVG, PDF) and inside a page, where it follows light and dark.

Lines and points are in the colours of Okabe & Ito (2008); differences run from orange (less) through a neutral to blue
(more), and magnitudes from the neutral to blue: both keep their order for colour-blind readers and in grey.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from PIL import Image

from ..console import clean, warn
from ..files.atomic import written_whole
from .fonts import SANS, fit_fonts

INK = "#1d1d1f"
GREY = "#7a7a80"
BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
SKY = "#56b4e9"
AMBER = "#e69f00"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER, GREY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# What the network is at each stage, wherever it is drawn.
STAGES = {"full": GREY, "decomposed": ORANGE, "learned": PURPLE, "refit": BLUE, "finetuned": GREEN}

# Inside a page these colours are the page's own, so that a figure turns dark with it.
_IN_PAGES = {
    INK: "currentColor",
    GREY: "var(--grey)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    PURPLE: "var(--purple)",
    SKY: "var(--sky)",
    AMBER: "var(--amber)",
}

_STYLE: dict[Any, Any] = {
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": SANS,
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.5,
    "text.parse_math": False,  # a class may be called $x$
    "svg.hashsalt": "ddeep",
}

_LESS, _NEUTRAL, _MORE = ("#8a3d00", "#d9791f", "#f3c08a"), "#f6f5f2", ("#a9cbe6", "#3f87bf", "#0b4878")

# From -1 to 1, and from 0 to 1. On dark pages the strongest colours are the lightest.
DIFFERENCES = LinearSegmentedColormap.from_list("differences", [*_LESS, _NEUTRAL, *_MORE], N=257)
MAGNITUDES = LinearSegmentedColormap.from_list("magnitudes", [_NEUTRAL, *_MORE], N=257)
_ON_DARK = LinearSegmentedColormap.from_list(
    "on-dark", ["#ffc68f", "#c9711c", "#5c3a1c", "#26282d", "#1f4a6b", "#3d8cc7", "#b4dbf7"], N=257
)


@dataclass(frozen=True)
class Plot:
    """A finished figure: its file name without ending, and what a reader who cannot see it should know."""

    name: str
    figure: Figure
    description: str


@contextmanager
def style() -> Iterator[None]:
    """Draw and save inside this context to get ddeep's looks. Glyphs that no font has are not worth a warning."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def label(name: object, most: int = 22) -> str:
    """A stranger's name, safe and short enough for an axis."""
    text = clean(name)
    return text if len(text) <= most else text[: most - 1] + "…"


def grid(axes: Axes, axis: str) -> None:
    """Faint lines across ``axis`` (``"x"`` or ``"y"``), behind everything, and no spine along it."""
    axes.grid(visible=True, axis=axis)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def titled(figure: Figure, text: str) -> None:
    """Give the whole figure its title."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=9.5, fontweight="bold")


def save(plot: Plot, folder: Path) -> list[Path]:
    """Write ``<name>`` as PNG (300 dots per inch, white), SVG (text as outlines) and PDF (fonts embedded).

    Names in other scripts take the installed fonts that have them; where none has, that is said. Returns the paths.
    """
    paths = [folder / f"{plot.name}.{kind}" for kind in ("png", "svg", "pdf")]
    with style():
        fonts = fit_fonts(plot.figure)
        if fonts.missing:
            warn(
                f"No installed font has {' '.join(sorted(fonts.missing))}, so names in {plot.name} show boxes there. "
                "Install one that does, such as Noto Sans of that script, and draw again."
            )
        plot.figure.draw_without_rendering()  # so that all three have one layout, found once
        layout = plot.figure.get_layout_engine()
        plot.figure.set_layout_engine("none")
        for path in paths:
            kind, shade = path.suffix[1:], "white" if path.suffix == ".png" else "none"
            with written_whole(path) as temporary, matplotlib.rc_context({"pdf.fonttype": fonts.pdf_type}):
                plot.figure.savefig(temporary, format=kind, dpi=300, facecolor=shade, metadata=_METADATA[kind])
        plot.figure.set_layout_engine(layout)
    return paths


def as_png(plot: Plot, colours: int | None = None) -> bytes:
    """The figure as a PNG of 100 dots per inch, for a notebook.

    ``colours``, at most 256, makes it a third as long: right for lines and letters, not for pictures in it.
    """
    drawn, kept = io.BytesIO(), io.BytesIO()
    with style():
        plot.figure.savefig(drawn, format="png", dpi=100, facecolor="white")
    picture: Image.Image = Image.open(drawn).convert("RGB")
    if colours is not None:
        picture = picture.quantize(colours, dither=Image.Dither.NONE)
    picture.save(kept, format="png", optimize=True)
    return kept.getvalue()


def inline_svg(plot: Plot) -> str:
    """The figure as an ``<svg>`` element for a page that defines the colours' custom properties."""
    drawn = io.StringIO()
    with style(), matplotlib.rc_context({"svg.fonttype": "none"}):  # the reader's own fonts
        plot.figure.savefig(drawn, format="svg", metadata=_METADATA["svg"])
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", text, flags=re.S)
    for colour, own in _IN_PAGES.items():
        text = text.replace(colour, own)
    # Identifiers are unique within one figure only.
    text = re.sub(r'(\bid="|url\(#|href="#)', lambda match: f"{match[0]}{plot.name}-", text)
    size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', text)
    width = float(size[1]) * 4 / 3 if size else 640.0
    opening = f'<svg role="img" aria-label="{escape(clean(plot.description))}" style="width:{width:.0f}px"'
    head, _, rest = text.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head.removeprefix("<svg"))
    return f"{opening}{head}>{rest.strip()}"


def steps(count: int = 32) -> Iterator[tuple[int, str, str]]:
    """``(level, light, dark)`` for levels -count…count: the cell colours of tables, on light and on dark pages."""
    for level in range(-count, count + 1):
        place = (level / count + 1) / 2
        yield level, to_hex(DIFFERENCES(place)), to_hex(_ON_DARK(place))


def readable_on(colour: str) -> str:
    """Black or white, whichever stands out more from ``colour`` (WCAG relative luminance)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#fff"


# The same figure is the same file, whenever it is made.
_METADATA: dict[str, dict[str, str | None]] = {
    "png": {"Software": "ddeep"},
    "svg": {"Date": None, "Creator": "ddeep"},
    "pdf": {"CreationDate": None, "Creator": "ddeep", "Producer": None},
}
