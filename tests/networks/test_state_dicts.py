import argparse
import io
import json
import os
import pickle
import pickletools
import struct
import time
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ddeep.errors import WeightsError
from ddeep.files.pickles import MOST_STEPS
from ddeep.networks.state_dicts import check_state_dict, read_state_dict

STATE = {"conv.weight": torch.arange(12.0).view(3, 4), "bn.num_batches_tracked": torch.tensor(7)}
FORMATS = [True, False]  # torch's zip files, and what it wrote before


class Evil:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("zipped", FORMATS)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_usual_form_gives_the_same_tensors(tmp_path, zipped, wrapper, prefix):
    state = {prefix + name: tensor for name, tensor in STATE.items()}
    saved = {wrapper: state, "epoch": 3, "best": 91.7} if wrapper else state
    torch.save(saved, tmp_path / "x.th", _use_new_zipfile_serialization=zipped)
    assert equal(read_state_dict(tmp_path / "x.th"), STATE)


@pytest.mark.parametrize("name", ["x.safetensors", "x.bin"])
def test_safetensors_by_ending_and_by_content(tmp_path, name):
    save_file({"module." + key: tensor for key, tensor in STATE.items()}, tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / name)
    assert equal(read_state_dict(str(tmp_path / name)), STATE)


def test_a_prefix_that_only_some_names_have_stays(tmp_path):
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(state, tmp_path / "x.pt")
    assert read_state_dict(tmp_path / "x.pt").keys() == state.keys()


def test_parameters_come_without_their_gradients(tmp_path):
    torch.save({"a": nn.Parameter(torch.ones(2))}, tmp_path / "x.pt")
    assert not read_state_dict(tmp_path / "x.pt")["a"].requires_grad


@pytest.mark.parametrize("zipped", FORMATS)
def test_tensors_saved_on_another_device(tmp_path, zipped):
    """As on a GPU: the storage's location, a text in the pickle, is what makes torch.load ask for one."""
    torch.save(STATE, tmp_path / "cpu.pt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "cpu.pt").read_bytes()
    assert b"X\x03\x00\x00\x00cpu" in content
    moved = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    if zipped:
        rewritten = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(rewritten, "w") as new:
            for entry in old.infolist():
                data = old.read(entry)
                new.writestr(entry.filename, data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
        moved = rewritten.getvalue()
    (tmp_path / "x.pt").write_bytes(moved)
    assert equal(read_state_dict(tmp_path / "x.pt"), STATE)


@pytest.mark.parametrize("zipped", FORMATS)
def test_a_checkpoint_that_would_run_code_does_not(tmp_path, zipped):
    saved = {"state_dict": STATE, "extra": Evil(tmp_path / "pwned")}
    torch.save(saved, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"x\.pt holds more than tensors \(posix\.mkdir\).*runs no code"):
        read_state_dict(tmp_path / "x.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["x.pt", "x.pkl", "x.safetensors"])
def test_a_bare_pickle_that_would_run_code_does_not(tmp_path, protocol, name):
    (tmp_path / name).write_bytes(pickle.dumps(Evil(tmp_path / "pwned"), protocol=protocol))
    with pytest.raises(WeightsError):
        read_state_dict(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_the_pickle_in_this_test_is_a_real_one(tmp_path):
    pickle.loads(pickle.dumps(Evil(tmp_path / "pwned")))
    assert (tmp_path / "pwned").exists()


@pytest.mark.parametrize("zipped", FORMATS)
@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"state_dict": STATE, "args": argparse.Namespace(lr=0.1)}, r"more than tensors \(argparse\.Namespace\)"),
        (nn.Linear(2, 2), r"more than tensors \(torch\.nn\.modules\.linear\.Linear\).*model\.state_dict"),
        ({"epoch": 3, "generator": STATE}, r"holds epoch, generator, but no tensors"),
        ({"a": torch.ones(2), "b": "text"}, r"entry 'b' is a str"),
        ({3: torch.ones(2)}, r"entry 3 is a Tensor"),
        ([torch.ones(2)], r"holds a list"),
        (torch.ones(2), r"holds a Tensor"),
        ({}, r"holds nothing"),
        ({"state_dict": {}}, r"holds no tensors"),
        ({"a": torch.tensor([1.0, float("nan")])}, r"'a' holds NaN or infinite"),
        ({"a": torch.tensor([1.0, float("-inf")], dtype=torch.bfloat16)}, r"'a' holds NaN or infinite"),
        ({"a": torch.ones(3).to_sparse()}, r"'a' is sparse"),
        ({"a": torch.ones(1).expand(10**6, 10**6)}, r"'a' claims to be \(1000000, 1000000\)"),
        ({"a": bytearray(10)}, r"bytearray"),
    ],
)
def test_what_is_no_state_dict(tmp_path, saved, message, zipped):
    torch.save(saved, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=message) as caught:
        read_state_dict(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "x.pt") in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False, None])
