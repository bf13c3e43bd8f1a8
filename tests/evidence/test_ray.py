"""A local cluster of two workers gives what one process gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ddeep.errors import ConfigError
from ddeep.evidence.execution import Work
from ddeep.experiments.run import run
from ddeep.experiments.settings import RunConfig

SAME = ("accuracy", "accuracy_present", "selection", "per_class", "hashes")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ddeep[ray]'")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def document(cache: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> dict[str, Any]:
    monkeypatch.setenv("DDEEP_CACHE", str(cache))
    given = {"model": "resnet20", "strategy": "paper", "device": "cpu", "no_refit": True, "batch_size": 64}
    return run(RunConfig(**given, **more)).document


@pytest.mark.usefixtures("cluster")
def test_two_workers_agree_with_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, really = [], Work.merged

    def counted(work: Work, results: Any) -> Any:
        def each() -> Iterator[bytes]:
            for result in results:
                shared.append(work.wanted.split)
                yield result

        return really(work, each())

    monkeypatch.setattr(Work, "merged", counted)
    monkeypatch.setattr("ddeep.evidence.execution.PART", 256)
    alone = document(tmp_path / "one", monkeypatch)
    assert not shared
    together = document(tmp_path / "two", monkeypatch, execution="ray")
    assert (shared.count("train"), shared.count("test")) == (6, 2)  # of 1,433 and 364 images
    for part in SAME:
        assert together[part] == alone[part]
    one, many = alone["metrics"], together["metrics"]
    assert many["class_selectivity"] == pytest.approx(one["class_selectivity"], rel=1e-6)
    assert many["psi"]["per_class_mean"] == pytest.approx(one["psi"]["per_class_mean"], rel=1e-6)


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'ddeep\[ray\]'"):
        document(tmp_path, monkeypatch, execution="ray")
