"""Look at every classifier of timm and torchvision, and write docs/architectures.md and .csv.

    python -m studies.architectures walk --records records.jsonl      # resumable; an hour of one core
    python -m studies.architectures write --records records.jsonl     # also of an unfinished walk: see below

Each architecture is built with random weights and ten classes, run once on two images of noise, and examined as ddeep
examines any network. Up to 40 million parameters the head's input is compared with the pooled layer by value; beyond
that nothing is computed (meta tensors), the parts are those of a smaller architecture of the same family, and only
their shapes are compared. No architecture gets more than 8 GB and two minutes of a processor: one that wants more is
recorded as a failure, and why. What a walk has not come to keeps the row of an earlier one, and the page says how many.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

from .architecture_page import write
from .architecture_walk import walk

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["walk", "write"])
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    if given.action == "walk":
        walk(given.records, given.seconds)
    else:
        write(given.records, ROOT / "docs")
