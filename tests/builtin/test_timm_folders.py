"""Models as timm saves and shares them: from a folder, or from the hub's cache, with their own names and recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from ddeep.data.preprocessing import Preprocessing
from ddeep.errors import DdeepError
from ddeep.files import hub
from ddeep.registry.registry import registry
from ddeep.registry.specs import ModelSpec, resolve
from tests.support.helpers import Outcome

CONFIG = {
    "architecture": "resnet10t",
    "num_classes": 10,
    "label_names": list("0123456789"),
    "model_args": {"num_classes": 10, "in_chans": 3, "global_pool": "avg"},
    "pretrained_cfg": {
        "input_size": [3, 32, 32],
        "mean": [0.3, 0.3, 0.3],
        "std": [0.4, 0.4, 0.4],
        "crop_pct": 0.8,
        "crop_mode": "squash",
        "interpolation": "bicubic",
    },
}


def save(folder: Path, **changes: object) -> torch.nn.Module:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    module = timm.create_model("resnet10t", num_classes=10).eval()
    save_file(module.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return module


def find(name: str) -> ModelSpec:
    return registry().find("model", name)


def test_a_folder_on_the_command_line(tmp_path: Path, cli_here: Callable[..., Outcome]) -> None:
    save(tmp_path / "mine")
    words = ("--dataset", "digits", "--strategy", "weight", "--k", 3, "--no-refit", "--out", "found")
    done = cli_here("run", "--model", "timm/local-dir:mine", *words)
    assert done.status == 0, done.err
    document = json.loads((tmp_path / "found" / "run.json").read_text())
    assert (document["head"], document["layer"]) == ("fc", "layer4")
    assert cli_here("report", "found").status == 0
    (weights,) = find("timm/local-dir:mine").weights
    assert Preprocessing.of(weights) == Preprocessing((0.3,) * 3, (0.4,) * 3, 32, 40, "bicubic", squash=True)
    assert weights.classes == tuple("0123456789")


def test_a_name_of_the_hub_is_found_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_cache", lambda: str(tmp_path))
    monkeypatch.setenv("DDEEP_OFFLINE", "1")
    place = tmp_path / "models--somebody--net"
    module = save(place / "snapshots" / "0a1b")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0a1b")
    spec = find("timm/hf-hub:somebody/net")
    assert spec.weights[0].state is not None
    state = resolve(spec.weights[0].state)()
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    with pytest.raises(DdeepError, match=r"The hub's cache on this machine .* has no somebody/else"):
        find("timm/hf-hub:somebody/else")
    with pytest.raises(DdeepError, match="No model is called 'timm/hf-hub:nothing'"):
        find("timm/hf-hub:nothing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "nobodys_net"}, "describes no classifier of timm"),
        ({"architecture": None}, "describes no classifier of timm"),
        ({"model_args": {"checkpoint_path": "/etc/passwd", "num_classes": 10}}, "describes no classifier"),
        ({"model_args": {}, "num_classes": 0}, "describes no classifier"),
        ({"pretrained_cfg": {}}, "does not say how images are prepared"),
        ({"num_classes": "ten", "model_args": {}}, "is not as timm writes it"),
    ],
)
def test_a_folder_that_is_none_says_so(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    save(tmp_path / "mine", **changes)
    with pytest.raises(DdeepError, match=message):
        find(f"timm/local-dir:{tmp_path / 'mine'}")


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(DdeepError, match="There is no folder"):
        find(f"timm/local-dir:{tmp_path / 'nothing'}")
