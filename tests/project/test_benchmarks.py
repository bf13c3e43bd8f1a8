"""The benchmarks' own arithmetic, and that each of them runs: at toy sizes, whose figures say nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.__main__ import BY_ITSELF, NAMES
from benchmarks._common import Cost, Figure, Report, alternate, clocked, command
from benchmarks.memory import draw
from tests.support.paths import ROOT


def test_every_benchmark_is_run_by_default() -> None:
    files = {path.stem for path in (ROOT / "benchmarks").glob("[!_]*.py")}
    assert files == {*NAMES, *BY_ITSELF}
    assert all(callable(import_module(f"benchmarks.{name}").measure) for name in files)


def test_sides_alternate_and_the_first_rounds_do_not_count() -> None:
    order: list[str] = []

    def side(name: str) -> Callable[[], Cost]:
        def run() -> Cost:
            order.append(name)
            return Cost(float(len(order)), 0.0)

        return run

    costs = alternate({"a": side("a"), "b": side("b")}, 3, warm_up=1)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [cost.seconds for cost in costs["a"]] == [4, 5, 8]


def test_medians_ratios_and_goals() -> None:
    report = Report(costs={"slow": [Cost(s, 0.0) for s in (3.0, 100.0, 4.0)], "fast": [Cost(2.0, 0.0)]})
    assert report.ratio("slow", "fast") == 2
    report.add("ratio", 2.0, at_least=2)
    report.add("ratio", 2.0, at_most=1.99)
    report.add("ratio", 2.0)
    assert [row["met"] for row in report.document()["figures"]] == [True, False, None]
    assert report.document()["median_seconds"] == {"slow": 4.0, "fast": 2.0}
    assert Figure("x", 1.0, goal=1.0).met


def test_the_clock_runs_while_the_work_does() -> None:
    cost = clocked(lambda: sum(range(300_000)))()
    assert cost.seconds > 0
    assert cost.processor > 0


def test_a_command_has_its_own_peak_and_not_its_parents() -> None:
    held = b"x" * 300_000_000  # this process's peak
    thin = command(["-c", "print('here')"])
    fat = command(["-c", "x = b'x' * 300_000_000; print(len(x))"])
    assert len(held) == int(fat.output)
    assert thin.output == "here\n"
    assert thin.cost.gigabytes is not None
    assert fat.cost.gigabytes is not None
    assert thin.cost.gigabytes < 0.1
    assert 0.3 < fat.cost.gigabytes < 0.4


def test_a_command_that_fails_says_so() -> None:
    with pytest.raises(SystemExit, match=r"(?s)python -c .* failed:.*ZeroDivisionError"):
        command(["-c", "1 / 0"])


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, encoding="utf-8", timeout=300
    )


def test_one_command_prints_a_table_and_writes_a_document(tmp_path: Path) -> None:
    out = tmp_path / "new" / "bench.json"
    done = bench("start_up", "statistics_alone", "--quick", "--out", str(out))
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    assert document["quick"] is True
    assert document["failed"] == []
    assert list(document["benchmarks"]) == ["start_up", "statistics_alone"]
    for found in document["benchmarks"].values():
        assert all(row["value"] > 0 for row in found["figures"])
        assert all(row["goal"] is None or row["met"] is not None for row in found["figures"])
    assert "ddeep --help" in done.stdout
    table = bench("--table", str(out))
    assert "| ddeep list models" in table.stdout.replace("  ", " ")


@pytest.mark.parametrize("name", ["decomposed_head", "training", "memory", "gpu", "thousand_classes"])
def test_benchmarks_without_data(name: str, tmp_path: Path) -> None:
    done = bench(name, "--quick", "--out", str(tmp_path / "bench.json"))
    assert done.returncode == 0, done.stderr
    if name == "memory":
        document = json.loads((tmp_path / "bench.json").read_text())
        draw(document, tmp_path / "memory.png")
        assert (tmp_path / "memory.png").stat().st_size > 10_000


def test_an_unknown_benchmark_is_named() -> None:
    done = bench("evidence")
    assert done.returncode == 2
    assert "unknown benchmark 'evidence'" in done.stderr
