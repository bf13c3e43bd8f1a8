"""Filters that are token channels, from the packaged weights to a decomposed head."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddeep_vit import build, ddeep_models

import ddeep
from ddeep.experiments.run import run
from ddeep.experiments.settings import RunConfig
from ddeep.networks.anatomy import get_layers
from ddeep.networks.trace import example_images, record
from ddeep.networks.weights import load_strictly, load_weights

(SPEC,) = ddeep_models()


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    module = build(10).eval()
    load_strictly(module, load_weights(SPEC.weights[0], Path()))
    return module


def test_responses_are_the_class_token_or_the_mean_of_all_tokens(network: torch.nn.Module) -> None:
    images = example_images(network, 32)
    tokens = network.forward_features(images)
    assert tokens.shape == (2, 17, 64)
    for pool, expected in {"token": tokens[:, 0], "mean": tokens.mean(1)}.items():
        (layer,) = get_layers(record(network, images), ["norm"], pool)
        evidence = ddeep.gather(network, [(images, torch.tensor([0, 1]))], layer=layer)
        torch.testing.assert_close(evidence.responses, expected.detach(), rtol=1e-4, atol=1e-5)


def test_a_run_on_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path))
    document = run(RunConfig(model="vit-mini", strategy="paper", k=8)).document
    assert (document["layer"], document["head"], document["dataset"]) == ("norm", "head", "digits")
    assert document["accuracy"]["full"] > 95
    assert document["accuracy"]["refit"] > document["accuracy"]["decomposed"]
    # Token channels are signed: no selectivity index, and never a number that looks like one.
    assert document["metrics"]["class_selectivity"] is None
    assert document["metrics"]["psi"] is not None


def test_strategies_for_non_negative_responses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path))
    with pytest.raises(ddeep.DdeepError, match="non-negative"):
        run(RunConfig(model="vit-mini", strategy="selectivity", k=8))


def test_inner_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path))
    document = run(RunConfig(model="vit-mini", strategy="paper", k=8, layer="blocks.1.mlp.act")).document
    assert all(len(row["filters"]) == 8 and max(row["filters"]) < 128 for row in document["per_class"])
    assert document["accuracy"]["decomposed"] is None  # the layer does not feed the head


def test_listing_imports_neither_torch_nor_timm() -> None:
    code = "import sys, ddeep_vit; sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
