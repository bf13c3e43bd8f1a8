"""Where things lie."""

from pathlib import Path

ROOT = Path(__file__).parents[2]  # of the repository
KNOWN = ROOT / "tests" / "known"  # figures and selections that others have published
