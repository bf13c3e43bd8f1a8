"""The response cache: what was put in comes out; whatever is damaged, foreign or made up is gathered again."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ddeep.evidence.code import code_hash
from ddeep.evidence.response_cache import CacheEntry, cache_records
from ddeep.files.atomic import sha256_of, written_whole
from ddeep.files.cache import clear_cache
from ddeep.files.paths import cache_root
from ddeep.statistics.basic import ClassSums, TopCounts
from tests.support.batches import batch_of

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def entry(tmp_path: Path) -> CacheEntry:
    """An entry with responses."""
    made = CacheEntry({"model": "toy", "split": "train"})
    np.save(tmp_path / "rows.npy", ROWS)
    made.adopt(tmp_path / "rows.npy")
    return made


def gathered() -> TopCounts:
    statistic = TopCounts(2)
    statistic.start(4, 3, "cpu")
    statistic.update(batch_of(torch.randn(9, 3), torch.arange(9) % 4, 4))
    return statistic


def test_responses_come_back_mapped_and_private(entry: CacheEntry) -> None:
    first, second = entry.responses(), entry.responses()
    assert first is not None
    assert second is not None
    assert np.array_equal(first.numpy(), ROWS)
    first.zero_()
    assert np.array_equal(second.numpy(), ROWS)
    again = entry.responses()
    assert again is not None
    assert np.array_equal(again.numpy(), ROWS)


def test_nothing_known_is_none() -> None:
    entry = CacheEntry({"model": "unknown"})
    assert entry.responses() is None
    assert entry.load(TopCounts(2), 4) is None


def test_every_part_of_the_key_tells_entries_apart(entry: CacheEntry) -> None:
    others = [{"model": "toy", "split": "test"}, {"model": "toy"}, {"model": "other", "split": "train"}]
    assert len({entry.folder, *(CacheEntry(key).folder for key in others)}) == 4
    assert CacheEntry({"split": "train", "model": "toy"}).folder == entry.folder


def test_statistics_come_back(entry: CacheEntry) -> None:
    statistic = gathered()
    entry.save(statistic, 3)
    loaded = TopCounts(2)
    assert entry.load(loaded, 4) == 3
    assert torch.equal(loaded.counts, statistic.counts)
    assert entry.load(TopCounts(3), 4) is None
    assert entry.load(ClassSums(), 4) is None


def _truncate(folder: Path) -> None:
    content = (folder / "responses.npy").read_bytes()
    (folder / "responses.npy").write_bytes(content[:-5])


def _flip(folder: Path) -> None:
    content = bytearray((folder / "responses.npy").read_bytes())
    content[-3] ^= 1
    (folder / "responses.npy").write_bytes(content)


def _with(rows: np.ndarray) -> Callable[[Path], None]:
    """Other rows, with the hash that they have."""

    def replace(folder: Path) -> None:
        np.save(folder / "responses.npy", rows)
        about = {"sha256": sha256_of(folder / "responses.npy")}
        (folder / "about.json").write_text(json.dumps(about))

    return replace


def _huge(folder: Path) -> None:
    """A header that promises more than there is."""
    with (folder / "responses.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10**6)}
        np.lib.format.write_array_header_1_0(file, header)
    (folder / "about.json").write_text(json.dumps({"sha256": sha256_of(folder / "responses.npy")}))


class Planted:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("unpickled"),)  # type: ignore[return-value]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": _truncate,
    "one bit": _flip,
    "no rows": lambda folder: (folder / "responses.npy").unlink(),
    "no hash": lambda folder: (folder / "about.json").unlink(),
    "empty hash": lambda folder: (folder / "about.json").write_text(""),
    "a list": lambda folder: (folder / "about.json").write_text("[]"),
    "deep": lambda folder: (folder / "about.json").write_text("[" * 100_000),
    "no sha256": lambda folder: (folder / "about.json").write_text("{}"),
    "not text": lambda folder: (folder / "about.json").write_bytes(b"\xff\xfe\x00"),
    "float64": _with(ROWS.astype(np.float64)),
    "one dimension": _with(ROWS[0]),
    "pickled": _with(np.array([[Planted()]], dtype=object)),
    "huge": _huge,
    "not numpy": lambda folder: (folder / "responses.npy").write_bytes(b"nothing"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_responses_are_removed_not_used(
    entry: CacheEntry,
    damage: Callable[[Path], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(entry.folder / "responses")
    assert entry.responses() is None
    assert "cannot be trusted" in capsys.readouterr().err
    assert not (entry.folder / "responses").exists()
    assert not Path("unpickled").exists()
    np.save(tmp_path / "rows.npy", ROWS)
    entry.adopt(tmp_path / "rows.npy")
    assert entry.responses() is not None


def _resave(path: Path, **metadata: str) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={**about, **metadata})


STATE_DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"),
    "empty": lambda path: path.write_bytes(b""),
    "header of exabytes": lambda path: path.write_bytes(b"\xff" * 64),
    "no metadata": lambda path: save_file({"counts": torch.zeros(4, 3, dtype=torch.int64)}, path),
    "other filters": lambda path: _resave(path, filters="5"),
    "a million million filters": lambda path: _resave(path, filters="1" + "0" * 12),
    "negative filters": lambda path: _resave(path, filters="-3"),
    "filters in words": lambda path: _resave(path, filters="three"),
}


@pytest.mark.parametrize("damage", STATE_DAMAGE.values(), ids=STATE_DAMAGE)
def test_damaged_states_are_removed_not_used(
    entry: CacheEntry, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    entry.save(gathered(), 3)
    (path,) = entry.folder.glob("TopCounts-*.safetensors")
    damage(path)
    assert entry.load(TopCounts(2), 4) is None
    assert "cannot be trusted" in capsys.readouterr().err
    assert not path.exists()


def test_a_state_for_other_classes_is_not_used(entry: CacheEntry) -> None:
    entry.save(gathered(), 3)
    assert entry.load(TopCounts(2), 5) is None


def test_a_state_of_another_type_of_number_is_not_used(entry: CacheEntry) -> None:
    statistic = gathered()
    statistic.counts = statistic.counts.double()  # type: ignore[assignment]
    entry.save(statistic, 3)
    assert entry.load(TopCounts(2), 4) is None


def test_the_second_of_two_commands_keeps_the_first_ones_entry(entry: CacheEntry, tmp_path: Path) -> None:
    np.save(tmp_path / "late.npy", ROWS + 1)
    entry.adopt(tmp_path / "late.npy")
    kept = entry.responses()
    assert kept is not None
    assert np.array_equal(kept.numpy(), ROWS)
    assert [path.name for path in entry.folder.iterdir()] == ["responses"]


def test_exchanged_entries_are_not_mistaken_for_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is whole, and each lies where the other belongs."""
    one, other = CacheEntry({"model": "one"}), CacheEntry({"model": "other"})
    for entry, rows in ((one, ROWS), (other, ROWS + 1)):
        np.save(tmp_path / "rows.npy", rows)
        entry.adopt(tmp_path / "rows.npy")
        entry.save(gathered(), 3)
    one.folder.rename(tmp_path / "aside")
    other.folder.rename(one.folder)
    (tmp_path / "aside").rename(other.folder)
    for entry in (one, other):
        assert entry.responses() is None
        assert entry.load(TopCounts(2), 4) is None
    assert capsys.readouterr().err.count("it belongs to another entry") == 4
    assert not list(cache_root().rglob("*.npy"))


