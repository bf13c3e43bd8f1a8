import pytest

from ddeep.data.images import FileImages, TensorImages
from ddeep.errors import DataError
from ddeep_plugins_builtin.datasets.folder import open_folder
from tests.support import pictures


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["test", "val"])
def test_train_and_test_or_val(root, name):
    pictures.class_folders(root / "train", {"cat": 2, "ant": 1})
    pictures.class_folders(root / name, {"cat": 1, "ant": 2})
    train, test = open_folder(root, "train"), open_folder(root, "test")
    assert train.classes == test.classes == ("ant", "cat")
    assert train.labels.tolist() == [0, 1, 1]
    assert test.labels.tolist() == [0, 0, 1]


def test_test_comes_before_val_unless_it_is_unlabelled(root):
    pictures.class_folders(root / "train", {"a": 1, "b": 1})
    pictures.class_folders(root / "val", {"a": 1, "b": 1})
    pictures.save_picture(root / "test" / "1.png")
    assert len(open_folder(root, "test")) == 2
    pictures.class_folders(root / "test", {"a": 3, "b": 3})
    assert len(open_folder(root, "test")) == 6


def test_small_images_of_one_size_are_held_in_memory(root):
    pictures.class_folders(root / "train", {"a": 2, "b": 2})
    assert isinstance(open_folder(root, "train"), TensorImages)


@pytest.mark.parametrize("change", ["another size", "large", "damaged"])
def test_other_images_stay_on_disk(root, change):
    pictures.class_folders(root / "train", {"a": 40, "b": 40}, side=65 if change == "large" else 8)
    if change == "another size":
        pictures.save_picture(root / "train" / "b" / "39.png", height=9)
    if change == "damaged":
        (root / "train" / "b" / "39.png").write_bytes(b"junk")
    images = open_folder(root, "train")
    assert isinstance(images, FileImages)
    assert len(images) == 80


def test_splits_of_different_classes(root, capsys):
    pictures.class_folders(root / "train", {"cat": 1, "dog": 1})
    pictures.class_folders(root / "test", {"cat": 1})
    test = open_folder(root, "test")
    assert (test.classes, test.labels.tolist()) == (("cat", "dog"), [0])
    assert "no folder for 1 of 2 classes, such as 'dog'" in " ".join(capsys.readouterr().err.split())
    pictures.class_folders(root / "test", {"dog": 1, "dogs": 1})
    with pytest.raises(DataError, match=r"test holds 'dogs', not a class of .*Did you mean 'dog'"):
        open_folder(root, "test")


def test_a_list_fixes_the_order_of_the_classes(root, capsys):
    numbers = {str(number): 1 for number in range(11)}
    for split in ("train", "test"):
        pictures.class_folders(root / split, numbers)
    assert open_folder(root, "train").classes == ("0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9")
    shown = " ".join(capsys.readouterr().err.split())
    assert "class 2 is '10'" in shown
    assert "list the folders so in classes.txt" in shown
    (root / "classes.txt").write_text("\n".join(numbers) + "\n\n")
    for split in ("train", "test"):
        images = open_folder(root, split)
        assert images.classes == tuple(numbers)
        assert images.labels.tolist() == list(range(11))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\nb\na\n", "names 'a' twice"),
        ("a\n", "names 1 classes"),
        ("a\nc\n", r"holds 'b', not a class"),
        (b"\xff\xfea", "Cannot read .*classes.txt"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(root, text, problem):
    pictures.class_folders(root / "train", {"a": 1, "b": 1})
    (root / "classes.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError, match=problem):
        open_folder(root, "train")


def test_images_that_nobody_reads_are_counted(root, capsys):
    pictures.class_folders(root / "train", {"a": 2, "b": 2})
    for name in ("a/IMG_1.HEIC", "b/IMG_2.heic", "b/photo", "b/notes.txt", "b/.hidden"):
        (root / "train" / name).write_bytes(b"x")
    assert len(open_folder(root, "train")) == 4
    shown = " ".join(capsys.readouterr().err.split())
    assert "3 files of" in shown
    assert "IMG_1.HEIC" in shown


def test_what_is_missing_is_named(root):
    with pytest.raises(DataError, match=r"no folder .*train\. Put images into .*train/<class>/"):
        open_folder(root, "train")
    with pytest.raises(DataError, match=r"no folder .*train"):
        open_folder(root, "test")
    pictures.class_folders(root / "train", {"a": 1, "b": 1})
    with pytest.raises(DataError, match=r"no images to test on.*test/<class>/"):
        open_folder(root, "test")
    (root / "test").mkdir()
    with pytest.raises(DataError, match="no images to test on"):
        open_folder(root, "test")
