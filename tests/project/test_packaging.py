"""What is published: a wheel that is whole, and an sdist that is the repository and passes its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from email import message_from_string
from email.message import Message
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from zipfile import ZipFile

import pytest

import ddeep
from setup import HOME, elsewhere
from tests.support.paths import ROOT

PACKAGES = ("ddeep", "ddeep_plugins_builtin")
# A test of each kind that needs little time: mathematics, the command line, files that lie beside the tests.
SAMPLE = ("tests/heads/test_decomposed.py", "tests/registry/test_registry.py", "tests/project/test_readme.py")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel and the sdist. The wheel is built from the sdist."""
    folder = tmp_path_factory.mktemp("published")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(published: Path) -> ZipFile:
    (path,) = published.glob("*.whl")
    assert path.name == f"ddeep-{ddeep.__version__}-py3-none-any.whl"
    return ZipFile(path)


@pytest.fixture(scope="module")
def sdist(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist."""
    (path,) = published.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(folder := tmp_path_factory.mktemp("sdist"), filter="data")
    return folder / f"ddeep-{ddeep.__version__}"


@pytest.fixture(scope="module")
def metadata(wheel: ZipFile) -> Message:
    return message_from_string(wheel.read(f"ddeep-{ddeep.__version__}.dist-info/METADATA").decode("utf-8"))


def test_the_wheel_holds_every_file_of_both_packages(wheel: ZipFile) -> None:
    held = set(wheel.namelist())
    files = {path for name in PACKAGES for path in (ROOT / name).rglob("*.*") if "__pycache__" not in path.parts}
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    assert expected <= held, sorted(expected - held)
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert {name.split("/")[0] for name in held} <= {*PACKAGES, f"ddeep-{ddeep.__version__}.dist-info"}


def test_packaged_weights_have_cards(wheel: ZipFile) -> None:
    held = set(wheel.namelist())
    weights = {name for name in held if name.endswith(".safetensors")}
    assert weights
    assert {name.removesuffix("safetensors") + "md" for name in weights} <= held


def test_the_sdist_is_what_git_tracks(sdist: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no repository: these tests run from an sdist")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    assert {name for name in tracked if not (sdist / name).exists()} == set()


def test_the_sdist_passes_its_own_tests(sdist: Path) -> None:
    """Some of them; `scripts/release` runs all."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SAMPLE]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # In place of an installation: what is imported is the sdist's.
    done = subprocess.run(words, cwd=sdist, env=environ, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_the_ranges_tried_are_of_what_an_index_has(metadata: Message) -> None:
    spec = spec_from_file_location("dependency_ranges", ROOT / "scripts" / "dependency_ranges.py")
    assert spec is not None
    assert spec.loader is not None
    ranges = module_from_spec(spec)
    spec.loader.exec_module(ranges)
    asked = {re.split(r"[\[>]", line)[0] for line in ranges.requirements()}
    wanted = [re.split(" *; *", line) for line in metadata.get_all("Requires-Dist", [])]
    names = {re.split(r"[\[<>=]", line)[0] for line, *when in wanted if when in ([], ['extra == "test"'])}
    assert asked == names - {*ranges.KEPT, "ddeep"} | {"starlette", "uvicorn"}  # those of ddeep[serve]


def test_the_metadata_is_whole(metadata: Message) -> None:
    assert metadata["Author"] == "the ddeep developers"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Keywords"]
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    addresses = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert addresses.keys() == {"Changelog", "Documentation", "Issues", "Source"}
    assert all(address.startswith(HOME) for address in addresses.values())
    assert {"docs", "hf", "notebook", "onnx", "ray", "serve", "test"} == set(metadata.get_all("Provides-Extra", []))


def test_the_extras_are_listed_for_a_newcomer(metadata: Message) -> None:
    page = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z]+)` \|", page.partition("| extra |")[2].partition("\n\n")[0], re.MULTILINE))
    assert listed == set(metadata.get_all("Provides-Extra", [])) - {"docs", "test"}  # those of the project itself


def test_the_readme_reads_as_well_elsewhere(metadata: Message) -> None:
    text = metadata.get_payload()
    assert isinstance(text, str)
    assert "# ddeep" in text
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "](https://arxiv.org/abs/2112.07719)" in text
    assert f"{HOME}/raw/main/docs/report.png" in text


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("[a](docs/a.md#b)", f"[a]({HOME}/blob/main/docs/a.md#b)"),
        ("![a](a.png)", f"![a]({HOME}/raw/main/a.png)"),
        ("[![a](a.png)](b.md)", f"[![a]({HOME}/raw/main/a.png)]({HOME}/blob/main/b.md)"),
        ("[a](#a) [b](https://b)", "[a](#a) [b](https://b)"),
    ],
)
def test_links_are_made_addresses(given: str, made: str) -> None:
    assert elsewhere(given) == made
