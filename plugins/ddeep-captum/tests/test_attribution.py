"""Attributions against the integral itself, and what strategy and metric make of them."""

import pytest
import torch
from ddeep_captum.attribution import attributions
from torch import Tensor, nn

import ddeep
from ddeep.plugin import Head

CLASSES, FILTERS = 4, 6


def slowly(response: Tensor, label: int, head: Head, steps: int = 20_000) -> Tensor:
    """r_j times the mean, over the line from 0 to r, of dp_c/dr_j = p_c (W_cj - sum_m p_m W_mj)."""
    weight, bias = head.weight.double(), head.bias.double()
    middle = (torch.arange(steps) + 0.5) / steps
    p = (middle[:, None] * response.double() @ weight.T + bias).softmax(1)
    return response * (p[:, label, None] * (weight[label] - p @ weight)).mean(0)


def random_head() -> Head:
    random = torch.Generator().manual_seed(0)
    return Head(torch.randn(CLASSES, FILTERS, generator=random), torch.randn(CLASSES, generator=random))


def test_attributions_are_the_integral() -> None:
    head = random_head()
    responses, labels = 3 * torch.randn(20, FILTERS), torch.arange(20) % CLASSES
    expected = torch.stack([slowly(r, int(c), head) for r, c in zip(responses, labels, strict=True)])
    torch.testing.assert_close(attributions(responses, labels, head), expected, rtol=1e-5, atol=1e-7)


def test_they_add_up_to_the_gain_in_probability() -> None:
    head = random_head()
    responses, labels = 3 * torch.randn(50, FILTERS), torch.arange(50) % CLASSES
    gain = (responses @ head.weight.T + head.bias).softmax(1) - head.bias.softmax(0)
    found = attributions(responses, labels, head).sum(1).float()
    torch.testing.assert_close(found, gain.gather(1, labels[:, None])[:, 0], rtol=1e-4, atol=1e-5)


@pytest.fixture
def example() -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    """Class c is decided by filter c alone; filters 3 and 4 respond most but their weights are 0."""
    torch.manual_seed(0)
    images = torch.rand(30, 5, 2, 2)
    labels = torch.arange(30) % 3
    images[torch.arange(30), labels] += 1
    images[:, 3:] += 5
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    with torch.no_grad():
        model[3].weight.copy_(torch.eye(3, 5))
        model[3].bias.zero_()
    return model.eval(), [(images, labels)]


def test_the_strategy_finds_what_decides(example: tuple[nn.Module, list[tuple[Tensor, Tensor]]]) -> None:
    model, batches = example
    assert ddeep.select(model, batches, strategy="integrated-gradients", k=1, layer="0").filters == ((0,), (1,), (2,))
    assert ddeep.select(model, batches, strategy="mean-activation", k=1, layer="0").filters[0][0] in (3, 4)


def test_the_metric_is_the_share_of_what_speaks_for_the_class(
    example: tuple[nn.Module, list[tuple[Tensor, Tensor]]],
) -> None:
    model, batches = example

    def share(*filters: tuple[int, ...]) -> dict[str, object]:
        selection = ddeep.Selection.of(filters, 5)
        given = {"layer": "0", "metrics": ["attribution-share"], "test_batches": batches}
        return ddeep.measure(model, batches, selection, **given)["attribution_share"]

    assert share((0, 3), (1, 2), (2, 4)) == {"mean": pytest.approx(1), "classes": [pytest.approx(1)] * 3}
    assert share((0,), (3, 4), (4,)) == {"mean": pytest.approx(1 / 3), "classes": [pytest.approx(1), 0.0, 0.0]}


def test_listing_imports_neither_torch_nor_captum() -> None:
    import subprocess
    import sys

    code = "import sys, ddeep_captum; sys.exit(bool({'torch', 'captum'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
