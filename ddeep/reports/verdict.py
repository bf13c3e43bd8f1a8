"""What a run has shown, in one sentence written from its numbers, and the classes that stand for all."""

from __future__ import annotations

from dataclasses import dataclass

from .findings import Findings
from .heat import number
from .proof import Proof, interval_of

LEVEL = 0.05
STAGE_WORDS = {
    "full": "the full network",
    "decomposed": "each class sees only its own filters",
    "learned": "the head that the strategy learned along with them",
    "refit": "that head fitted again",
    "finetuned": "the whole network trained through it",
}


@dataclass(frozen=True)
class Mark:
    """One line of the strip: a stage's accuracy, with its interval, in percent."""

    stage: str
    words: str
    percent: float
    low: float
    high: float


def marks(found: Findings, proof: Proof) -> list[Mark]:
    """Every stage with Wilson's interval."""
    made = []
    for stage in found.stages:
        percent = found.document["accuracy"][stage]
        low, high = interval_of(percent, proof.images) or (percent, percent)
        made.append(Mark(stage, STAGE_WORDS[stage], percent, low, high))
    return made


def null_range(proof: Proof) -> tuple[float, float, float] | None:
    """Mean of the random selections' accuracies, and the middle 95 % of them, in percent."""
    if proof.null is None:
        return None
    percents = (100 * proof.null.double() / proof.images).sort().values
    ends = percents.quantile(percents.new_tensor([0.025, 0.975])).tolist()
    return float(percents.mean()), ends[0], ends[1]


def sentence(found: Findings, proof: Proof) -> list[tuple[str, bool]]:
    """The verdict as pieces of text, and whether each is to be emphasised."""
    document = found.document
    of = f"{found.selection.num_filters:,} filters of {document['layer']}"
    if "decomposed" not in found.stages:
        return [
            (f"The {of} do not feed the head, so nothing here tells how accurate a class's own filters are; the full "
             "network gets ", False),
            (_percent(document["accuracy"]["full"]), True),
            (f" of {proof.images:,} test images right.", False),
        ]  # fmt: skip
    decomposed = next(mark for mark in marks(found, proof) if mark.stage == "decomposed")
    pieces = [
        (f"With {_sizes(found)} of {of} a class, ", False),
        (_percent(decomposed.percent), True),
        (f" {_ends(decomposed.low, decomposed.high)} of {proof.images:,} test images are right", False),
    ]  # fmt: skip
    null = null_range(proof)
    if null is not None:
        pieces += [("; random filters reach ", False), (_percent(null[0]), True)]
    if found.final != "decomposed":
        pieces += _after(found, proof)
    return [*pieces, (".", False)]


def _after(found: Findings, proof: Proof) -> list[tuple[str, bool]]:
    """What the last stage says of the full network."""
    word = {"learned": "as learned", "refit": "after the refit", "finetuned": "after fine-tuning"}[found.final]
    percent = found.document["accuracy"][found.final]
    against = next((one for one in proof.against if one.stage == found.final), None)
    if against is None:
        full = found.document["accuracy"]["full"]
        return [
            (f"; {word} it is ", False),
            (_percent(percent), True),
            (f", the full network has {_percent(full)}", False),
        ]
    paired = against.paired
    if paired.p > LEVEL:
        return [
            (f"; {word} ({_percent(percent)}) ", False),
            ("no difference from the full network", True),
            (f" can be told, {p_text(paired.p)}", False),
        ]
    way = "gains" if paired.difference > 0 else "loses"
    points = number(abs(paired.difference), 1)
    ends = sorted((abs(paired.low), abs(paired.high))) if paired.low * paired.high > 0 else [paired.low, paired.high]
    return [
        (f"; {word} it ", False),
        (f"{way} {points} points", True),
        (f" {_ends(*ends)} against the full network, to {_percent(percent)}, {p_text(paired.p)}", False),
    ]  # fmt: skip


def p_text(p: float) -> str:
    """A p-value for readers."""
    text = f"= {p:.3f}" if p < 0.095 else f"= {p:.1f}" if p < 0.95 else "= 1"
    return "p\u00a0< 0.001" if p < 0.001 else f"p\u00a0{text}"


def examples(found: Findings) -> list[tuple[int, str]]:
    """Three classes and why they are shown: the one that loses least, the one in the middle, the one that loses most.

    Of equals the first. Where no class has lost anything in the end, by what it loses when it is decomposed; where
    nothing was decomposed, by the full network's accuracy.
    """
    chosen = [c for c, filters in enumerate(found.selection.filters) if filters]
    rows = found.document["per_class"]
    if found.final == "full":
        order = sorted(chosen, key=lambda c: -(rows[c]["full"] or 0.0))
        words = ("most accurate", "in the middle", "least accurate")
    elif any((found.drop(c) or 0.0) > 0 for c in chosen):
        order = sorted(chosen, key=lambda c: found.drop(c) or 0.0)
        words = ("loses least", "in the middle", "loses most")
    else:
        order = sorted(chosen, key=lambda c: (rows[c]["full"] or 0.0) - (rows[c]["decomposed"] or 0.0))
        words = ("loses least when decomposed", "in the middle", "loses most when decomposed")
    places = (0, len(order) // 2, len(order) - 1)
    picked = {order[place]: word for place, word in zip(places, words, strict=True)} if order else {}
    return list(picked.items())


def _sizes(found: Findings) -> str:
    sizes = sorted({len(filters) for filters in found.selection.filters if filters})
    if not sizes:
        return "none"
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"


def _ends(low: float, high: float) -> str:
    return f"[{number(low, 1)},\u00a0{number(high, 1)}]"  # on one line


def _percent(value: float) -> str:
    return f"{number(value, 1)}\u00a0%"
