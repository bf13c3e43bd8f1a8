"""Explanations: parts that add up, the right classes, and every way to name an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ddeep.cli.explain import _file_name
from ddeep.errors import ConfigError, DataError
from ddeep.experiments.explain import Explainer, adding_up
from ddeep.experiments.run import run
from ddeep.experiments.settings import RunConfig
from ddeep.networks.hooks import ResponseHooks
from ddeep.results.run import load, save_run
from tests.support.helpers import Outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    save_run(run(RunConfig(model="resnet20", strategy="paper", k=3, no_refit=True)), out)
    return out


@pytest.fixture(scope="module")
def explainer(folder: Path) -> Explainer:
    return Explainer.open(folder)


def test_the_parts_are_the_filters_of_the_class_and_add_up_to_the_networks_logit(
    folder: Path, explainer: Explainer
) -> None:
    module, subject = load(folder), explainer.subject
    for index in (0, 11, 42):
        explanation = explainer.explain(f"test:{index}")
        pixels = subject.network.preprocessing.fit(subject.images["test"].pixels[index : index + 1])
        with torch.no_grad():
            logits = module(subject.network.preprocessing.normalise(pixels))[0]
        assert explanation.predicted == int(logits.argmax())
        assert explanation.true == int(subject.labels("test")[index])
        for part in explanation.logits:
            assert {term.filter for term in part.terms} == set(explainer.selection.filters[part.index])
            given = [term.contribution for term in part.terms]
            assert given == sorted(given, reverse=True)
            assert part.probability == pytest.approx(float(logits.softmax(0)[part.index]), rel=1e-4, abs=1e-6)
            assert part.logit == math.fsum([part.bias, *(term.contribution for term in part.terms)])
            assert part.logit == pytest.approx(float(logits[part.index]), rel=1e-4, abs=1e-4)
            assert all(term.contribution == term.weight * term.response for term in part.terms)


def test_what_is_typical_of_a_class_is_its_mean_response(explainer: Explainer) -> None:
    explanation = explainer.explain("test:5")
    responses = []
    with ResponseHooks(explainer.module, [explainer.layer]) as taps:
        for images in explainer.subject.images["test"].pixels.split(91):
            recipe = explainer.subject.network.needed_preprocessing()
            taps.run(recipe.normalise(recipe.fit(images)))
            responses.append(taps.responses[explainer.layer.name])
    labels = explainer.subject.labels("test")
    for part in explanation.logits:
        own = torch.cat(responses)[labels == part.index]
        assert [term.typical for term in part.terms] == pytest.approx(
            [float(own[:, term.filter].double().mean()) for term in part.terms], rel=1e-4
        )
    ranked = sorted((float(one.logit) for one in explanation.logits), reverse=True)
    assert 0 <= explanation.margin <= ranked[0] - ranked[1] + 1e-4
    assert explanation.name == "test:5"


def test_the_second_class_is_the_true_one_or_else_the_runner_up(explainer: Explainer) -> None:
    wrong = right = 0
    for index in range(120):
        explanation = explainer.explain(f"test:{index}")
        first, second = (part.index for part in explanation.logits)
        assert first == explanation.predicted
        assert explanation.logits[0].logit >= explanation.logits[1].logit - 1e-4
        if explanation.true == explanation.predicted:
            right += 1
            assert second != first
        else:
            wrong += 1
            assert second == explanation.true
    assert wrong > 0
    assert right > 0


def test_a_file_is_known_by_its_folder_or_by_what_is_said_of_it(explainer: Explainer, tmp_path: Path) -> None:
    file = tmp_path / "7" / "x.png"
    file.parent.mkdir()
    Image.fromarray(explainer.subject.images["test"].pixels[5].numpy()).save(file)
    of_file, of_split = explainer.explain(str(file)), explainer.explain("test:5")
    assert of_file.true == 7
    assert [p.logit for p in of_file.logits][:1] == [p.logit for p in of_split.logits][:1]
    assert explainer.explain(str(file), "3").true == 3
    nowhere = tmp_path / "x.png"
    file.rename(nowhere)
    assert explainer.explain(str(nowhere)).true is None


def test_what_is_not_there(explainer: Explainer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no image"):
        explainer.explain(str(tmp_path / "none.png"))
    with pytest.raises(DataError, match="the test split has images 0 to"):
        explainer.explain("test:999999")
    with pytest.raises(DataError, match="There is no class 'cat'"):
        explainer.explain("test:0", "cat")


def test_a_run_without_decomposed_head(tmp_path: Path) -> None:
    save_run(run(RunConfig(model="resnet20", strategy="paper", layer="layer1.0")), tmp_path / "run")
    with pytest.raises(ConfigError, match="no logits to take apart"):
        Explainer.open(tmp_path / "run")


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.integers(0, 4))
def test_rounded_parts_add_up_and_stay_close(values: list[float], digits: int) -> None:
    total = math.fsum(values)
    rounded, whole = adding_up(values, total, digits)
    unit = 10**digits
    assert sum(round(value * unit) for value in rounded) == round(whole * unit)
    assert whole == round(total * unit) / unit
    assert all(abs(a - b) <= 1.0001 / unit for a, b in zip(rounded, values, strict=True))


def test_the_command_line(cli_here: Callable[..., Outcome], folder: Path, tmp_path: Path) -> None:
    done = cli_here("explain", folder, "test:3", "test:4", "--out", tmp_path / "drawn", "--json")
    assert done.status == 0, done.err
    assert done.json["schema"] == "ddeep.explanation/1"
    for image in done.json["images"]:
        for part in image["classes"]:
            assert part["logit"] == math.fsum([part["bias"], *(f["contribution"] for f in part["filters"])])
        for figure in image["figures"]:
            assert Path(figure).stat().st_size > 5000
    printed = cli_here("explain", folder, "test:3", "--out", tmp_path / "drawn")
    called = done.json["images"][0]["predicted"]
    assert f"called {called}" in printed.out
    assert "bias" in printed.out


def test_what_is_printed_adds_up(cli_here: Callable[..., Outcome], folder: Path, tmp_path: Path) -> None:
    printed = cli_here("explain", folder, "test:8", "--out", tmp_path / "drawn").out
    last = [(line.split() or [""])[-1] for line in printed.splitlines()]
    heads = [i for i, line in enumerate(printed.splitlines()) if line.startswith("filter")]
    assert len(heads) == 2
    for head in heads:
        *parts, logit = [round(1000 * float(text)) for text in last[head + 1 : head + 6]]
        assert sum(parts) == logit


def test_names_of_pictures_stay_in_their_folder() -> None:
    assert _file_name("../../etc/passwd.png", []) == "passwd"
    assert _file_name("test:12", []) == "test-12"
    assert _file_name("a/x.png", ["b/x.png"]) == "x-2"
    assert "/" not in _file_name("a\\..\\<b>:.png", [])
    assert _file_name("...", []) == "image"
