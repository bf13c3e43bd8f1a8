"""What strategies promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DdeepError, SelectionError
from ..evidence.context import Context
from ..evidence.evidence import Evidence
from ..registry.specs import StrategySpec, resolve
from ..selections.k import K
from ..selections.select import choice, choose, needed
from ..selections.selection import Selection
from .contract import Promise, broken_unless
from .statistics import check_statistics
from .toys import CLASSES, COMMON, FILTERS, Toy, make_toy

_K = 2


def _select(spec: StrategySpec, toy: Toy, k: K = _K, batch_size: int = 16) -> Selection:
    return choose(spec, toy.evidence(needed(spec, [k]), batch_size), k, toy.context())


def _answer(spec: StrategySpec, evidence: Evidence, k: K, context: Context) -> Any:
    """What its function returns, unchecked."""
    if spec.select_all is not None:
        return resolve(spec.select_all)(evidence, [k], context)[k]
    assert spec.select is not None
    return resolve(spec.select)(evidence, k, context)


def _selects(spec: StrategySpec, _data_dir: Path) -> None:
    toy = make_toy()
    for k in (1, _K, FILTERS):
        evidence = toy.evidence(needed(spec, [k]))
        found = _answer(spec, evidence, k, toy.context())
        if isinstance(found, Tensor):
            broken_unless(
                found.shape == (CLASSES, FILTERS) and torch.isfinite(found).all(),
                f"For {CLASSES} classes and {FILTERS} filters, `select` gave scores of shape {tuple(found.shape)}"
                f"{'' if torch.isfinite(found).all() else ' that are not all finite'}",
                "return one finite score for every class (row) and filter (column), or a Selection",
            )
        chosen = choose(spec, evidence, k, toy.context())
        sizes = {len(row) for row in chosen.filters}
        broken_unless(
            isinstance(found, Tensor) or max(sizes) <= FILTERS,
            f"k = {k} gave classes {sizes} filters",
            "select at most the layer's filters",
        )
        images = evidence.class_counts.tolist()
        broken_unless(
            not spec.counts_images
            or all(score in range(images[c] + 1) for c in range(CLASSES) for score in chosen.scores[c]),
            f"Its scores for k = {k} are no counts among the classes' {images} train images",
            "count train images of the class, or leave out counts_images",
        )


def _scores_serve_every_k(spec: StrategySpec, _data_dir: Path) -> None:
    toy = make_toy()
    evidence = toy.evidence(needed(spec, [1, _K]))
    found = [_answer(spec, evidence, k, toy.context()) for k in (1, _K)]
    broken_unless(
        spec.per_k or spec.select_all is not None or not isinstance(found[0], Tensor) or torch.equal(*found),
        f"Its scores for k = {_K} are not those for k = 1, but a comparison computes them once",
        "add per_k=True to the spec, or score filters without looking at k",
    )


def _serves_ks_at_once(spec: StrategySpec, _data_dir: Path) -> None:
    if spec.select_all is None:
        return
    toy, ks = make_toy(), [_K, 1, FILTERS]
    evidence = toy.evidence(needed(spec, ks))
    found = resolve(spec.select_all)(evidence, ks, toy.context())
    for k in ks:
        together, alone = choice(spec, found[k], evidence, k), choose(spec, evidence, k, toy.context())
        broken_unless(
            together.filters == alone.filters,
            f"Asked for k = {ks} at once it selects otherwise for k = {k} than asked for that alone",
            "answer for every k as if it were the only one",
        )


def _keeps_to_budgets(spec: StrategySpec, _data_dir: Path) -> None:
    toy, budget = make_toy(), _K + 1
    evidence = toy.evidence(needed(spec, [_K]))
    found = choose(spec, evidence, _K, replace(toy.context(), budget=budget))
    broken_unless(
        found.distinct <= budget and all(found.filters),
        f"With a budget of {budget} it selected {found.distinct} different filters, {found.filters}",
        "keep to context.budget (Selection.top(…, budget=context.budget)) and say so, budgets=True",
    )


def _takes_fractions(spec: StrategySpec, _data_dir: Path) -> None:
    toy = make_toy()
    if spec.fractions:
        sizes = [len(row) for row in _select(spec, toy, 0.5).filters]
        broken_unless(min(sizes) >= 1, f"k = 0.5 left a class {min(sizes)} filters", "give every class one at least")
        return
    try:
        _select(spec, toy, 0.5)
    except DdeepError:
        return
    raise AssertionError("unreachable: the engine refuses fractions")


def _is_deterministic(spec: StrategySpec, _data_dir: Path) -> None:
    toy = make_toy()
    broken_unless(
        _select(spec, toy) == _select(spec, toy),
        "Two runs with the same seed selected differently",
        "draw random numbers from context.generator() only",
    )


def _ignores_batching(spec: StrategySpec, _data_dir: Path) -> None:
    if spec.stochastic or spec.approximate:
        return
    toy = make_toy()
    expected = _select(spec, toy).filters
    fix = "compute from sums over images; or, if it cannot, declare the spec `stochastic` or `approximate`"
    broken_unless(_select(spec, toy, batch_size=7).filters == expected, "Another batch size selects otherwise", fix)
    broken_unless(
        _select(spec, toy.shuffled()).filters == expected, "Another order of the images selects otherwise", fix
    )


def _follows_relabelling(spec: StrategySpec, _data_dir: Path) -> None:
    if spec.stochastic or spec.approximate:
        return
    toy, names = make_toy(), [2, 0, 3, 1]
    expected, found = _select(spec, toy), _select(spec, toy.relabelled(names))
    fix = "treat all classes alike; or, if it cannot, declare the spec `stochastic` or `approximate`"
    broken_unless(
        all(found.filters[names[c]] == expected.filters[c] for c in range(CLASSES)),
        f"Calling class c {names}[c] does not merely reorder the classes' filters: {expected.filters} became "
        f"{found.filters}",
        fix,
    )
    if expected.head is None or found.head is None:
        return
    pairs = [(expected.head.weight[c], found.head.weight[names[c]]) for c in range(CLASSES)]
    largest = max(float(before.abs().max()) for before, _ in pairs)
    broken_unless(
        all(float((after - before).abs().max()) <= 0.05 * largest for before, after in pairs),
        f"Calling class c {names}[c] does not merely reorder the learned head's rows",
        fix,
    )


def _copes_with_absent_classes(spec: StrategySpec, _data_dir: Path) -> None:
    chosen = _select(spec, make_toy(absent=1))
    broken_unless(
        chosen.absent == (CLASSES,) and all(chosen.filters[:CLASSES]),
        f"With no images of class {CLASSES}, the absent classes are {chosen.absent}, the filters {chosen.filters}",
        "return finite scores (any) for it, or a Selection that lists ~evidence.present as absent",
    )


def _copes_with_silent_filters(spec: StrategySpec, _data_dir: Path) -> None:
    toy = make_toy(silent=1)
    try:
        _select(spec, toy)
    except SelectionError as error:
        problem = str(error).removesuffix(".")
        broken_unless(False, f"With a filter that responds to no image: {problem}", "give it a finite score")


def _keeps_its_hands_off(spec: StrategySpec, _data_dir: Path) -> None:
    toy = make_toy()
    weights = {name: tensor.clone() for name, tensor in toy.module.state_dict().items()}
    evidence = toy.evidence(needed(spec, [_K]))
    assert evidence.responses is not None
    responses = evidence.responses.clone()
    before = {s: {n: t.clone() for n, t in s.state().items()} for s in evidence.statistics}
    choose(spec, evidence, _K, toy.context())
    unchanged = all(torch.equal(tensor, weights[name]) for name, tensor in toy.module.state_dict().items())
    broken_unless(unchanged, "It changed the network's weights", "work on copies: weight.clone()")
    broken_unless(
        not any(m.training or m._forward_hooks or m._forward_pre_hooks for m in toy.module.modules()),
        "It left a hook, or the network in training mode",
        "remove hooks and restore the mode in `finally`",
    )
    same = torch.equal(responses, evidence.responses) and all(
        torch.equal(tensor, before[s][name]) for s in before for name, tensor in s.state().items()
    )
    broken_unless(same, "It changed the evidence, which other strategies read too", "work on copies: sums.clone()")


def _keeps_to_its_flags(spec: StrategySpec, _data_dir: Path) -> None:
    toy = make_toy()
    statistics = needed(spec, [_K])
    gradients = any("gradient_activation" in statistic.extras for statistic in statistics)
    broken_unless(
        not gradients or spec.gradients,
        "It needs a statistic of gradients but is not declared `gradients`",
        "add gradients=True to the spec, so that users know it costs a backward pass",
    )
    evidence = toy.evidence([*statistics, *COMMON])
    expected = choice(spec, _answer(spec, evidence, _K, toy.context()), evidence, _K)
    if not spec.learned:
        _works_without(spec, replace(evidence, responses=None, labels=None), toy.context(), expected, "learned")
    if not spec.head_only:
        headless = replace(toy.context(), head=None)
        _works_without(spec, evidence, headless, None, "head_only")
    declared = evidence.limited(statistics, True)
    _works_without(spec, declared, toy.context(), expected, "needs")


def _works_without(
    spec: StrategySpec, evidence: Evidence, context: Context, expected: Selection | None, flag: str
) -> None:
    what, fix = {
        "learned": ("the kept responses", "add learned=True to the spec"),
        "head_only": ("the head", "add head_only=True to the spec"),
        "needs": ("the statistics it does not declare", "return them from `needs`"),
    }[flag]
    try:
        found = choice(spec, _answer(spec, evidence, _K, context), evidence, _K)
    except Exception as error:
        broken_unless(False, f"Without {what} it fails ({type(error).__name__}: {error})", f"{fix}, or do without them")
    else:
        broken_unless(expected in (None, found), f"Without {what} it selects otherwise", fix)


def _statistics(spec: StrategySpec, _data_dir: Path) -> None:
    check_statistics(lambda: needed(spec, [_K]))


PROMISES = [
    Promise("its statistics merge, save and plan their size", _statistics),
    Promise("it scores every class and filter, for every k", _selects),
    Promise("scores that serve every k do not depend on it", _scores_serve_every_k),
    Promise("several k at once are as each alone", _serves_ks_at_once),
    Promise("it takes a fraction as k, if it says so", _takes_fractions),
    Promise("it keeps to a budget", _keeps_to_budgets),
    Promise("it is deterministic", _is_deterministic),
    Promise("batch size and order of the images do not matter", _ignores_batching),
    Promise("renaming classes renames its selection", _follows_relabelling),
    Promise("a class without images is absent", _copes_with_absent_classes),
    Promise("a filter that never responds is scored", _copes_with_silent_filters),
    Promise("network and evidence stay as they were", _keeps_its_hands_off),
    Promise("it needs no more than its flags say", _keeps_to_its_flags),
]
