"""Reports made when the site is: what `ddeep report` gives for the packaged network."""

from __future__ import annotations

import os
from pathlib import Path

# Each report: its title, the command and Python's words for it, and what to look at.
REPORTS = {
    "paper": (
        "A run: the paper's strategy",
        "ddeep run --model resnet20 --strategy paper --k 5",
        "Every class keeps the five filters that its images excite most often. Sort the accuracies, move through the "
        "atlas of classes and filters, and open a class to see what its filters look at.",
    ),
    "pruned-refit": (
        "A run: filters chosen jointly",
        "ddeep run --model resnet20 --strategy pruned-refit --k 5",
        "The same network, its filters chosen for all classes together, with a head that is learned along with them.",
    ),
    "comparison": (
        "A comparison",
        "ddeep compare --model resnet20 --strategies paper,contribution,pruned-refit,random --k 2,3,5",
        "Four strategies, two, three and five filters per class: which is better, and is that more than chance?",
    ),
}


def make(folder: Path, work: Path) -> None:
    """Write the reports into ``folder``, with a page that shows them; what they are made from goes to ``work``."""
    os.environ["DDEEP_CACHE"] = str(work / "cache")  # all from one pass over the images
    import ddeep

    folder.mkdir(parents=True)
    for name, (_, command, _) in REPORTS.items():
        verb, options = command.split()[1], dict(zip(*[iter(command.split()[2:])] * 2, strict=True))
        settings = {option.removeprefix("--"): _value(option, value) for option, value in options.items()}
        result = (ddeep.compare if verb == "compare" else ddeep.run)(**settings, out=work / name)
        ddeep.report(result, folder / f"{name}.html")
        print(f"Made the report of {command!r}", flush=True)
    (folder / "index.md").write_text(_page(), encoding="utf-8")


def _value(option: str, text: str) -> object:
    """What Python takes for an option's text."""
    if option == "--strategies":
        return text.split(",")
    if option == "--k":
        return [int(k) for k in text.split(",")] if "," in text else int(text)
    return text


def _page() -> str:
    lines = [
        "# Gallery of reports",
        "",
        "`ddeep report` makes one HTML file of a run or a comparison, which opens anywhere, offline. These were made "
        "when this site was, from the network and the digits that come with ddeep; [what they show](../report.md).",
    ]
    for name, (title, command, look) in REPORTS.items():
        lines += ["", f"## {title}", "", f"{look} [Open it by itself]({name}.html).", "", "```sh", command]
        lines += [f"ddeep report {'COMPARISON' if name == 'comparison' else 'RUN'}", "```", ""]
        lines += [f'<iframe src="{name}.html" title="{title}" loading="lazy" class="report"></iframe>']
    return "\n".join(lines) + "\n"
