"""ResNet50 on ImageNet from end to end: random weights, real images of three of the 1,000 classes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

import ddeep
from tests.support.helpers import Outcome
from tests.support.paths import ROOT

CLASSES = {"n02124075": 285, "n04067472": 758, "n07749582": 951}  # Egyptian cat, reel, lemon: their ImageNet outputs
TRAIN, TEST, K = 5, 3, 64


@pytest.fixture(scope="module")
def ilsvrc(real_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``ILSVRC/{train,val}`` that holds three of the 1,000 folders, and weights of a random net."""
    source, folder = real_data("tiny-imagenet-10"), tmp_path_factory.mktemp("ilsvrc")
    for wordnet in CLASSES:
        splits = {"train": source / "train" / wordnet / "images", "val": source / "val" / wordnet}
        for split, images in splits.items():
            target = folder / "ILSVRC" / split / wordnet
            target.mkdir(parents=True)
            for image in sorted(images.glob("*.JPEG"))[: TRAIN if split == "train" else TEST]:
                shutil.copy(image, target)
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet50(num_classes=1000).state_dict(), folder / "random.pth")
    return folder


@pytest.fixture(scope="module")
def ran(ilsvrc: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run directory and its document."""
    out = tmp_path_factory.mktemp("runs") / "run"
    from ddeep.experiments.run import run
    from ddeep.experiments.settings import RunConfig
    from ddeep.results.run import save_run

    given = {"model": "resnet50", "strategy": "paper", "k": K, "dataset": "imagenet"}
    result = run(RunConfig(**given, data_dir=ilsvrc, weights=str(ilsvrc / "random.pth"), batch_size=8))
    save_run(result, out)
    return out, json.loads((out / "run.json").read_text())


def reference(ilsvrc: Path, split: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The network, its pooled responses to the images as torchvision preprocesses them, and the true outputs."""
    network = torchvision.models.resnet50(num_classes=1000).eval()
    network.load_state_dict(torch.load(ilsvrc / "random.pth", weights_only=True))
    transform = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    files = sorted((ilsvrc / "ILSVRC" / split).rglob("*.JPEG"))
    images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    body = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
    with torch.no_grad():
        responses = body(images)
    return network, responses, torch.tensor([CLASSES[file.parent.name] for file in files])


def test_the_run(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, document = ran
    assert (document["layer"], document["head"], document["k"]) == ("layer4", "fc", K)
    assert document["images"] == {"train": 3 * TRAIN, "test": 3 * TEST}
    assert len(document["per_class"]) == 1000
    assert len(document["absent"]) == 997
    assert {row["index"] for row in document["per_class"] if row["filters"]} == set(CLASSES.values())
    assert all(len(row["filters"]) == K for row in document["per_class"] if row["filters"])
    for figures in (document["accuracy"], document["accuracy_present"]):
        assert list(figures) == ["full", "decomposed", "refit"]
        assert all(0 <= value <= 100 for value in figures.values())
    # Fitted on 15 images of 3 classes, the head knows these.
    assert document["accuracy_present"]["refit"] >= document["accuracy_present"]["decomposed"]
    assert all(value is not None for value in document["metrics"].values())
    assert (folder / "model.safetensors").is_file()


def test_the_filters_are_the_papers(ran: tuple[Path, dict[str, Any]], ilsvrc: Path) -> None:
    _, responses, labels = reference(ilsvrc, "train")
    for output in CLASSES.values():
        mine = responses[labels == output].abs()
        counts = torch.zeros(2048).index_add_(0, mine.topk(K, dim=1).indices.flatten(), torch.ones(TRAIN * K))
        best = sorted(range(2048), key=lambda j: (-counts[j], -mine[:, j].mean(), j))[:K]
        chosen = ran[1]["per_class"][output]["filters"]
        # Rounding may swap two filters on the edge.
        assert len(set(chosen) & set(best)) >= K - 2


def test_the_accuracies_are_those_of_the_network_and_its_decomposed_head(
    ran: tuple[Path, dict[str, Any]], ilsvrc: Path
) -> None:
    network, responses, labels = reference(ilsvrc, "val")
    weight, bias = network.fc.weight.detach(), network.fc.bias.detach()
    mask = torch.ones_like(weight)
    for row in ran[1]["per_class"]:
        if row["filters"]:
            mask[row["index"]] = torch.zeros(2048).index_fill(0, torch.tensor(row["filters"]), 1)
    among = torch.full((1000,), -torch.inf).index_fill(0, torch.tensor(list(CLASSES.values())), 0)
    for name, head in {"full": weight, "decomposed": weight * mask}.items():
        logits = responses @ head.T + bias
        for key, shift in {"accuracy": 0, "accuracy_present": among}.items():
            right = 100 * ((logits + shift).argmax(1) == labels).double().mean()
            assert ran[1][key][name] == pytest.approx(float(right)), (key, name)


def test_the_saved_network_is_the_refitted_one(ran: tuple[Path, dict[str, Any]], ilsvrc: Path) -> None:
    folder, document = ran
    _, responses, labels = reference(ilsvrc, "val")
    head = ddeep.load(folder).fc
    with torch.no_grad():
        right = 100 * (head(responses).argmax(1) == labels).double().mean()
    assert document["accuracy"]["refit"] == pytest.approx(float(right))


def test_one_step_of_fine_tuning(
    ran: tuple[Path, dict[str, Any]], cli_here: Callable[..., Outcome], tmp_path: Path
) -> None:
    done = cli_here("finetune", ran[0], "--epochs", 1, "--lr", 1e-4, "--out", tmp_path / "tuned", "--json")
    assert done.status == 0, done.err
    assert torch.isfinite(torch.tensor([row["loss"] for row in done.json["finetune"]["epochs"]])).all()
    tuned, before = (ddeep.load(folder) for folder in (tmp_path / "tuned", ran[0]))
    changed = [n for n, p in tuned.named_parameters() if not torch.equal(p, before.get_parameter(n))]
    assert "conv1.weight" in changed
    assert any(name.startswith("fc") for name in changed)


def commands() -> list[str]:
    document = (ROOT / "docs" / "imagenet.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", document, re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", commands())
def test_the_documents_commands_are_understood(
    command: str, cli_here: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end because there are no images here, not because of their options."""
    monkeypatch.setenv("DDEEP_OFFLINE", "1")
    name, *words = shlex.split(command)
    assert name == "ddeep"
    done = cli_here(*(word.replace("/data", "nowhere") for word in words))
    assert done.status == 1
    assert "nowhere" in done.err or "tiny-imagenet-10" in done.err or "runs/r50" in done.err
