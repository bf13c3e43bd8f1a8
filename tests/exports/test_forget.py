"""Forgetting changes the logits that it says it changes, and no other."""

from __future__ import annotations

import pytest
import torch

from ddeep.errors import ConfigError, SelectionError
from ddeep.exports.forget import forget, specific_filters
from ddeep.networks.head import Head, get_head
from ddeep.selections.selection import Selection
from tests.support.toys import pooled, toy

SELECTION = Selection.of([[0, 1], [1, 2], [3], [3, 4]], 6)


def test_a_class_loses_its_own_filters_from_its_own_logit() -> None:
    module, images = toy(), torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weight, responses = Head.of(get_head(module, "head")).weight, pooled(module, images)
    with torch.no_grad():
        before, after = module(images), forget(module, SELECTION, [1])(images)
    lost = responses[:, 1] * weight[1, 1] + responses[:, 2] * weight[1, 2]
    torch.testing.assert_close(after[:, 1], before[:, 1] - lost)
    torch.testing.assert_close(after[:, [0, 2, 3]], before[:, [0, 2, 3]])


def test_deep_silences_what_is_theirs_alone() -> None:
    module, images = toy(), torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weight, responses = Head.of(get_head(module, "head")).weight, pooled(module, images)
    with torch.no_grad():
        before, after = module(images), forget(module, SELECTION, [1], deep=True)(images)
    assert specific_filters(SELECTION, [1]) == (2,)
    torch.testing.assert_close(after[:, 0], before[:, 0] - responses[:, 2] * weight[0, 2])
    assert specific_filters(SELECTION, [0, 1]) == (0, 1, 2)


def test_the_network_given_stays_as_it_is() -> None:
    module = toy()
    forget(module, SELECTION, [1], deep=True)
    assert get_head(module, "head").weight.all()


def test_what_cannot_be_forgotten_is_named() -> None:
    with pytest.raises(ConfigError, match="Every filter of these classes is some other class's, too"):
        forget(toy(), SELECTION, [2], deep=True)
    with pytest.raises(SelectionError, match="no filters for class 7"):
        forget(toy(), SELECTION, [7])
    with pytest.raises(SelectionError, match="no filters for no class"):
        forget(toy(), SELECTION, [])
    with pytest.raises(SelectionError, match="no filters for class 0"):
        forget(toy(), Selection.of([[], [1], [2], [3]], 6, absent=[0]), [0])
