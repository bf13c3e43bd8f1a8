"""The README's Python runs as it stands, and its links lead somewhere."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_python_api_runs_as_shown(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    labels = torch.arange(120) % 3
    images = torch.randn(120, 1, 8, 8) * 0.1 + labels.view(-1, 1, 1, 1)
    loader = DataLoader(TensorDataset(images, labels), batch_size=32)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)
    ).eval()
    names = {"model": model, "train_loader": loader, "test_loader": loader}
    exec(blocks("python")[0], names)
    *accuracies, filters, psi = capsys.readouterr().out.splitlines()
    full, decomposed, refitted = map(float, accuracies)
    assert 0 <= decomposed <= refitted <= 100
    assert full == pytest.approx(100 * (model(images).argmax(1) == labels).float().mean().item())
    assert len(set(filters.strip("()").split(","))) == 5
    assert 0 < float(psi) < 1


def test_the_plugin_shown_is_a_plugin() -> None:
    names: dict[str, object] = {}
    exec(blocks("python")[1], names)
    (spec,) = names["ddeep_models"]()  # type: ignore[operator]
    assert spec.name == "vit-tiny"
    assert spec.pool == "token"


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
