"""Try ddeep at both ends of the ranges of its dependencies: the lowest versions that pyproject.toml allows, the newest.

python scripts/dependency_ranges.py [lowest] [newest] [-- arguments of pytest]

Run it with the Python of an environment in which ddeep's tests run; it needs uv there (pip install uv). The versions of
either end go into a folder of their own, which shadows the environment's. torch and torchvision stay those of the
environment: they come as a pair for one kind of machine. Prints the versions tried and what failed; exit 1 if anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ("torch", "torchvision")
ENDS = {"lowest": "lowest-direct", "newest": "highest"}
# What touches every dependency: settings, weights, images, metrics, figures, reports, the command line, training.
SMOKE = (
    "tests/networks/test_state_dicts.py",
    "tests/selections/test_selection.py",
    "tests/data/test_decoding.py",
    "tests/heads/test_refit.py",
    "tests/cli/test_shell.py",
    "tests/experiments/test_train.py",
    "tests/builtin/test_metrics.py",
    "tests/builtin/test_one_head.py",
    "tests/known/golden",
    "tests/reports/test_findings.py",
)


def requirements() -> list[str]:
    """ddeep's direct dependencies, tests' included, but those that the environment keeps."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [line for line in wanted if line.split(">")[0].strip() not in KEPT]


def resolve(end: str, folder: Path) -> Path:
    """The versions of one end, as a file of requirements."""
    given, pinned, found = folder / "given.in", folder / "pinned.txt", folder / "found.txt"
    given.write_text("\n".join(requirements()) + "\n")
    pinned.write_text("".join(f"{name}=={version(name).partition('+')[0]}\n" for name in KEPT))
    words = ["uv", "pip", "compile", "--quiet", "--resolution", ENDS[end], "--python", sys.executable]
    subprocess.run(
        [*words, "--constraint", str(pinned), "--no-annotate", "--no-header", "--output-file", str(found), str(given)],
        check=True,
    )
    ours = [
        line for line in found.read_text().splitlines() if not line.startswith((*KEPT, "nvidia-", "triton", "cuda-"))
    ]
    found.write_text("\n".join(ours) + "\n")
    return found


def attempt(end: str, arguments: list[str]) -> bool:
    """Install one end and run the tests with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = resolve(end, folder)
        direct = {line.partition(">")[0].strip().lower() for line in requirements()}
        shown = [line for line in found.read_text().split() if line.partition("==")[0].lower() in direct]
        print(f"{end}: {', '.join(shown)}, {', '.join(f'{name}=={version(name)}' for name in KEPT)}", flush=True)
        overlay = folder / "overlay"
        words = [
            "uv",
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--python",
            sys.executable,
        ]
        subprocess.run([*words, "--target", str(overlay), "--requirement", str(found)], check=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(arguments or SMOKE)],
            cwd=ROOT,
            # Plugins of pytest are those of the environment's versions, which are shadowed.
            env={**os.environ, "PYTHONPATH": str(overlay), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            check=False,
        )
    print(f"{end}: {'passed' if done.returncode == 0 else 'FAILED'}", flush=True)
    return done.returncode == 0


def main() -> int:
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    ends = given[:cut] or list(ENDS)
    if unknown := set(ends) - set(ENDS):
        print(f"error: {unknown.pop()!r} is no end: {' or '.join(ENDS)}", file=sys.stderr)
        return 2
    return int(not all([attempt(end, given[cut + 1 :]) for end in ends]))  # noqa: C419 - both are tried


if __name__ == "__main__":
    sys.exit(main())
