"""Selections on disk: what is written is read again, the authors' files too, and hostile ones are refused."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddeep.errors import DdeepError, SelectionError
from ddeep.selections.learned_head import head_from_json
from ddeep.selections.selection import Selection
from tests.support.effort import examples
from tests.support.paths import KNOWN


@st.composite
def parts(draw: st.DrawFn) -> dict[str, Any]:
    """What any selection that can be made is made of."""
    classes, filters = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    absent = draw(st.sets(st.integers(0, classes - 1)))
    rows = [
        [] if c in absent else draw(st.lists(st.integers(0, filters - 1), min_size=1, unique=True))
        for c in range(classes)
    ]
    score = st.floats(allow_nan=False, allow_infinity=False)
    scores = [[draw(score) for _ in row] for row in rows]
    names = draw(st.lists(st.text(max_size=8), min_size=classes, max_size=classes))
    source = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5)), max_size=3)
    small = st.floats(width=32, allow_nan=False, allow_infinity=False)
    weights = [[draw(small) for _ in row] for row in rows]
    head = {"weights": weights, "biases": [draw(small) for _ in rows]} if draw(st.booleans()) else None
    return {
        "rows": rows,
        "filters": filters,
        "scores": scores,
        "absent": absent,
        "names": names,
        "source": draw(source),
        "head": head,
    }


@given(made_of=parts())
@examples(60)
def test_a_file_gives_back_the_selection(tmp_path_factory: pytest.TempPathFactory, made_of: dict[str, Any]) -> None:
    made = Selection.of(made_of["rows"], made_of["filters"], scores=made_of["scores"], absent=made_of["absent"])
    head = head_from_json(made_of["head"], made_of["rows"]) if made_of["head"] is not None else None
    selection = replace(made, classes=tuple(made_of["names"]), source=made_of["source"], head=head)
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    selection.save(path)
    assert Selection.load(path) == selection
    assert Selection.load(path, selection.num_filters, classes=selection.classes) == selection
    assert json.loads(path.read_text())["schema"] == "ddeep.selection/1"


def test_the_authors_files_are_read_in_their_own_order() -> None:
    five = Selection.load(KNOWN / "released_indices_resnet20_cifar10_k5.json", 64, 10)
    ten = Selection.load(KNOWN / "released_indices_resnet20_cifar10_k10.json", 64, 10)
    twenty = Selection.load(KNOWN / "released_indices_resnet20_cifar10_k20.json", 64, 10)
    assert five.filters[0] == (7, 23, 54, 50, 22)
    for size, found in ((5, five), (10, ten), (20, twenty)):
        document = json.loads((KNOWN / f"released_indices_resnet20_cifar10_k{size}.json").read_text())
        assert [list(row) for row in found.filters] == [document[str(c)] for c in range(10)]
        assert {len(row) for row in found.filters} == {size}
        assert found.mask().sum(1).tolist() == [size] * 10
    # Their k=5 file is worst first and their k=10 file best first.
    assert sum(five.filters[c][-1] == ten.filters[c][0] for c in range(10)) == 10


def ours(**changes: Any) -> dict[str, Any]:
    """A document that ddeep could have saved, with changes."""
    made = Selection.of([[0, 2], [1, 3]], 4, scores=[[2.0, 1.0], [2.0, 1.0]]).named(["cat", "dog"], strategy="paper")
    return {**made.to_json(), **changes}


def row(**changes: Any) -> dict[str, Any]:
    """``ours`` with another first class."""
    document = ours()
    document["classes"][0].update(changes)
    return document


HOSTILE: dict[str, tuple[Any, str]] = {
    "a list": ([], "a list, not an object"),
    "a number": (3, "a int, not an object"),
    "nothing in it": ({}, "none of the expected keys"),
    "other keys": ({"cat": [1]}, "none of the expected keys"),
    "a future schema": (ours(schema="ddeep.selection/2"), "'ddeep.selection/2' is not known here"),
    "a schema that is a list": (ours(schema=[1] * 999), "is not known here"),
    "a class left out": ({"0": [1], "2": [1]}, "class 1 is left out"),
    "a class too few": ({"0": [1]}, "Class 1 is left out: the network has 2"),
    "a class too many": ({"0": [1], "1": [1], "2": [1]}, "3 classes, the network only 2"),
    "a class twice": ({"0": [1], "00": [2], "1": [1]}, "numbers a class twice"),
    "a filter too large": ({"0": [4], "1": [1]}, "selects filter 4, but the layer's filters are 0 to 3"),
    "a negative filter": ({"0": [-1], "1": [1]}, "selects filter -1"),
    "an enormous filter": ({"0": [10**400], "1": [1]}, "but the layer's filters are 0 to 3"),
    "a filter twice": ({"0": [1, 1], "1": [1]}, "Class 0 selects filter 1 twice"),
    "a fraction": ({"0": [1.5], "1": [1]}, "list of whole numbers"),
    "a float": ({"0": [1.0], "1": [1]}, "list of whole numbers"),
    "true": ({"0": [True], "1": [1]}, "list of whole numbers"),
    "text": ({"0": "1", "1": [1]}, "list of whole numbers"),
    "null": ({"0": None, "1": [1]}, "list of whole numbers"),
    "no filters": ({"0": [], "1": [1]}, "Class 0 has no filters and is not listed as absent"),
    "another number of filters": (ours(num_filters=5), "a layer of 5 filters, not of 4"),
    "a million million filters": (ours(num_filters=10**12), "too many"),
    "filters in words": (ours(num_filters="four"), "'four' must be a whole number"),
    "filters not a number": (ours(num_filters=4.0), "'4.0' must be a whole number"),
    "absent out of range": (ours(absent=[7]), "Class 7 is listed as absent, but the classes are 0 to 1"),
    "absent with filters": (ours(absent=[0]), "Class 0 is listed as absent but has filters"),
    "absent is text": (ours(absent="0"), "list of whole numbers"),
    "classes is a number": (ours(classes=3), "is not a selection: TypeError"),
    "a class is a number": (ours(classes=[3, 4]), "is not a selection: TypeError"),
    "no classes": (ours(classes=[]), "Class 0 is left out"),
    "an index twice": (row(index=1), "class 0 is left out"),
    "an index in words": (row(index="zero"), "'zero' must be a whole number"),
    "a score too few": (row(scores=[1.0]), "needs one finite score for each of its 2 filters"),
    "a score that is text": (row(scores=["a", "b"]), "scores must be a list of numbers"),
    "a score that is a list": (row(scores=[[1], [2]]), "scores must be a list of numbers"),
    "an enormous score": (row(scores=[10**400, 1]), "is not a selection: OverflowError"),
    "a head that is a list": (ours(head=[[1]]), "its head must be an object with weights and biases"),
    "half a head": (ours(head={"weights": [[1, 2], [1, 2]]}), "its head must be an object with weights and biases"),
    "a head of numbers": (ours(head={"weights": 3, "biases": [1, 2]}), "must be a list of lists"),
    "a head of words": (ours(head={"weights": ["a", [1, 2]], "biases": [1, 2]}), "weights of the head must be a list"),
    "biases in words": (ours(head={"weights": [[1, 2], [1, 2]], "biases": ["a", 1]}), "biases of the head must be"),
    "a weight too few": (ours(head={"weights": [[1], [1, 2]], "biases": [1, 2]}), "Class 0 needs one finite weight"),
    "a bias too few": (ours(head={"weights": [[1, 2], [1, 2]], "biases": [1]}), "biases for 1 classes"),
    "weights of a class too many": (ours(head={"weights": [[1, 2]] * 3, "biases": [1, 2]}), "weights for 3"),
    "an infinite weight": (ours(head={"weights": [[1e300, 1], [1, 2]], "biases": [1, 2]}), "one finite weight"),
    "an enormous weight": (ours(head={"weights": [[10**400, 1], [1, 2]], "biases": [1, 2]}), "OverflowError"),
    "source is a number": (ours(source=3), "is not a selection: TypeError"),
    "other names": (row(name="horse"), "Class 0 is 'horse' in the selection, but 'cat' in the network"),
}


@pytest.mark.parametrize(("document", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents_are_refused_by_name(tmp_path: Path, document: Any, problem: str) -> None:
    path = tmp_path / "hostile.json"
    path.write_text(json.dumps(document))
    with pytest.raises(SelectionError) as caught:
        Selection.load(path, 4, classes=("cat", "dog"))
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


RAW: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not valid JSON"),
    "not text": (b"\xff\xfe\x00\x01", "not"),
    "cut off": (b'{"0": [1, 2', "not valid JSON"),
    "NaN": (b'{"schema": "ddeep.selection/1", "num_filters": NaN, "classes": [], "absent": []}', "whole number"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "deep objects": (b'{"a":' * 200_000, "nested too deeply"),
    "a key twice": (b'{"0": [1], "0": [2], "1": [1]}', "key '0' twice"),
    "a long number": (b'{"0": [' + b"9" * 100_000 + b"]}", "not"),
}


@pytest.mark.parametrize(("content", "problem"), RAW.values(), ids=RAW)
def test_hostile_files_are_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "hostile.json"
    path.write_bytes(content)
    with pytest.raises(SelectionError, match=problem):
        Selection.load(path, 4, 2)


def test_what_never_ends_or_is_not_there_is_refused(tmp_path: Path) -> None:
    for path, problem in (
        (tmp_path / "none.json", "Cannot read the selection .*No such file"),
        (tmp_path, "Is a directory"),
        (Path("/dev/zero"), "a device, not a file"),
    ):
        with pytest.raises(SelectionError, match=problem):
            Selection.load(path, 4, 2)


def test_time_grows_with_the_number_of_absent_classes_not_its_square() -> None:
    def seconds(count: int) -> float:
        start = time.process_time()
        assert len(Selection.of([[]] * count, 4, absent=range(count)).membership()) == 0
        return time.process_time() - start

    seconds(1_000)
    assert seconds(16_000) < 40 * seconds(1_000)


def test_numbered_classes_fit_any_names(tmp_path: Path) -> None:
    Selection.of([[0], [1]], 4).save(tmp_path / "numbered.json")
    assert Selection.load(tmp_path / "numbered.json", 4, classes=("cat", "dog")).filters == ((0,), (1,))


def test_the_authors_files_need_the_number_of_filters() -> None:
    with pytest.raises(SelectionError, match="does not say how many filters its layer has"):
        Selection.load(KNOWN / "released_indices_resnet20_cifar10_k5.json")


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "selection.json"
    first = Selection.of([[0]], 2)
    first.save(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(DdeepError, match=r"Cannot write .*selection\.json: No space left on device"):
        Selection.of([[1]], 2).save(path)
    monkeypatch.undo()
    assert Selection.load(path) == first.named(["0"])
    assert list(tmp_path.iterdir()) == [path]
