"""The weights that come with ddeep score what their cards and specs say."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ddeep.data.preprocessing import Preprocessing
from ddeep.files.atomic import sha256_of
from ddeep.heads.accuracy import accuracy
from ddeep.registry.registry import registry
from ddeep.registry.specs import ModelSpec, WeightsSpec, resolve
from ddeep_plugins_builtin.models import cifar_specs

WEIGHTS = Path(cifar_specs.__file__).parents[1] / "weights"
PACKAGED = [
    (spec, weights) for spec in cifar_specs.specs() for weights in spec.weights if weights.file and not weights.url
]


def _score(spec: ModelSpec, weights: WeightsSpec, data_dir: Path) -> float:
    assert weights.file is not None
    model = resolve(spec.build)(weights.num_classes)
    model.load_state_dict(load_file(WEIGHTS.parent / weights.file.partition(":")[2]), strict=True)
    images = resolve(registry().find("dataset", weights.dataset).open)(data_dir, "test")
    return accuracy(model, images, Preprocessing.of(weights), torch.device("cpu"))


@pytest.mark.parametrize(("spec", "weights"), PACKAGED, ids=[weights.name for _, weights in PACKAGED])
def test_the_card_belongs_to_the_file_and_to_the_spec(spec: ModelSpec, weights: WeightsSpec) -> None:
    card = (WEIGHTS / f"{weights.name}.md").read_text(encoding="utf-8")
    assert sha256_of(WEIGHTS / f"{weights.name}.safetensors") in card
    claimed = re.search(r"\*\*([\d.]+) %\*\*", card)
    assert claimed is not None
    assert f"{claimed[1]} %" in weights.summary
    for values in (weights.mean, weights.std):
        assert str(list(values)) in card
    assert f"ddeep train --model {spec.name} --dataset {weights.dataset}" in card


def test_digits_score_what_their_card_says(tmp_path: Path) -> None:
    spec, weights = next(pair for pair in PACKAGED if pair[1].dataset == "digits")
    score = _score(spec, weights, tmp_path)
    assert score >= 98.0
    assert f"{score:.2f} %" in weights.summary


def test_cifar10_scores_what_its_card_says(real_data: Callable[[str], Path]) -> None:
    found = [pair for pair in PACKAGED if pair[1].dataset == "cifar10"]
    if not found:
        pytest.fail("no CIFAR-10 weights are packaged")
    data_dir = real_data("cifar10").parent
    score = _score(*found[0], data_dir)
    assert score >= 91.0
    assert f"{score:.2f} %" in found[0][1].summary
