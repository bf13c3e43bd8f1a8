import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ddeep.errors import WeightsError
from ddeep.networks.state_dicts import read_state_dict
from ddeep.networks.weights import find_weights, load_strictly, load_weights, weights_hash
from ddeep.registry.specs import WeightsSpec
from tests.support.paths import ROOT


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def spec(**settings) -> WeightsSpec:
    return WeightsSpec("mine", dataset="d", mean=(0.5,) * 3, std=(0.5,) * 3, size=8, **settings)


@pytest.fixture
def published(tmp_path) -> Path:
    """A weights file in its place under the data folder."""
    path = tmp_path / "data" / "weights" / "net.safetensors"
    path.parent.mkdir(parents=True)
    save_file(network().state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setenv("DDEEP_OFFLINE", "1")


def test_all_weights_arrive():
    torch.manual_seed(0)
    source, target = network(), network()
    load_strictly(target, source.state_dict())
    assert weights_hash(target.state_dict()) == weights_hash(source.state_dict())


def test_batch_counters_may_be_missing_and_keep_their_value():
    target = network()
    target[1].num_batches_tracked.fill_(5)
    state = {name: tensor for name, tensor in network().state_dict().items() if "num_batches" not in name}
    load_strictly(target, state)
    assert target[1].num_batches_tracked == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("3.bias"), r"missing 3\.bias\."),
        (lambda state: state.update(extra=torch.ones(1)), r"unexpected extra\."),
        (lambda state: state.update({"3.weight": torch.ones(5, 4)}), r"3\.weight is 5×4, not 2×4"),
        (lambda state: state.update({"3.weight": torch.ones(2, 4, dtype=torch.int8)}), r"2×4 \(int8\), not 2×4"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(change, message):
    target = network()
    before = weights_hash(target.state_dict())
    state = network().state_dict()
    change(state)
    with pytest.raises(WeightsError, match=message) as caught:
        load_strictly(target, state, "net.pt")
    assert str(caught.value).startswith("net.pt: made for another network than Sequential")
    assert weights_hash(target.state_dict()) == before


def test_long_lists_are_shortened():
    state = {f"layer{number}": torch.ones(1) for number in range(100)}
    with pytest.raises(WeightsError) as caught:
        load_strictly(network(), state)
    assert "unexpected layer0, layer1, layer2, layer3, layer4 and 95 more" in str(caught.value)
    assert "missing 0.weight, 0.bias, 1.weight, 1.bias, 1.running_mean and 3 more" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_half_precision_is_converted():
    target = network()
    load_strictly(target, network().half().state_dict())
    assert target[3].weight.dtype == torch.float32


def test_the_hash_is_of_the_weights_and_not_of_their_file(tmp_path):
    state = network().state_dict()
    wanted = weights_hash(state)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "a.pt")
    torch.save(state, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "c.safetensors")
    for name in ("a.pt", "b.pt", "c.safetensors"):
        assert weights_hash(read_state_dict(tmp_path / name)) == wanted
    assert weights_hash(dict(reversed(state.items()))) == wanted
    transposed = {name: tensor.t().contiguous().t() if tensor.ndim == 2 else tensor for name, tensor in state.items()}
    assert weights_hash(transposed) == wanted


def test_the_hash_tells_everything_apart():
    variants = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(8, dtype=torch.float16)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.tensor([0, 0, 0, 1e-30])},
        {"a": torch.zeros(4), "b": torch.zeros(4)},
        {"a": torch.zeros(())},
    ]
    assert len({weights_hash(state) for state in variants}) == len(variants)


def test_a_packaged_file(tmp_path):
    wanted = ROOT / "ddeep_plugins_builtin" / "__init__.py"
    assert find_weights(spec(file="ddeep_plugins_builtin:__init__.py"), tmp_path) == wanted


@pytest.mark.parametrize("file", ["ddeep_plugins_builtin:weights/absent.safetensors", "no_such_package:x"])
def test_a_packaged_file_that_is_not_there(tmp_path, file):
    assert find_weights(spec(file=file), tmp_path, download=False) is None
    with pytest.raises(WeightsError, match=r"'mine' are not installed.*--weights FILE"):
        find_weights(spec(file=file), tmp_path)


def test_a_file_under_the_data_folder(published, tmp_path):
    data = tmp_path / "data"
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert find_weights(spec(filename="net.safetensors"), data) == published
    assert find_weights(spec(url="https://example.org/a/net.safetensors", sha256=digest), data) == published
    assert find_weights(spec(filename="net.safetensors", sha256=digest[:8]), data) == published
    state = load_weights(spec(filename="net.safetensors"), data)
    assert weights_hash(state) == weights_hash(read_state_dict(published))


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("settings", [{"sha256": "0" * 64}, {"sha256": "00000000"}])
def test_a_file_with_another_hash_is_refused(tmp_path, settings):
    with pytest.raises(WeightsError, match=r"net\.safetensors is not the published file.*--weights"):
        find_weights(spec(filename="net.safetensors", **settings), tmp_path / "data", download=False)


def test_published_names_carry_the_hash(published, tmp_path):
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    good = published.rename(published.with_name(f"net-{digest[:8]}.pth"))
    assert find_weights(spec(url=f"https://example.org/{good.name}"), tmp_path / "data") == good
    bad = good.rename(good.with_name("net-00000000.pth"))
    with pytest.raises(WeightsError, match="does not begin with 00000000"):
        find_weights(spec(url=f"https://example.org/{bad.name}"), tmp_path / "data")


def test_what_is_missing_is_downloaded_to_its_place(tmp_path, monkeypatch):
    asked = []

    def fetch(url, sha256, target, what):
        asked.append((url, sha256, target, what))
        return target

    monkeypatch.setattr("ddeep.networks.weights.fetch", fetch)
    url = "https://example.org/models/net-12fca82f.th"
    target = tmp_path / "weights" / "net-12fca82f.th"
    assert find_weights(spec(url=url), tmp_path) == target
    assert asked == [(url, "12fca82f", target, "the weights 'mine'")]
    assert find_weights(spec(url=url), tmp_path, download=False) is None
    assert len(asked) == 1


def test_offline_says_what_to_put_where(tmp_path):
    target = tmp_path / "weights" / "net-12fca82f.th"
    with pytest.raises(WeightsError, match=r"downloads are forbidden.*Put the file at") as caught:
        find_weights(spec(url="https://example.org/net-12fca82f.th"), tmp_path)
    assert str(target) in str(caught.value)


@pytest.mark.usefixtures("published")
def test_weights_inside_a_library(tmp_path):
    inside = {"a": torch.ones(2)}
    assert load_weights(spec(state=lambda: inside), tmp_path)["a"].tolist() == [1, 1]
    # A local file wins.
    mixed = spec(state=lambda: inside, filename="net.safetensors")
    assert "0.weight" in load_weights(mixed, tmp_path / "data")
    with pytest.raises(WeightsError, match=r"'mine'.*'a' holds NaN"):
        load_weights(spec(state=lambda: {"a": torch.tensor(float("nan"))}), tmp_path)


def test_the_papers_checkpoint_by_its_published_name(real_data):
    path = real_data("weights/resnet20-12fca82f.th")
    weights = spec(url="https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/" + path.name)
    assert find_weights(weights, path.parent.parent) == path


def test_comparing_shapes_does_not_load_the_compiler() -> None:
    code = (
        "import sys\n"
        "from torch import nn\n"
        "from ddeep.networks.weights import build_fitting\n"
        "build_fitting(lambda outputs: nn.Linear(4, outputs), 2, nn.Linear(4, 2).state_dict(), 'These')\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
