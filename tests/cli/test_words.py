"""A run in a sentence, and metrics with what they mean."""

from __future__ import annotations

from typing import Any

from ddeep.cli.words import doubt, metric_facts, sentence


def run(accuracy: dict[str, float | None], *sizes: int) -> dict[str, Any]:
    return {"accuracy": accuracy, "per_class": [{"filters": list(range(size))} for size in sizes]}


def test_a_run_in_a_sentence() -> None:
    assert sentence(run({"full": 99.451, "decomposed": 94.78, "learned": None, "refit": 99.725}, 5, 5, 0)) == (
        "With 5 filters a class the network gets 94.78 % of the test images right, 99.72 % once its head is fitted "
        "anew; with all filters 99.45 %."
    )
    assert "With 1 filter a class" in sentence(run({"full": 90.0, "decomposed": 80.0}, 1, 1))
    everything = {"full": 90.0, "decomposed": 80.0, "learned": 85.0, "refit": 86.0, "finetuned": 89.0}
    text = sentence(run(everything, 2, 7, 3))
    assert text.startswith("With 2 to 7 filters a class")
    assert text.index("85.00") < text.index("86.00") < text.index("89.00") < text.index("90.00")


def test_without_a_head_there_is_none_to_judge() -> None:
    text = sentence(run({"full": 90.0, "decomposed": None, "refit": None}, 4, 4))
    assert text.startswith("Each class has 4 filters of a layer that does not feed the head")
    assert "90.00 %" in text


def test_each_metric_is_one_number_with_its_meaning() -> None:
    pmi = {"without_self_pairs": 0.012345, "with_self_pairs": 0.5}
    facts = dict(metric_facts({"pmi": pmi, "class-selectivity": None, "psi:0.9": {"median": 0.25}, "strange": 2.0}))
    assert facts["pmi"].startswith("0.01235  ")
    assert "nats" in facts["pmi"]
    assert facts["class-selectivity"].startswith("not defined here  ")
    assert facts["psi:0.9"].startswith("0.25  share of a layer's filters")
    assert facts["strange"] == "2"


def test_a_network_that_has_learned_nothing_is_doubted() -> None:
    def judged(full: float) -> str:
        rows = [{"class": "cat", "images": 60}, {"class": "dog", "images": 40}]
        return doubt({"per_class": rows, "accuracy": {"full": full}})

    assert "it gets 60.00 % of 100 test images right, and calling each of them cat 60.00 %" in judged(60.0)
    assert judged(68.0)  # within its interval
    assert not judged(75.0)
