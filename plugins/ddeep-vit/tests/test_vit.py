"""Filters that are token channels, from the packaged weights to a decomposed head."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ddeep_vit import build, ddeep_models

import ddeep
from ddeep.plugin import load_strictly, load_weights

(SPEC,) = ddeep_models()


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    module = build(10).eval()
    load_strictly(module, load_weights(SPEC.weights[0], Path()))
    return module


def test_responses_are_the_class_token_or_the_mean_of_all_tokens(network: torch.nn.Module) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = network.forward_features(images)
    assert tokens.shape == (2, 17, 64)
    for pool, expected in {"token": tokens[:, 0], "mean": tokens.mean(1)}.items():
        evidence = ddeep.gather(network, [(images, torch.tensor([0, 1]))], layer=ddeep.Layer("norm", pool))
        torch.testing.assert_close(evidence.responses, expected.detach(), rtol=1e-4, atol=1e-5)


def run(out: Path, *words: str) -> Any:
    """The document of `ddeep run` on the digits, or what it says on stderr where it fails."""
    command = [sys.executable, "-m", "ddeep", "run", "--model", "vit-mini", "--k", "8", "--out", str(out), "--json"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=out.parent)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_a_run_on_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    document = run(tmp_path / "run", "--strategy", "paper")
    assert (document["layer"], document["head"], document["dataset"]) == ("norm", "head", "digits")
    assert document["accuracy"]["full"] > 95
    assert document["accuracy"]["refit"] > document["accuracy"]["decomposed"]
    # Token channels are signed: no selectivity index, and never a number that looks like one.
    assert document["metrics"]["class_selectivity"] is None
    assert document["metrics"]["psi"] is not None


def test_strategies_for_non_negative_responses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    assert "non-negative" in run(tmp_path / "run", "--strategy", "selectivity")


def test_inner_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))
    document = run(tmp_path / "run", "--strategy", "paper", "--layer", "blocks.1.mlp.act")
    assert all(len(row["filters"]) == 8 and max(row["filters"]) < 128 for row in document["per_class"])
    assert document["accuracy"]["decomposed"] is None  # the layer does not feed the head


def test_listing_imports_neither_torch_nor_timm() -> None:
    code = "import sys, ddeep_vit; sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
