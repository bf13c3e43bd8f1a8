"""What all tests share: checked annotations, a cache of their own, real data where it is, and ways to run the CLI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

from tests.support import checking
from tests.support.helpers import Distributions, Outcome
from tests.support.waiting import PATIENCE

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes of tests, which share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for those that tests start: this one's torch has read it already
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# A busy machine is no failure: how long an example takes says nothing here.
hypothesis.settings.register_profile("ddeep", deadline=None)
hypothesis.settings.load_profile("ddeep")

# Every call of ddeep in these tests is checked against its annotations, shapes included.
install_import_hook(["ddeep", "ddeep_plugins_builtin"], f"{checking.__name__}.checked")
import_module("ddeep")  # before any torchvision or timm, whose import it may have to repair

ROOT = Path(__file__).parent.parent
UNPACK = ROOT.parent / "shared" / "bin" / "unpack-data"


def pytest_configure() -> None:
    """Fill ``data/`` from the archives of real data where those are at hand: tests skip only where they are not."""
    # A shell's background jobs, and all that they start, ignore Ctrl-C, which tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if UNPACK.exists() and "DDEEP_TEST_DATA" not in os.environ:
        subprocess.run([UNPACK, ROOT / "data"], check=True)


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that no other run has filled, a key that no other has made, and none of the user's own settings.

    Several processes of tests share the cache, as a user's commands do: each would fill its own with the same.
    """
    folder = tmp_path_factory.getbasetemp()
    common = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("DDEEP_CACHE", str(common / "cache"))
        for name in ("DDEEP_BLOCK", "DDEEP_DEBUG", "NO_COLOR", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    """No test hangs on the numbers that the tests before it in its process have drawn."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _annotations() -> None:
    """In every test the calls of a function are checked from the first."""
    checking.check_again()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: ``$DDEEP_TEST_DATA`` or ``data/``."""
    return Path(os.environ.get("DDEEP_TEST_DATA", ROOT / "data"))


@pytest.fixture(scope="session")
def real_data(data_dir: Path) -> Callable[[str], Path]:
    """``real_data("cifar10")`` is that path under the data folder; where it is absent the test is skipped."""

    def find(name: str) -> Path:
        if not (data_dir / name).exists():
            pytest.skip(f"needs {name} under {data_dir} (see data/README.md)")
        return data_dir / name

    return find


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., Outcome]:
    """``cli("list", "models", env={...})`` runs ``python -m ddeep`` in a process of its own, in ``tmp_path``."""

    def run(*args: object, env: dict[str, str] | None = None, timeout: float = PATIENCE) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "ddeep", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def cli_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Outcome]]:
    """Like ``cli``, inside this process: quick once torch is imported, and checked against the annotations."""
    from ddeep.cli import main
    from ddeep.registry.registry import registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DDEEP_BLOCK", os.environ.get("DDEEP_BLOCK", ""))  # --no-plugins changes it

    def run(*args: object) -> Outcome:
        registry.cache_clear()
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["ddeep", *map(str, args)])
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            status = main()
        return Outcome(status, *capsys.readouterr())

    yield run
    registry.cache_clear()


@pytest.fixture
def distributions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Outcome]
) -> Iterator[Distributions]:
    """Install throw-away plugins, seen by this process and by those it starts."""
    from ddeep.registry.registry import registry

    registry.cache_clear()
    before = set(sys.modules)
    site, behind = tmp_path / "site", tmp_path / "behind"
    for path in (behind, site):
        path.mkdir()
        monkeypatch.syspath_prepend(path)
    yield Distributions(site, behind, monkeypatch, cli)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    registry.cache_clear()
