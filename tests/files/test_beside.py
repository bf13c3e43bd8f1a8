"""Large tables lie beside their document, come back as they were, and are vouched for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddeep.errors import DataError
from ddeep.files import beside
from ddeep.files.beside import put_back, taken_out
from ddeep.files.sealed import read_sealed, write_sealed

BESIDE = "d.tables.safetensors"
_NUMBERS = st.none() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False)
_TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.none() | st.lists(_NUMBERS, min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(
    tables=st.dictionaries(st.text(max_size=3), _TABLES | st.lists(st.lists(st.text())), max_size=3),
    most=st.integers(0, 8),
)
def test_whatever_is_taken_out_comes_back(
    tables: dict[str, Any], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("beside") / "d.json"
    document = {"metrics": tables, "rows": [{"metrics": tables}, 1.5, None]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beside, "MOST", most)
        plain, _ = taken_out(document, BESIDE)
        write_sealed(path, document)
        assert _tables(plain) == []
    assert put_back(read_sealed(path).document, path) == document  # 1.0 and 1 are the same number


def _tables(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [table for one in value.values() for table in _tables(one)]
    if isinstance(value, list):
        return [value] * beside._is_large(value) + [table for one in value for table in _tables(one)]
    return []


@pytest.fixture
def written(tmp_path: Path) -> Path:
    drop = torch.arange(300.0 * 256).reshape(300, 256).tolist()
    drop[7] = None
    write_sealed(tmp_path / "d.json", {"metrics": {"knockout": {"drop": drop, "largest": 1.0}}})
    return tmp_path / "d.json"


def test_the_document_names_it_and_vouches_for_it(written: Path) -> None:
    text = json.loads(written.read_text())
    assert text["metrics"]["knockout"]["drop"] == {"table_file": BESIDE, "table": "metrics.knockout.drop"}
    assert list(text["sealed"]["files"]) == [BESIDE]
    drop = read_sealed(written).document["metrics"]["knockout"]["drop"]
    assert (drop[7], drop[8][:2], len(drop), len(drop[0])) == (None, [2048.0, 2049.0], 300, 256)
    table = written.with_name(BESIDE)
    content = bytearray(table.read_bytes())
    content[-9] ^= 1
    table.write_bytes(content)
    with pytest.raises(ValueError, match=f"{BESIDE} is not what was written"):
        read_sealed(written)


@pytest.mark.parametrize(
    "kind", ["gone", "a link out of the folder", "another file's", "of another form", "no tensors"]
)
def test_tables_of_a_stranger(written: Path, tmp_path: Path, kind: str) -> None:
    """A document without a seal: nothing vouches for what it names."""
    document = {key: value for key, value in json.loads(written.read_text()).items() if key != "sealed"}
    table = written.with_name(BESIDE)
    if kind == "gone":
        table.unlink()
    elif kind == "a link out of the folder":
        (tmp_path.parent / "elsewhere.safetensors").write_bytes(table.read_bytes())
        table.unlink()
        table.symlink_to(tmp_path.parent / "elsewhere.safetensors")
    elif kind == "another file's":
        document["metrics"]["knockout"]["drop"]["table_file"] = "../x.safetensors"
    elif kind == "of another form":
        from safetensors.torch import save_file

        save_file({"metrics.knockout.drop": torch.zeros(3)}, table)
    else:
        table.write_text("{}")
    written.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"table"):
        read_sealed(written)


def test_a_run_of_a_large_table_is_loaded_verified_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reader of the run sees it; who changes it is found out."""
    from ddeep.experiments.run import run
    from ddeep.experiments.settings import RunConfig
    from ddeep.results.run import load, read_run, save_run
    from ddeep.results.verify import verify

    monkeypatch.setattr(beside, "MOST", 5)
    result = run(RunConfig(model="resnet20", strategy="weight", device="cpu", no_refit=True, k=3))
    result.document["metrics"]["table"] = [[1.0, 2.0, None], None, [4.0, 5.0, 6.0]]
    folder = save_run(result, tmp_path / "run")
    assert (folder / "run.tables.safetensors").exists()
    assert read_run(folder)["metrics"]["table"] == result.document["metrics"]["table"]
    assert read_run(folder)["selection"] == result.document["selection"]
    assert "table_file" in (folder / "metrics.json").read_text()
    assert [one.problem for one in verify(folder)] == [None]
    load(folder)
    content = bytearray((folder / "run.tables.safetensors").read_bytes())
    content[-1] ^= 64
    (folder / "run.tables.safetensors").write_bytes(content)
    assert "run.tables.safetensors is not what was written" in str(next(iter(verify(folder))).problem)
    with pytest.raises(DataError, match=r"run\.tables\.safetensors is not what was written"):
        read_run(folder)