def test_every_truncation_is_noticed(tmp_path, zipped):
    state = {name: tensor.repeat(20, 1) for name, tensor in STATE.items()}
    whole = tmp_path / "whole.bin"
    if zipped is None:
        save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=zipped)
    content = whole.read_bytes()
    for length in {*range(0, len(content) - 1, max(1, len(content) // 60)), 1, 8, 9, 16}:
        (tmp_path / "cut.bin").write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\.bin"):
            read_state_dict(tmp_path / "cut.bin")


def doubled_tuples(levels: int) -> bytes:
    """A pickle of a dict whose key is a tuple that holds one tuple twice, which holds one tuple twice, …"""
    step = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(levels))
    return b"\x80\x02}" + b")" + step + b"K\x01s."


def nested_tuples(levels: int) -> bytes:
    return b"\x80\x02})" + b"\x85" * levels + b"K\x01s."


def many_lists(count: int) -> bytes:
    return b"\x80\x02(" + b"]" * count + b"l."


BOMBS = {
    "tuples doubled": doubled_tuples(60),
    "tuples nested": nested_tuples(1_000_000),
    "lists nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "many lists": many_lists(3_000_000),
    "an endless number": b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b".",
    "an encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00ax\x08\x00\x00\x00punycode\x86R.",
    "nothing left": b"\x80\x02\x86.",
}


@pytest.mark.parametrize("zipped", FORMATS)
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_pickles_that_would_hang_or_crash_are_refused_at_once(tmp_path, bomb, zipped, monkeypatch):
    """Nothing of them is built, and not more than the bound of their steps is looked at."""
    looked_at = 0

    def counted(file):
        nonlocal looked_at
        for step in genops(file):
            looked_at += 1
            yield step

    genops = pickletools.genops
    monkeypatch.setattr(pickletools, "genops", counted)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    torch.save({"a": torch.ones(2)}, tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "whole.pt").read_bytes()
    if zipped:
        rewritten = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(rewritten, "w") as new:
            for entry in old.infolist():
                new.writestr(entry.filename, bomb if entry.filename.endswith("data.pkl") else old.read(entry))
        content = rewritten.getvalue()
    else:
        start = content.index(b".", content.index(b".", content.index(b".") + 1) + 1) + 1  # behind three pickles
        content = content[:start] + bomb
    (tmp_path / "x.pt").write_bytes(content)
    started = time.process_time()
    with pytest.raises(WeightsError, match=r"x\.pt (holds more than tensors|is damaged)"):
        read_state_dict(tmp_path / "x.pt")
    assert time.process_time() - started < 10
    assert looked_at <= MOST_STEPS + 100  # a hundred in the pickles before it


def test_a_tensor_that_claims_more_than_its_record_holds(tmp_path):
    """The number of its elements stands in the pickle, apart from the bytes."""
    torch.save({"a": torch.arange(1000.0)}, tmp_path / "whole.pt")
    patched = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "whole.pt") as old, zipfile.ZipFile(patched, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert data.count(b"M\xe8\x03") == 2
                data = data.replace(b"M\xe8\x03", b"M\xff\xff")
            new.writestr(entry.filename, data)
    (tmp_path / "x.pt").write_bytes(patched.getvalue())
    with pytest.raises(WeightsError, match=r"x\.pt"):
        read_state_dict(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", FORMATS)
def test_bytes_used_over_and_over(tmp_path, zipped):
    whole = torch.ones(10_000)
    torch.save({str(n): whole for n in range(100)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="over and over"):
        read_state_dict(tmp_path / "x.pt")


def test_tied_weights_are_read(tmp_path):
    whole = torch.ones(10_000)
    torch.save({"embedding": whole, "head": whole}, tmp_path / "x.pt")
    assert read_state_dict(tmp_path / "x.pt").keys() == {"embedding", "head"}


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"no weights file .*absent\.pt"):
        read_state_dict(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match="no weights file"):
        read_state_dict(tmp_path)


def test_a_header_that_claims_a_huge_tensor(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_state_dict(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read_state_dict(tmp_path / "y.safetensors")


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "x.pt")
    with (
        zipfile.ZipFile(tmp_path / "x.pt") as old,
        zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(WeightsError, match="compressed"):
        read_state_dict(tmp_path / "y.pt")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_is_an_error_or_another_state_dict(tmp_path, data):
    kind = data.draw(st.sampled_from([True, False, None]))
    path = tmp_path / "x.bin"
    if kind is None:
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        state = read_state_dict(path)
    except WeightsError:
        return
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


@given(st.binary(max_size=200))
def test_any_bytes_at_all(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        read_state_dict(path)


def test_state_dicts_from_libraries_are_checked_too():
    assert equal(check_state_dict({f"module.{name}": tensor for name, tensor in STATE.items()}, "timm's"), STATE)
    with pytest.raises(WeightsError, match=r"timm's: 'a' holds NaN"):
        check_state_dict({"a": torch.tensor(float("nan"))}, "timm's")


def test_the_papers_checkpoint(real_data):
    state = read_state_dict(real_data("weights/resnet20-12fca82f.th"))
    assert len(state) == 97
    assert state["linear.weight"].shape == (10, 64)
    assert not any(name.startswith("module.") for name in state)
