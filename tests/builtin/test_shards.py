"""Tar shards: what is in them is found without unpacking, whatever way it is labelled; and no tar is trusted."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from ddeep.data.decoding import pixels_of, read_rgb
from ddeep.data.images import FileImages, TensorImages
from ddeep.errors import DataError
from ddeep.registry.registry import registry
from ddeep.registry.specs import resolve
from ddeep_plugins_builtin.datasets import tar_index
from ddeep_plugins_builtin.datasets.shards import find_shards, open_shards
from tests.support.helpers import Outcome


def picture(seed: int, side: int = 8, width: int | None = None) -> Image.Image:
    noise = torch.randint(0, 256, (side, width or side, 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(noise.to(torch.uint8).numpy())


def png(seed: int, side: int = 8, width: int | None = None) -> bytes:
    made = io.BytesIO()
    picture(seed, side, width).save(made, "png")
    return made.getvalue()


def write(path: Path, members: Mapping[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def shards(folder: Path, label: Callable[[int], dict[str, bytes]], side: int = 8, width: int | None = None) -> None:
    """Two shards to train on and one to test on, of six samples each, 0 to 17."""
    for number, name in enumerate(("d-train-000.tar", "d-train-001.tar", "d-val-000.tar")):
        members: dict[str, bytes] = {}
        for at in range(6 * number, 6 * number + 6):
            members |= {f"{at:04d}.png": png(at, side, width)}
            members |= {f"{at:04d}.{ending}": content for ending, content in label(at).items()}
        write(folder / name, members)


LABELLED: dict[str, tuple[Callable[[int], dict[str, bytes]], tuple[str, ...]]] = {
    "cls": (lambda at: {"cls": b"%d\n" % (at % 3)}, ("0", "1", "2")),
    "json": (lambda at: {"json": json.dumps({"label": at % 3, "of": "x"}).encode()}, ("0", "1", "2")),
    "names": (lambda at: {"cls": b"abc"[at % 3 : at % 3 + 1]}, ("a", "b", "c")),
    "both": (lambda at: {"json": b'{"cls": 7}', "cls": b"%d" % (at % 3)}, ("0", "1", "2")),
}


@pytest.mark.parametrize("kind", list(LABELLED))
@pytest.mark.parametrize("width", [8, 11], ids=["small and square", "of another shape"])
def test_every_picture_is_found_with_its_label(tmp_path: Path, kind: str, width: int) -> None:
    label, classes = LABELLED[kind]
    shards(tmp_path, label, 70 if width == 11 else 8, 90 if width == 11 else 8)
    for split, numbers in (("train", range(12)), ("test", range(12, 18))):
        images = open_shards(str(tmp_path), Path("data"), split)
        assert images.classes == classes
        assert images.labels.tolist() == [at % 3 for at in numbers]
        expected = [pixels_of(picture(at, 70, 90) if width == 11 else picture(at)) for at in numbers]
        if width == 8:
            assert isinstance(images, TensorImages)
            assert torch.equal(images.pixels, torch.stack(expected))
        else:
            assert isinstance(images, FileImages)
            assert all(torch.equal(pixels_of(read_rgb(f)), e) for f, e in zip(images.files, expected, strict=True))


def test_classes_may_be_listed_beside_the_shards(tmp_path: Path) -> None:
    shards(tmp_path, LABELLED["cls"][0])
    (tmp_path / "classes.txt").write_text("cat\ndog\nemu\nfox\n")
    images = open_shards(str(tmp_path), Path("data"), "test")
    assert images.classes == ("cat", "dog", "emu", "fox")
    assert images.labels.tolist() == [0, 1, 2, 0, 1, 2]
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"names 2 classes; a label is 2"):
        open_shards(str(tmp_path), Path("data"), "train")


@pytest.mark.parametrize(
    ("pattern", "train", "test"),
    [
        (".", ["d-train-000.tar", "d-train-001.tar"], ["d-val-000.tar"]),
        ("d-{train,val}-{000..001}.tar", ["d-train-000.tar", "d-train-001.tar"], ["d-val-000.tar"]),
        ("d-{train,val}-000.tar", ["d-train-000.tar"], ["d-val-000.tar"]),
        ("d-*-*0.tar", ["d-train-000.tar"], ["d-val-000.tar"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, train: list[str], test: list[str]) -> None:
    shards(tmp_path, LABELLED["cls"][0])
    found = find_shards(pattern, tmp_path)  # not in the current folder, so in that of the data
    assert {split: [path.name for path in paths] for split, paths in found.items()} == {"train": train, "test": test}


def test_a_run_a_report_and_an_explanation(tmp_path: Path, cli_here: Callable[..., Outcome]) -> None:
    shards(tmp_path / "s", lambda at: {"cls": b"%d" % (at % 10 if at < 12 else at % 3)}, 40, 50)
    words = (
        "--dataset",
        "wds:s",
        "--model",
        "resnet20",
        "--weights",
        "resnet20-digits",
        "--k",
        "3",
        "--batch-size",
        "4",
    )
    done = cli_here("run", *words, "--strategy", "paper", "--no-refit", "--out", "found")
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "found" / "run.json").read_text())["dataset"] == "wds:s"
    done = cli_here("report", "found", "--no-layers")
    assert done.status == 0, done.err
    assert "Without images" not in done.err
    assert "data:image/" in (tmp_path / "found" / "report.html").read_text()
    assert cli_here("explain", "found", "test:1").status == 0
    assert [path.name for path in (tmp_path / "s").iterdir() if path.suffix != ".tar"] == []
    write(tmp_path / "s" / "d-val-000.tar", {"0.png": png(99, 40, 50), "0.cls": b"1"})
    assert "have changed since the run" in cli_here("explain", "found", "test:0").err


def test_the_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards(tmp_path, LABELLED["cls"][0])
    first = open_shards(str(tmp_path), Path("data"), "train")
    monkeypatch.setattr(tar_index, "_scan", lambda *_: pytest.fail("scanned again"))
    assert open_shards(str(tmp_path), Path("data"), "train").content_hash == first.content_hash


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 5)):
        for split in ("train", "test"):
            write(
                tmp_path / name / f"{split}.tar",
                {"a.png": png(seed, 70), "a.cls": b"0", "b.png": png(1, 70), "b.cls": b"1"},
            )
    opened: dict[str, Any] = {n: open_shards(str(tmp_path / n), Path(), "train") for n in ("one", "same", "other")}
    assert opened["one"].content_hash == opened["same"].content_hash != opened["other"].content_hash


def _one(folder: Path, members: Mapping[str, bytes]) -> None:
    write(folder / "train.tar", members)
    write(folder / "test.tar", {"a.png": png(0), "a.cls": b"0"})


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"", "a.txt": b"0"}, r"a has no label: a file .cls, or a .json .* It has .png, .txt"),
        ({"a.png": b"", "a.json": b"[1, 2]"}, "several labels"),
        ({"a.png": b"", "a.json": b'{"label": [0, 1]}'}, "several labels"),
        ({"a.png": b"", "a.json": b'{"label": true}'}, "has no label"),
        ({"a.png": b"", "a.json": b"{"}, "no plain tar"),
        ({"a.png": b"", "a.jpg": b"", "a.cls": b"0"}, "a has several pictures"),
        ({"a.png": b"", "a.cls": b"0" * (2 << 20)}, "more than a label takes"),
        ({"a.png": b"", "a.cls": b"99999999999"}, "is no class number"),
        ({"x": b""}, "The dataset holds no images"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    _one(tmp_path, members)
    with pytest.raises(DataError, match=message):
        open_shards(str(tmp_path), Path("data"), "train")


def test_links_lead_nowhere_and_nothing_is_written(tmp_path: Path) -> None:
    folder, secret = tmp_path / "s", tmp_path / "secret.png"
    secret.write_bytes(png(3))
    _one(folder, {"a.png": png(0), "a.cls": b"0"})
    with tarfile.open(folder / "train.tar", "a") as tar:
        for name, kind in (("b.png", tarfile.SYMTYPE), ("c.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
        info = tarfile.TarInfo("../../escaped.png")
        info.size = len(png(1))
        tar.addfile(info, io.BytesIO(png(1)))
        info = tarfile.TarInfo("../../escaped.cls")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"1"))
    before = sorted(tmp_path.rglob("*"))
    assert len(open_shards(str(folder), Path("data"), "train")) == 2
    assert sorted(tmp_path.rglob("*")) == before
    assert not (tmp_path.parent / "escaped.png").exists()


def _longname(size: int) -> bytes:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no tar at all", "no plain tar"),
        (b"\x1f\x8b" + bytes(600), "it is compressed"),
        (_longname(1 << 40) + bytes(2048), "a header of"),
        (_longname(0) * 5000, "no plain tar"),
        (tarfile.TarInfo("a.png").tobuf() + b"", "a has no label"),
    ],
    ids=["text", "gzip", "endless name", "nested names", "no label"],
)
def test_damaged_tars_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    _one(tmp_path, {"a.png": png(0), "a.cls": b"0"})
    (tmp_path / "train.tar").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_shards(str(tmp_path), Path("data"), "train")


def test_a_member_larger_than_its_tar_is_refused(tmp_path: Path) -> None:
    _one(tmp_path, {"a.png": png(0), "a.cls": b"0"})
    whole = (tmp_path / "train.tar").read_bytes()
    (tmp_path / "train.tar").write_bytes(whole[:600])
    with pytest.raises(DataError, match="no plain tar"):
        open_shards(str(tmp_path), Path("data"), "train")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("nothing-here", "There are no shards nothing-here"),
        ("{0..99999999}.tar", "more than 1,000,000 shards"),
        ("train.tar", "has no test shards"),
        ("odd.tar", "says neither train nor test"),
    ],
)
def test_patterns_that_lead_nowhere_say_so(tmp_path: Path, pattern: str, message: str) -> None:
    _one(tmp_path, {"a.png": png(0), "a.cls": b"0"})
    write(tmp_path / "odd.tar", {})
    with pytest.raises(DataError, match=message):
        open_shards(pattern, tmp_path, "train")


def test_the_family_needs_a_place() -> None:
    with pytest.raises(Exception, match="'wds' is a family of datasets: name one of them, as wds:<place>"):
        registry().find("dataset", "wds")
    with pytest.raises(Exception, match="No dataset is called 'wdx:here'"):
        registry().find("dataset", "wdx:here")
    with pytest.raises(DataError):
        resolve(registry().find("dataset", "wds:no-such-place").open)(Path("data"), "train")
