"""The atlas: everything a run or a comparison has found, as one HTML file that opens anywhere, and as figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..experiments.settings import ReportConfig
from ..files.atomic import written_whole
from ..files.paths import inside

if TYPE_CHECKING:
    from ..evidence.subject import Subject
    from .style import Plot


@dataclass(frozen=True)
class Report:
    """What was written; ``missing`` says why there are no images in it, if so."""

    page: Path
    figures: list[Path]
    missing: str


def write_report(run: Path, settings: ReportConfig | None = None, subject: Subject | None = None) -> Report:
    """Write the report of a run's or a comparison's directory; ``subject`` is what a run was about, if at hand.

    Its figures go into ``figures/`` beside it, as PNG, SVG and PDF. Without the run's images or network it
    shows what the run itself has saved. Raises DataError where ``run`` is not such a directory.
    """
    from .comparison_figures import draw
    from .comparison_page import FILE, comparison_page, read_comparison
    from .style import save

    settings, missing = settings or ReportConfig(), ""
    page = settings.out or run / "report.html"
    inside(page.parent, "figures")  # told before the work
    if (run / FILE).exists():
        document = read_comparison(run)
        plots = list(draw(document))
        text = comparison_page(document, plots)
    else:
        text, plots, missing = _run_report(run, settings, subject)
    folder = inside(page.parent, "figures")
    figures = [path for plot in plots for path in save(plot, folder)]
    with written_whole(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Report(page, figures, missing)


def _run_report(run: Path, settings: ReportConfig, subject: Subject | None) -> tuple[str, list[Plot], str]:
    from .findings import find
    from .plots import run_plots
    from .run_page import run_page
    from .style import style
    from .views import filter_order

    found = find(run, settings, subject)
    with style():
        plots = run_plots(found, filter_order(found))
    return run_page(found, plots), plots, found.missing
