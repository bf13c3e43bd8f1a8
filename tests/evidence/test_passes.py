"""A pass that was killed goes on where it was saved, and two commands on one pass do not meet."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from ddeep.evidence import resume
from ddeep.evidence.collector import LayerCollector
from ddeep.evidence.evidence import Evidence
from ddeep.evidence.passes import Pass, Share, _run
from ddeep.experiments.run import make_plan, run
from ddeep.experiments.settings import RunConfig
from ddeep.statistics.basic import ClassSums, Confusion, MassHistogram, TopCounts


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Share:
    """The whole of digits' test split, in batches of 40."""
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    plan = make_plan(RunConfig(model="resnet20", strategy="paper", batch_size=40, device="cpu"))
    statistics = [TopCounts(5), ClassSums(), MassHistogram(0.5), Confusion()]
    return Share(plan.subject, Pass("test", {plan.layer: statistics}, frozenset([plan.layer])))


def again(share: Share) -> Share:
    layer = next(iter(share.wanted.requests))
    statistics = [statistic.twin() for statistic in share.wanted.requests[layer]]
    return Share(share.subject, Pass(share.wanted.split, {layer: statistics}, share.wanted.writing))


def only(found: dict[object, Evidence]) -> Evidence:
    (evidence,) = found.values()
    return evidence


def same(one: Evidence, other: Evidence) -> None:
    for statistic in one.statistics:
        for name, tensor in one[statistic].state().items():
            torch.testing.assert_close(other[statistic].state()[name], tensor, rtol=1e-9, atol=0)
    assert one.responses is not None
    assert other.responses is not None
    assert torch.equal(one.responses, other.responses)


class Killed(KeyboardInterrupt):
    """Ctrl-C at a chosen batch."""


def interrupt_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    add, added = LayerCollector.add, 0

    def counted(self: LayerCollector, batch: object) -> None:
        nonlocal added
        if added == batches:
            raise Killed
        added += 1
        add(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(LayerCollector, "add", counted)


@pytest.mark.parametrize("batches", [1, 4, 8])
def test_an_interrupted_pass_goes_on(
    batches: int, share: Share, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resume, "SAVE_EVERY", 0.0)
    with monkeypatch.context() as patch:
        interrupt_after(patch, batches)
        with pytest.raises(Killed):
            _run(again(share))
    seen: list[int] = []
    add = LayerCollector.add

    def noted(self: LayerCollector, batch: object) -> None:
        seen.append(len(batch.labels))  # type: ignore[attr-defined]
        add(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(LayerCollector, "add", noted)
    resumed = only(_run(again(share)))
    assert sum(seen) == len(share.subject.images["test"]) - 40 * batches
    monkeypatch.undo()
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "other"))
    same(only(_run(again(share))), resumed)


def test_a_pass_killed_for_good_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    script = textwrap.dedent("""
        import os, signal
        import ddeep
        from ddeep.evidence import resume
        from ddeep.experiments.run import run
        from ddeep.experiments.settings import RunConfig
        resume.SAVE_EVERY = 0.0
        saved = resume.PartialPass.save_now_and_then
        def save(self, batches, seen, gathering):
            saved(self, batches, seen, gathering)
            if batches == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        resume.PartialPass.save_now_and_then = save
        run(RunConfig(model="resnet20", strategy="paper", batch_size=40, device="cpu"))
    """)
    killed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert killed.returncode == -9
    config = RunConfig(model="resnet20", strategy="paper", batch_size=40, device="cpu")
    resumed = run(config)
    assert "200 images are done" in capfd.readouterr().err
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDEEP_CACHE", str(tmp_path / "other"))
        whole = run(config)
    for part in ("accuracy", "selection", "per_class"):
        assert resumed.document[part] == whole.document[part]


def test_what_is_damaged_begins_anew(share: Share, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resume, "SAVE_EVERY", 0.0)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(Killed):
            _run(again(share))
    (state,) = (tmp_path / "cache" / "passes").rglob("state.safetensors")
    state.write_bytes(state.read_bytes()[:-50])
    resumed = only(_run(again(share)))
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "other"))
    same(only(_run(again(share))), resumed)


def test_two_at_once_use_folders_of_their_own(share: Share) -> None:
    with resume.PartialPass(share.key()) as one, resume.PartialPass(share.key()) as other:
        assert one.folder != other.folder
    assert not one.folder.exists()
    assert not other.folder.exists()


def test_a_failed_pass_leaves_nothing(share: Share, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(LayerCollector, "add", broken)
    with pytest.raises(RuntimeError, match="broken"):
        _run(again(share))
    assert not any((tmp_path / "cache" / "passes").iterdir())