def test_an_edited_class_is_another_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def hashed(body: str) -> str:
        (tmp_path / "edited_module.py").write_text(f"class Block:\n    def forward(self, x):\n        return {body}\n")
        sys.modules.pop("edited_module", None)
        import edited_module  # type: ignore[import-not-found]

        return code_hash([edited_module.Block, torch.nn.ReLU])

    assert hashed("x + 1") == hashed("x + 1") != hashed("x + 2")
    assert code_hash([type("Made", (), {})]) != code_hash([type("Other", (), {})])


def test_records_and_clearing(entry: CacheEntry) -> None:
    entry.save(gathered(), 3)
    (record,) = cache_records()
    assert record.folder == entry.folder
    assert record.about["key"] == entry.key
    assert record.nbytes == sum(path.stat().st_size for path in entry.folder.rglob("*") if path.is_file())
    assert clear_cache().freed == record.nbytes
    assert cache_records() == []
    assert entry.responses() is None
    assert not any(cache_root().rglob("*.npy"))


PROBE = {"logits": torch.arange(6.0).view(2, 3)}


def probed(**changes: torch.Tensor) -> CacheEntry:
    return CacheEntry({"model": "probed"}, probe={**PROBE, **changes})


def test_an_entry_that_somebody_begins_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Another command that looks at it meanwhile finds no probe yet."""
    entry = probed()
    with written_whole(entry.folder / "first.safetensors") as temporary:
        temporary.write_bytes(b"begun")
        probed().check_probe()
    assert (entry.folder / "first.safetensors").read_bytes() == b"begun"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("reason", ["this one responds otherwise", "what tells its network is missing"])
def test_removing_an_entry_spares_what_others_write_there(
    reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    entry = probed()
    entry.adopt(tmp_path / "rows.npy")
    if "missing" in reason:
        (entry.folder / "probe.safetensors").unlink()
    with written_whole(entry.folder / "another.safetensors") as temporary:
        temporary.write_bytes(b"begun")
        probed(logits=torch.ones(2, 3)).check_probe()
    assert reason in capsys.readouterr().err
    assert [path.name for path in entry.folder.iterdir()] == ["another.safetensors"]
