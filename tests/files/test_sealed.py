"""A sealed document notices every change to itself and to the files it vouches for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddeep.files.sealed import check_files, read_sealed, write_sealed

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@given(st.dictionaries(st.text(max_size=5).filter(lambda name: name != "sealed"), _VALUES, max_size=5))
def test_every_document_comes_back_vouched_for(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    path = tmp_path_factory.mktemp("sealed") / "document.json"
    write_sealed(path, document)
    found = read_sealed(path)
    assert found.files == {}
    assert json.dumps(found.document) == json.dumps(_finite(document))


def _finite(value: Any) -> Any:
    """JSON knows no infinity: it is written as null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("1,2\n")
    write_sealed(tmp_path / "d.json", {"accuracy": {"full": 90.25}, "names": ["a", "é", None]}, ["a.csv"])
    return tmp_path


def test_every_flipped_bit_is_noticed(folder: Path) -> None:
    """Bit by bit: nothing reads as another document."""
    path = folder / "d.json"
    whole, expected = path.read_bytes(), read_sealed(path).document
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                found = read_sealed(path)
                check_files(folder, found)
            except ValueError:
                continue
            unsealed = {name: value for name, value in found.document.items() if name in expected}
            assert unsealed == expected, (place, bit)  # white space, or the name of the seal itself


def test_an_edited_figure_is_noticed(folder: Path) -> None:
    path = folder / "d.json"
    path.write_text(path.read_text().replace("90.25", "99.25"))
    with pytest.raises(ValueError, match="changed since"):
        read_sealed(path)


@pytest.mark.parametrize("change", ["1,3\n", "", None])
def test_a_file_beside_it_that_changed_is_named(folder: Path, change: str | None) -> None:
    if change is None:
        (folder / "a.csv").unlink()
    else:
        (folder / "a.csv").write_text(change)
    with pytest.raises(ValueError, match=r"a\.csv"):
        check_files(folder, read_sealed(folder / "d.json"))


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a.csv"
    (folder / "a.csv").rename(elsewhere)
    (folder / "a.csv").symlink_to(elsewhere)
    with pytest.raises(ValueError, match=r"a\.csv is a link out of"):
        check_files(folder, read_sealed(folder / "d.json"))


@pytest.mark.parametrize("seal", [None, [], {}, {"files": 3}, {"files": {"a": 1}}, {"files": {"../x": "0"}}])
def test_a_damaged_seal_is_none(folder: Path, seal: object) -> None:
    (folder / "d.json").write_text(json.dumps({"a": 1, "sealed": seal}))
    with pytest.raises(ValueError, match=r"its seal is damaged|changed since"):
        read_sealed(folder / "d.json")


def test_a_document_of_before_seals_is_read_and_vouches_for_nothing(folder: Path) -> None:
    (folder / "d.json").write_text('{"a": 1}')
    found = read_sealed(folder / "d.json")
    assert found.document == {"a": 1}
    assert found.files is None
    check_files(folder, found)


def test_what_the_user_wrote_names_places(tmp_path: Path) -> None:
    document = {"config": {"data_dir": "/mnt/images", "weights": "a/b.pt"}, "finetuning": {"tracker": "wandb"}}
    write_sealed(tmp_path / "d.json", document)
    assert read_sealed(tmp_path / "d.json").document == document


@pytest.mark.parametrize("sealed", [True, False])
def test_what_another_wrote_names_none(sealed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says of that itself."""
    config = {"data_dir": "/mnt/images", "weights": "a/b.pt", "responses": "/c.npy", "selection": "../../d", "k": 5}
    document = {"config": config, "finetuning": {"tracker": "wandb", "epochs": 1}, "elsewhere": {}}
    path = tmp_path / "d.json"
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        write_sealed(path, document)
    if not sealed:
        path.write_text(json.dumps(document))
    found = read_sealed(path).document
    assert found["config"] == {"data_dir": "data", "weights": "b.pt", "responses": "c.npy", "selection": "d", "k": 5}
    assert found["finetuning"] == {"tracker": "none", "epochs": 1}
    named = {name: value for name, value in config.items() if name != "k"}
    assert found["elsewhere"] == {**named, "tracker": "wandb"}


def test_a_document_that_was_changed_and_sealed_anew_by_another_is_not_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.json"
    write_sealed(path, {"config": {"data_dir": "/mnt/images"}})
    signature = json.loads(path.read_text())["sealed"]["signature"]
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
        write_sealed(path, {"config": {"data_dir": "/mnt/secret"}})
    document = json.loads(path.read_text())
    document["sealed"]["signature"] = signature
    path.write_text(json.dumps(document))
    assert read_sealed(path).document["elsewhere"] == {"data_dir": "/mnt/secret"}
