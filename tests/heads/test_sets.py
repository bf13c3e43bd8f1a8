"""Prediction sets: depths as counted one by one, and coverage as promised, neither less nor much more."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddeep.heads.sets import Calibration, Looks, calibrate, look, rank, scores, sets
from ddeep.networks.head import Head
from ddeep.selections.selection import Selection
from tests.reference import sets as reference
from tests.support.effort import examples

CLASSES, FILTERS = 6, 9


def made(images: int, seed: int, absent: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor, Head, Selection]:
    """Noisy responses, labels, a head and a selection whose classes share filters."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, FILTERS, generator=torch.Generator().manual_seed(5))
    labels = torch.randint(CLASSES, (images,), generator=generator)
    responses = centres[labels] + 1.2 * torch.randn(images, FILTERS, generator=generator)
    rows = [[c % 3, 3 + c % 2, 5 + c % 4] if c not in absent else [] for c in range(CLASSES)]
    selection = Selection.of(rows, FILTERS, absent=absent)
    return responses, labels, Head(centres * selection.mask(), torch.zeros(CLASSES)), selection


@given(seed=st.integers(0, 1000), absent=st.sampled_from([(), (2,)]))
@examples(20)
def test_depths_are_those_counted_one_by_one(seed: int, absent: tuple[int, ...]) -> None:
    responses, _, head, selection = made(20, seed, absent)
    looks = look(responses, head, selection)
    expected = reference.depths(
        responses.double().numpy(),
        head.weight.double().numpy(),
        head.bias.double().numpy(),
        [list(r) for r in selection.filters],
    )
    assert looks.depths.tolist() == expected.tolist()
    logits = responses.double() @ head.weight.double().T
    assert torch.allclose(looks.probabilities, logits.softmax(1))
    for level in range(4):
        admitted = looks.admitted(level)
        assert admitted.gather(1, looks.predicted[:, None]).all()
        assert level > 0 or admitted.all()


@given(scored=st.lists(st.floats(0, 1), min_size=1, max_size=40), coverage=st.floats(0.05, 0.99))
@examples(50)
def test_the_threshold_is_the_order_statistic(scored: list[float], coverage: float) -> None:
    count = len(scored)
    probabilities = torch.stack(
        [1 - torch.tensor(scored, dtype=torch.float64), torch.tensor(scored, dtype=torch.float64)], 1
    )
    looks = Looks(
        probabilities,
        torch.zeros(count, 2, dtype=torch.int64),
        torch.zeros(count, dtype=torch.int64),
        torch.zeros(count, dtype=torch.int64),
    )
    found = calibrate(looks, torch.zeros(count, dtype=torch.int64), coverage, torch.Generator().manual_seed(0))
    second = torch.randperm(count, generator=torch.Generator().manual_seed(0))[count // 2 :]
    own = (1 - probabilities[second, 0]).tolist()
    if abs((len(own) + 1) * coverage - round((len(own) + 1) * coverage)) > 1e-6:
        assert found.threshold == reference.threshold(own, coverage)
    inside = sets(looks, found)
    assert inside.all() or math.isfinite(found.threshold)


@pytest.mark.parametrize("coverage", [0.6, 0.9])
def test_coverage_is_what_was_asked_for(coverage: float) -> None:
    """Over many calibrations: at least so much, and no more than 1 / (n + 1) beyond it, but for chance."""
    images, repeats, fresh = 40, 400, 60
    responses, labels, head, selection = made(repeats * (images + fresh), seed=1)
    looks = look(responses, head, selection)
    held, sizes = [], []
    for number in range(repeats):
        rows = slice(number * (images + fresh), (number + 1) * (images + fresh))
        mine = Looks(*(column[rows] for column in looks))
        own = labels[rows]
        first, rest = (Looks(*(c[part] for c in mine)) for part in (slice(images), slice(images, None)))
        found = calibrate(first, own[:images], coverage, torch.Generator().manual_seed(number))
        inside = sets(rest, found)
        held.append(inside.gather(1, own[images:, None]).double().mean().item())
        sizes.append(inside.sum(1).double().mean().item())
    error = np.std(held, ddof=1) / math.sqrt(repeats)
    assert coverage - 3 * error <= np.mean(held) <= coverage + 1 / (images // 2 + 1) + 3 * error
    assert np.mean(sizes) < CLASSES - 1


def test_level_and_threshold_come_from_different_halves() -> None:
    responses, labels, head, selection = made(400, seed=3)
    looks = look(responses, head, selection)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    found = calibrate(looks, labels, 0.5, torch.Generator().manual_seed(0))
    others = labels.clone()
    others[order[200:]] = (others[order[200:]] + 1) % CLASSES  # labels of the second half say nothing about the level
    assert calibrate(looks, others, 0.5, torch.Generator().manual_seed(0)).level == found.level
    changed = labels.clone()
    changed[order[:200]] = (changed[order[:200]] + 1) % CLASSES
    again = calibrate(looks, changed, 0.5, torch.Generator().manual_seed(0))
    scored = scores(looks, again.level).gather(1, labels[:, None])[order[200:], 0]
    assert again.threshold == scored.sort().values[rank(200, 0.5) - 1]
    assert found.images == (200, 200)


def test_too_few_images_give_sets_of_all_classes() -> None:
    responses, labels, head, selection = made(8, seed=0)
    looks = look(responses, head, selection)
    found = calibrate(looks, labels, 0.95, torch.Generator())
    assert math.isinf(found.threshold)
    assert sets(looks, found).all()
    assert not sets(looks, Calibration(3, 0.0, (4, 4))).all()
