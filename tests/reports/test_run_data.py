"""What a page holds, against the plain way: every image, number and test worked out one by one."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddeep.errors import DataError
from ddeep.experiments.settings import ReportConfig
from ddeep.heads.paired import compare_paired
from ddeep.reports import switching
from ddeep.reports.findings import Findings, Measured, find
from ddeep.reports.mistakes import LISTED, changes
from ddeep.reports.names import names_key, read_names
from ddeep.reports.packing import packed, scaled
from ddeep.reports.portraits import BINS, FIRST, Portraits, portraits
from ddeep.reports.proof import Against, Proof, losses, prove
from ddeep.reports.switching import Sample, sample
from ddeep.reports.verdict import examples, null_range, p_text, sentence


@pytest.fixture(scope="module")
def found(digits_run: Path) -> Findings:
    return find(digits_run, ReportConfig(no_layers=True))


@pytest.fixture(scope="module")
def measured(found: Findings) -> Measured:
    assert found.measured is not None
    return found.measured


@pytest.fixture(scope="module")
def seen(found: Findings, measured: Measured) -> Portraits:
    return portraits(found, measured, 6, 4)


@pytest.fixture(scope="module")
def proof(found: Findings) -> Proof:
    return prove(found, 0)


def read_back(table: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(table["bytes"]), f"<{table['kind']}").reshape(table["shape"])


def test_packed_numbers_come_back() -> None:
    values = torch.tensor([[1.5, -2.0], [float("nan"), 4.0]])
    assert np.array_equal(read_back(packed(values, "f4")), values.numpy(), equal_nan=True)
    for levels in (127, 32767):
        table = scaled(values, levels)
        back = read_back(table) * table["step"]
        assert np.abs(back - [[1.5, -2], [0, 4]]).max() <= 4 / levels / 2 * 1.001
    assert read_back(scaled(torch.zeros(2))).tolist() == [0, 0]


def test_images_of_a_class_and_near_misses(found: Findings, measured: Measured, seen: Portraits) -> None:
    responses, labels = measured.train.cached_responses()
    for c, j in ((3, found.selection.filters[3][0]), (8, found.selection.filters[8][4])):
        pair = seen.pairs[c, j]
        column = [(-float(r), n) for n, r in enumerate(responses[:, j])]
        own = [n for _, n in sorted(column) if int(labels[n]) == c]
        others = [n for _, n in sorted(column) if int(labels[n]) != c]
        assert list(pair.own.indices) == own[:6]
        assert list(pair.near.indices) == others[:4]
        assert pair.own.responses == tuple(float(responses[n, j]) for n in own[:6])
        assert pair.density.shape == (2, BINS)
        assert pair.density.sum(1).tolist() == [len(own), len(others)]
        assert int(pair.density[:, -1].sum()) >= 1  # the largest of all lies in the last bin


def test_portraits_of_filters(measured: Measured, seen: Portraits) -> None:
    responses, labels = measured.train.cached_responses()
    assert [one.filter for one in seen.filters] == list(range(64))
    for j in (0, 44):
        one = seen.filters[j]
        order = sorted(range(len(labels)), key=lambda n: (-float(responses[n, j]), n))
        assert list(one.top.indices) == order[:6]
        counts = Counter(int(labels[n]) for n in order[:FIRST])
        assert dict(one.classes) == counts
        assert one.purity == max(counts.values()) / FIRST
        for quantile, some in zip((0.75, 0.5, 0.25), one.quantiles, strict=False):
            middle = float(np.quantile(responses[:, j].numpy(), quantile))
            near = sorted(abs(float(r) - middle) for r in responses[:, j])[8]
            assert all(abs(r - middle) <= near + 1e-6 for r in some.responses)
        table = np.corrcoef(responses.numpy().T)
        best = sorted((i for i in range(64) if i != j), key=lambda i: -abs(table[j, i]))[:6]
        assert [other for other, _ in one.alike] == best
        assert [r for _, r in one.alike] == pytest.approx([table[j, i] for i in best], abs=1e-4)


def test_the_sample_stands_for_the_test_split(found: Findings, measured: Measured) -> None:
    chosen = sample(found, measured)
    assert isinstance(chosen, Sample)
    indices = chosen.indices.tolist()
    assert len(indices) == len(set(indices)) == 240
    right = {stage: told == measured.labels for stage, told in measured.predictions.items()}
    wrong = {n for n in range(len(measured.labels)) if not (right["full"][n] and right["refit"][n])}
    assert wrong <= set(indices)  # so few that all have room
    for stage in ("full", "refit"):
        estimate = float(chosen.weights[right[stage][chosen.indices]].sum())
        assert estimate == pytest.approx(int(right[stage].sum()))
    assert set(measured.labels[chosen.indices].tolist()) == set(range(10))
    assert torch.equal(chosen.responses, measured.test.cached_responses()[0][chosen.indices])


def test_the_sample_shows_the_mistakes_that_changed_most(
    found: Findings, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them, though there be many more mistakes than the sample has room for."""
    monkeypatch.setattr(switching, "MOST", 90)
    labels, generator = measured.labels, torch.Generator().manual_seed(0)
    noise = torch.randint(0, 10, (2, len(labels)), generator=generator)
    wrong = torch.rand(2, len(labels), generator=generator) < torch.tensor([[0.3], [0.7]])
    before, after = torch.where(wrong, noise, labels)
    made = replace(measured, predictions={"full": before, "refit": after})
    chosen = sample(found, made)
    assert isinstance(chosen, Sample)
    indices = chosen.indices.tolist()
    assert len(indices) == len(set(indices)) == 90
    rows = changes(made, "refit")[:LISTED]
    assert len(rows) == LISTED
    for own, told, *_ in rows:
        assert [n for n in indices if labels[n] == own and (before[n] == told) != (after[n] == told)], (own, told)
    for called in (before, after):
        right = called == labels
        assert float(chosen.weights[right[chosen.indices]].sum()) == pytest.approx(int(right.sum()))
    assert float(chosen.weights.sum()) == pytest.approx(len(labels))


