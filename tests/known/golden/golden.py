"""The golden run: ``ddeep run --model resnet20 --strategy paper --l2 1e-4``, on what ddeep carries.

python -m tests.known.golden.golden     writes run.json beside this file anew: only where the figures are meant to
                                        change, and the commit says why.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("run.json")

# What a clock, a machine or an installation puts into a run.
_OWN = ("timings", "plugins", "versions", "config")


def golden_part(document: dict[str, Any]) -> dict[str, Any]:
    """What must stay as it is, as it comes back from JSON."""
    part: dict[str, Any] = json.loads(json.dumps({key: value for key, value in document.items() if key not in _OWN}))
    return part


def run_default() -> dict[str, Any]:
    """The document of the run."""
    from ddeep.experiments.run import run
    from ddeep.experiments.settings import RunConfig

    return run(RunConfig(model="resnet20", strategy="paper", device="cpu", l2=1e-4)).document


if __name__ == "__main__":
    FILE.write_text(json.dumps(golden_part(run_default()), indent=1) + "\n", encoding="utf-8")
