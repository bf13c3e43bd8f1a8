"""Which filters go, how many; costs and paired differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ddeep.errors import ConfigError
from ddeep.exports.cost import cost_of, least_seconds
from ddeep.exports.shrink import importance, least, least_at_random, smallest_fraction
from ddeep_plugins_builtin.models.cifar_resnet import resnet20


def test_no_class_outweighs_another() -> None:
    scores = torch.tensor([[0.0, 5.0, 10.0], [300.0, 200.0, 100.0]])
    torch.testing.assert_close(importance(scores), torch.tensor([0.5, 0.5, 0.5]))
    assert importance(torch.ones(2, 3)).tolist() == [0, 0, 0]


def test_the_least_important_go_and_one_stays() -> None:
    values = {"a": torch.tensor([3.0, 1.0, 2.0, 0.0]), "b": torch.tensor([1.0])}
    assert least(values, 0.5) == {"a": (1, 3)}
    assert least(values, 1.0) == {"a": (1, 2, 3)}
    assert least(values, 0.1) == {}


def test_random_cuts_are_as_large() -> None:
    drawn = least_at_random({"a": (0, 1, 2)}, {"a": 8}, torch.Generator().manual_seed(0))
    assert len(set(drawn["a"])) == 3
    assert set(drawn["a"]) <= set(range(8))


@given(st.floats(0.05, 0.95))
def test_the_fraction_is_the_smallest_that_does(target: float) -> None:
    found = smallest_fraction(lambda fraction: 1 - fraction, target, "flops")
    assert 1 - found <= target
    assert 1 - found > target - 0.01


def test_a_target_out_of_reach_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--flops 0\.2 cannot be had.*0\.300 of the whole"):
        smallest_fraction(lambda fraction: 1 - 0.7 * fraction, 0.2, "flops")


def test_costs_are_those_of_the_layers() -> None:
    """ResNet20 for 32×32 images: 40.55 million multiply-adds of convolutions and 640 of the head."""
    found = cost_of(resnet20(10).eval(), torch.rand(3, 3, 32, 32))
    side, width = (1024, 256, 64), (16, 32, 64)
    convolutions = 1024 * 3 * 16 * 9 + 6 * side[0] * 16 * 16 * 9
    for stage in (1, 2):
        convolutions += side[stage] * 9 * (width[stage - 1] * width[stage] + 5 * width[stage] ** 2)
    assert found.multiply_adds == convolutions + 640
    assert found.parameters == sum(p.numel() for p in resnet20(10).parameters())


class Pausing(nn.Module):
    """Takes as long as the next of ``pauses``, on a ``clock`` of its own."""

    def __init__(self, clock: list[float], pauses: list[float]) -> None:
        super().__init__()
        self.clock, self.pauses = clock, pauses

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.clock[0] += self.pauses.pop(0)
        return x


def test_seconds_are_the_least_of_every_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though one of them is interrupted in nearly every round. The first two rounds do not count."""
    clock, pauses = [0.0], {"a": [9.0, 9, 1, 1, 1], "b": [0.5, 9, 100, 2, 100]}
    monkeypatch.setattr("ddeep.exports.cost.time.perf_counter", lambda: clock[0])
    found = least_seconds({name: Pausing(clock, own) for name, own in pauses.items()}, torch.zeros(1), rounds=3)
    assert found == {"a": 1.0, "b": 2.0}
    assert pauses == {"a": [], "b": []}


@pytest.mark.parametrize(("seconds", "rounds"), [(0.01, 15), (0.07, 13), (3.0, 5)])
def test_long_passes_take_fewer_rounds(seconds: float, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round is not begun after a second, but for five; the first two come on top."""
    clock, pauses = [0.0], [seconds] * 100
    monkeypatch.setattr("ddeep.exports.cost.time.perf_counter", lambda: clock[0])
    assert least_seconds({"only": Pausing(clock, pauses)}, torch.zeros(1)) == {"only": pytest.approx(seconds)}
    assert 100 - len(pauses) == 2 + rounds
