"""The loss of a batch against its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ddeep.training.objective import Objective


def _batch() -> tuple[Tensor, Tensor]:
    images = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    return images, torch.tensor([0, 1, 2, 1, 0])


def _network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))


def test_with_a_teacher_its_logits_are_learned_whatever_the_labels() -> None:
    images, labels = _batch()
    module, teacher = _network(0), _network(1)
    loss, figures = Objective(module, teacher=teacher)(images, labels)
    wanted = 0.0
    for mine, its in zip(module(images).tolist(), teacher(images).tolist(), strict=True):
        wanted += sum((a - sum(mine) / 4 - b + sum(its) / 4) ** 2 for a, b in zip(mine, its, strict=True))
    assert loss.item() == pytest.approx(wanted / 20, rel=1e-5)
    assert figures[2] == (module(images).argmax(1) == labels).sum()


def test_a_teacher_is_not_trained_nor_kept_and_a_constant_of_its_logits_is_nothing() -> None:
    images, labels = _batch()
    module = _network(0)
    objective = Objective(module, teacher=lambda given: module(given).detach() + 7.0)
    assert dict(objective.named_parameters()).keys() == {"module.1.weight", "module.1.bias"}
    loss, _ = objective(images, labels)
    assert loss.item() == pytest.approx(0.0, abs=1e-9)
    teacher = _network(1)
    Objective(module, teacher=teacher)(images, labels)[0].backward()
    assert teacher[1].weight.grad is None  # type: ignore[index]
    assert module[1].weight.grad is not None  # type: ignore[index]
    assert not [name for name in Objective(module, teacher=teacher).state_dict() if "teacher" in name]
