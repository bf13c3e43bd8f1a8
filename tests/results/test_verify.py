"""``ddeep verify`` finds what is whole whole, and names each kind of damage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ddeep.errors import DataError
from ddeep.evidence import response_cache
from ddeep.experiments.run import run
from ddeep.experiments.settings import RunConfig
from ddeep.files.sealed import write_sealed
from ddeep.results.run import FILES, save_run
from ddeep.results.verify import verify
from tests.support.documents import read_document
from tests.support.helpers import Outcome
from tests.support.pictures import class_folders

Cli = Callable[..., Outcome]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a few pictures, and the cache that it has filled: responses, statistics and converted images."""
    root = tmp_path_factory.mktemp("verified")
    for split in ("train", "test"):
        class_folders(root / "data" / split, {str(digit): 3 for digit in range(10)}, side=32)
    settings = {"model": "resnet20", "weights": "resnet20-digits", "dataset": "folder", "data_dir": root / "data"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDEEP_CACHE", str(root / "cache"))
        result = run(RunConfig.model_validate({**settings, "strategy": "contribution", "device": "cpu"}))
    save_run(result, root / "run")
    return root


@pytest.fixture
def copied(place: Path, tmp_path: Path) -> Path:
    for name in ("run", "cache"):
        shutil.copytree(place / name, tmp_path / name)
    return tmp_path


@pytest.mark.usefixtures("copied")
def test_what_was_written_is_whole(cli_here: Cli) -> None:
    done = cli_here("verify", "run", "cache", "--json")
    assert done.status == 0, done.err
    assert done.json["damaged"] == 0
    assert {check["kind"] for check in done.json["checks"]} == {
        "run",
        "cache, contents",
        "cache, responses",
        "cache, datasets",
    }
    assert all(check["sealed"] for check in done.json["checks"])


@pytest.mark.parametrize(
    "pattern",
    [
        *("run/selection.json", "run/metrics.json", "run/model.safetensors", "run/run.json"),
        *("cache/responses/*/responses/responses.npy", "cache/responses/*/responses/about.json"),
        *("cache/responses/*/*.safetensors", "cache/datasets/*.npy"),
    ],
)
def test_a_flipped_bit_is_named(pattern: str, copied: Path, cli_here: Cli) -> None:
    path = sorted(copied.glob(pattern))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = cli_here("verify", "run", "cache", "--json")
    assert done.status == 1
    assert done.json["damaged"] == 1
    (problem,) = [check["problem"] for check in done.json["checks"] if check["problem"]]
    named = path.relative_to(copied).parts[: 3 if pattern.startswith("cache") else 2]
    assert any(part in problem for part in named[-2:])


def reseal(folder: Path, document: dict[str, object]) -> None:
    write_sealed(folder / "run.json", document, [name for name in FILES if (folder / name).exists()])


def better(document: dict[str, object], _: Path) -> None:
    document["accuracy"]["refit"] = 99.0  # type: ignore[index]


def other_filters(document: dict[str, object], _: Path) -> None:
    document["selection"]["3"][0] = 63  # type: ignore[index]


def other_metrics(document: dict[str, object], _: Path) -> None:
    document["metrics"]["psi"] = 0.5  # type: ignore[index]


def dense_head(_: dict[str, object], folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state["linear.weight"] += 1
    save_file(state, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (better, "the refit accuracy is 99.0 %, but its classes give"),
        (other_filters, "other filters"),
        (other_metrics, "metrics.json holds other figures"),
        (dense_head, "are of filters not selected"),
    ],
)
def test_figures_that_were_sealed_anew_do_not_add_up(
    change: Callable[[dict[str, object], Path], None], says: str, copied: Path
) -> None:
    document = read_document(copied / "run" / "run.json")
    change(document, copied / "run")
    reseal(copied / "run", document)
    (verdict,) = verify(copied / "run")
    assert verdict.problem is not None
    assert says in verdict.problem


def test_what_nobody_vouches_for_is_told(copied: Path, cli_here: Cli) -> None:
    (copied / "run" / "run.json").write_text(json.dumps(read_document(copied / "run" / "run.json")))
    done = cli_here("verify", "run")
    assert done.status == 0
    assert "not vouched for" in done.out


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(DataError, match="neither a result of ddeep"):
        list(verify(tmp_path))


@pytest.mark.usefixtures("copied")
def test_entries_of_another_version_are_no_damage(cli_here: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(response_cache, "VERSION", response_cache.VERSION + 1)
    done = cli_here("verify", "cache")
    assert done.status == 0, done.out


@pytest.mark.parametrize("kind", ["export", "cut", "forget", "modules"])
def test_what_else_is_written_is_checked(kind: str, tmp_path: Path) -> None:
    (tmp_path / "network.safetensors").write_bytes(b"weights")
    write_sealed(tmp_path / f"{kind}.json", {}, ["network.safetensors"])
    (verdict,) = verify(tmp_path)
    assert (verdict.kind, verdict.problem) == (kind, None)
    (tmp_path / "network.safetensors").write_bytes(b"Weights")
    (verdict,) = verify(tmp_path)
    assert verdict.problem is not None
    assert "network.safetensors is not what was written" in verdict.problem


def test_what_is_not_finished_is_called_that(copied: Path) -> None:
    reseal(copied / "run", {**read_document(copied / "run" / "run.json"), "status": "running"})
    (verdict,) = verify(copied / "run")
    assert (verdict.kind, verdict.problem) == ("run, not finished", None)
