"""Try ddeep at both ends of the ranges of its dependencies, and with every Python that it is for.

python scripts/dependency_ranges.py [lowest] [newest] [pythons | python3.14 ...] [-- arguments of pytest]

Run it with the Python of an environment in which ddeep's tests run. The versions of either end go into a folder of
their own, which shadows the environment's. torch and torchvision stay those of the environment: they come as a pair
for one kind of machine. For a Python on the path it makes an environment, with everything from the package index
(PIP_EXTRA_INDEX_URL as for make); `pythons` are all that ddeep is for. Prints the versions tried and what failed;
exit 1 if anything did, or was not there to be tried. Without words it tries both ends.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ("torch", "torchvision")
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
UV = (sys.executable, "-m", "uv", "pip")
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
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"]]
    for line in extras["test"]:
        own = re.fullmatch(r"ddeep\[(.+)\]", line)  # no index has ddeep itself
        wanted += extras[own[1]] if own else [line]
    return [line for line in wanted if line.split(">")[0].strip() not in KEPT]


def direct(pinned: list[str]) -> list[str]:
    """Those of ``name==version`` that ddeep itself asks for."""
    names = {re.split("[>[]", line)[0].strip().lower() for line in requirements()} | {*KEPT}
    return [line for line in pinned if "==" in line and line.partition("==")[0].lower() in names]


def resolve(end: str, folder: Path) -> Path:
    """The versions of one end, as a file of requirements."""
    given, pinned, found = folder / "given.in", folder / "pinned.txt", folder / "found.txt"
    given.write_text("\n".join(requirements()) + "\n")
    pinned.write_text("".join(f"{name}=={version(name).partition('+')[0]}\n" for name in KEPT))
    words = [*UV, "compile", "--quiet", "--resolution", ENDS[end], "--python", sys.executable]
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
        shown = [*direct(found.read_text().split()), *(f"{name}=={version(name)}" for name in KEPT)]
        print(f"{end}: {', '.join(shown)}", flush=True)
        overlay = folder / "overlay"
        words = [*UV, "install", "--quiet", "--compile-bytecode", "--no-deps", "--only-binary", ":all:"]
        words += ["--python", sys.executable, "--target", str(overlay), "--requirement", str(found)]
        subprocess.run(words, check=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(arguments or SMOKE)],
            cwd=ROOT,
            # Plugins of pytest are those of the environment's versions, which are shadowed.
            env={**os.environ, "PYTHONPATH": str(overlay), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            check=False,
        )
    print(f"{end}: {'passed' if done.returncode == 0 else 'FAILED'}", flush=True)
    return done.returncode == 0


def attempt_python(name: str, arguments: list[str]) -> bool:
    """Install ddeep for another Python and run the tests with it."""
    words = [shutil.which(name) or "false", "-c", "import sys; print(sys.version.split()[0])"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:  # pyenv's stand-in for one that is not switched on fails, too
        print(f"{name}: absent, not tried", flush=True)
        return False
    print(f"{name}: {done.stdout.strip()}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([name, "-m", "venv", folder], check=True)
        python = Path(folder) / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", f"{ROOT}[test]"]
        test = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(arguments or SMOKE)]
        passed = subprocess.run(install, cwd=ROOT).returncode == 0
        if passed:
            frozen = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True).stdout.split()
            print(f"{name}: {', '.join(direct(frozen))}", flush=True)
            passed = subprocess.run(test, cwd=ROOT).returncode == 0
    print(f"{name}: {'passed' if passed else 'FAILED'}", flush=True)
    return passed


def main() -> int:
    given = sys.argv[1:]
    cut = given.index("--") if "--" in given else len(given)
    wanted, arguments = given[:cut] or list(ENDS), given[cut + 1 :]
    if unknown := set(wanted) - {*ENDS, *PYTHONS, "pythons"}:
        print(f"error: {unknown.pop()!r} is none of {', '.join((*ENDS, *PYTHONS))}, pythons", file=sys.stderr)
        return 2
    results = [attempt(end, arguments) for end in wanted if end in ENDS]
    results += [attempt_python(name, arguments) for name in PYTHONS if {name, "pythons"} & set(wanted)]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main())