def test_the_proof(found: Findings, measured: Measured, proof: Proof) -> None:
    assert proof.images == 364
    assert proof.null is not None
    assert proof.noise is not None
    assert len(proof.null) == 200
    assert proof.p == 1 / 201
    assert proof.noise.clean == pytest.approx(found.document["accuracy"]["full"])
    assert proof.noise.selected < proof.noise.others < proof.noise.clean
    mean, low, high = null_range(proof) or (0, 0, 0)
    assert low < mean < high < 94
    (decomposed, refit) = proof.against
    assert (decomposed.stage, refit.stage) == ("decomposed", "refit")
    right = {stage: told == measured.labels for stage, told in measured.predictions.items()}
    assert refit.gained - refit.lost == int(right["refit"].sum()) - int(right["full"].sum())
    assert refit.paired == compare_paired(right["refit"], right["full"], seed=0)
    lost = losses(found, 0)
    for c in range(10):
        assert lost[c].difference == pytest.approx(-(found.drop(c) or 0.0))


def said(found: Findings, proof: Proof) -> str:
    return "".join(text for text, _ in sentence(found, proof)).replace("\u00a0", " ")


def test_the_verdict_is_written_from_the_numbers(found: Findings, proof: Proof) -> None:
    text = said(found, proof)
    assert text.startswith(
        "With 5 of 64 filters of layer3.2 a class, 94.8 % [92.0, 96.6] of 364 test images are right; "
    )
    assert "after the refit (99.7 %) no difference from the full network can be told, p = 1." in text
    (refit,) = [one for one in proof.against if one.stage == "refit"]
    worse = refit.paired._replace(difference=-4.0, low=-6.0, high=-2.0, p=1e-5)
    text = said(found, Proof(364, proof.null, proof.p, None, (Against("refit", worse, 1, 15),)))
    assert "after the refit it loses 4.0 points [2.0, 6.0] against the full network, to 99.7 %, p < 0.001." in text
    assert said(found, Proof(364)).endswith("after the refit it is 99.7 %, the full network has 99.5 %.")


def test_three_classes_by_rule(found: Findings) -> None:
    """Their refit costs no class anything, so what the decomposition costs decides; without a refit that alone does."""
    rows = found.document["per_class"]
    assert all(row["refit"] >= row["full"] for row in rows)
    drops = sorted((row["full"] - row["decomposed"], c) for c, row in enumerate(rows))
    when = " when decomposed"
    bare = {"document": found.document | {"accuracy": found.document["accuracy"] | {"refit": None}}}
    for findings, word in ((found, when), (replace(found, **bare), "")):
        picked = examples(findings)
        assert [why for _, why in picked] == [f"loses least{word}", "in the middle", f"loses most{word}"]
        assert picked[0][0] == drops[0][1]
        assert drops[-1][0] > 10
        assert rows[picked[2][0]]["full"] - rows[picked[2][0]]["decomposed"] == drops[-1][0]


@pytest.mark.parametrize(("p", "text"), [(1e-9, "p < 0.001"), (0.0312, "p = 0.031"), (0.61, "p = 0.6"), (1.0, "p = 1")])
def test_p_values_in_words(p: float, text: str) -> None:
    assert p_text(p).replace("\u00a0", " ") == text


def test_names_of_filters(found: Findings, tmp_path: Path) -> None:
    file, key = tmp_path / "names.json", names_key(found.document)

    def names(**change: object) -> dict[int, str]:
        document = {"schema": "ddeep.names/1", "of": key, "names": {"3": " loop ", "5": ""}, **change}
        file.write_text(json.dumps(document))
        return read_names(file, found.document, 64)

    assert names() == {3: "loop"}
    for change, message in (
        ({"schema": "x"}, "holds no names"),
        ({"of": "another"}, "other weights or of another layer"),
        ({"names": {"64": "x"}}, "is no name of a filter"),
        ({"names": {"-1": "x"}}, "is no name of a filter"),
        ({"names": {"3": 7}}, "is no name of a filter"),
        ({"names": {"3": "x" * 81}}, "is no name of a filter"),
    ):
        with pytest.raises(DataError, match=message):
            names(**change)
    with pytest.raises(DataError, match="Cannot read the names"):
        read_names(tmp_path / "gone.json", found.document, 64)
