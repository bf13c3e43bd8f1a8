"""The gate that the strategy ``csg`` learns, against one learned from differences of the loss's definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ddeep.evidence.context import Context
from ddeep.networks.head import Head
from ddeep.selections.selection import Selection
from ddeep.statistics.basic import ClassSums
from ddeep.statistics.batch import ResponseBatch
from ddeep_plugins_builtin.strategies import csg
from tests.reference.csg import learned
from tests.support.evidence import evidence_of

CLASSES, FILTERS, K, IMAGES = 3, 4, 2, 30


def test_the_gate_is_the_one_that_its_steps_lead_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csg, "DENSITY", 0.02)  # so that ten steps move the entries apart
    moved = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(IMAGES) % CLASSES
        centres = 1 + torch.randn(CLASSES, FILTERS, generator=generator)
        responses = (centres[labels] + 0.5 * torch.randn(IMAGES, FILTERS, generator=generator)).relu()
        head = Head(centres - centres.mean(0), torch.randn(CLASSES, generator=generator) / 2)
        given = (responses.numpy(), labels.tolist(), head.weight.numpy(), head.bias.numpy())
        gate = learned(*given, csg.DENSITY, K, csg.EPOCHS, csg.RATE)
        found = csg.learn_gate(responses, labels, head, float(K), torch.Generator())
        np.testing.assert_allclose(found.numpy(), gate, atol=1e-3)
        moved.append(float(gate.min()))
        batch = ResponseBatch(responses, labels, torch.arange(IMAGES))
        chosen = csg.select(evidence_of(batch, [ClassSums()], CLASSES), K, Context(nn.ReLU(), head))
        means = torch.stack([responses[labels == c].double().mean(0) for c in range(CLASSES)])
        assert chosen.filters == Selection.top(found, K, ties=head.weight * means).filters
    assert min(moved) < 0.9
