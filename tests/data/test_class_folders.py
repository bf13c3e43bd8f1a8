import os
import pickle
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddeep.data.class_folders import FileTable, class_folders, open_annotated, open_class_folders, require_classes
from ddeep.errors import DataError
from tests.support import pictures


def names_of(images, root):
    return [path.relative_to(root.resolve()).as_posix() for path in images.files]


def test_classes_and_files_come_sorted(tmp_path):
    root = pictures.class_folders(tmp_path, {"b": 2, "a": 1, "C": 1})
    images = open_class_folders(root)
    assert images.classes == ("C", "a", "b")
    assert names_of(images, root) == ["C/0.png", "a/0.png", "b/0.png", "b/1.png"]
    assert images.labels.tolist() == [0, 1, 2, 2]


def test_images_may_lie_deeper_and_under_any_ending(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1}, suffix="WEBP")
    pictures.save_picture(root / "a" / "images" / "deep" / "x.Jpeg")
    pictures.save_picture(root / "a" / "y.bmp")
    assert names_of(open_class_folders(root), root) == ["a/0.WEBP", "a/images/deep/x.Jpeg", "a/y.bmp", "b/0.WEBP"]


def test_what_is_no_image_is_passed_over(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1})
    pictures.save_picture(root / "a" / ".hidden.png")
    pictures.save_picture(root / "a" / ".thumbnails" / "x.png")
    pictures.save_picture(root / ".git" / "x.png")
    (root / "a" / "notes.txt").write_text("")
    (root / "a" / "png").write_text("")
    (root / "list.csv").write_text("")
    os.mkfifo(root / "a" / "pipe.png")
    images = open_class_folders(root)
    assert images.classes == ("a", "b")
    assert names_of(images, root) == ["a/0.png", "b/0.png"]


def test_given_classes_keep_their_order_and_may_be_absent(tmp_path):
    root = pictures.class_folders(tmp_path, {"n1": 1, "n3": 2})
    images = open_class_folders(root, ["n3", "n2", "n1"], ["three", "two", "one"])
    assert images.classes == ("three", "two", "one")
    assert images.labels.tolist() == [0, 0, 2]
    assert names_of(images, root) == ["n3/0.png", "n3/1.png", "n1/0.png"]


def test_the_root_may_be_a_link(tmp_path):
    root = pictures.class_folders(tmp_path / "real", {"a": 1, "b": 1})
    (tmp_path / "link").symlink_to(root)
    assert open_class_folders(tmp_path / "link").content_hash == open_class_folders(root).content_hash


def test_links_to_files_inside_are_read(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1})
    (root / "b" / "again.png").symlink_to(root / "a" / "0.png")
    assert names_of(open_class_folders(root), root) == ["a/0.png", "b/0.png", "b/again.png"]


def test_a_class_may_be_a_link_to_a_folder_outside(tmp_path, capfd):
    whole = pictures.class_folders(tmp_path / "whole", {"n1": 2, "n2": 1, "n3": 1})
    subset = tmp_path / "subset"
    subset.mkdir()
    for name in ("n1", "n3"):
        (subset / name).symlink_to(whole / name)
    (whole / "n3" / "again.png").symlink_to(whole / "n1" / "0.png")  # inside what another class links to
    images = open_class_folders(subset)
    assert images.classes == ("n1", "n3")
    assert names_of(images, subset) == ["n1/0.png", "n1/1.png", "n3/0.png", "n3/again.png"]
    assert f"2 classes are links to folders outside {subset}, to {whole / 'n1'} for one." in capfd.readouterr().err


def test_a_linked_class_does_not_open_what_is_beside_it(tmp_path):
    whole = pictures.class_folders(tmp_path / "whole", {"n1": 1, "private": 1})
    subset = pictures.class_folders(tmp_path / "subset", {"a": 1})
    (subset / "n1").symlink_to(whole / "n1")
    (whole / "n1" / "x.png").symlink_to(whole / "private" / "0.png")
    with pytest.raises(DataError, match=r"n1/x\.png' links to .*private"):
        open_class_folders(subset)


@pytest.mark.parametrize("target", ["b", ".", "..", "b/deeper"])
def test_a_class_that_links_to_the_others(tmp_path, target):
    root = pictures.class_folders(tmp_path / "root", {"a": 1, "b": 1})
    (root / "b" / "deeper").mkdir()
    (root / "c").symlink_to(root / target)
    with pytest.raises(DataError, match="count for several classes"):
        open_class_folders(root)


def test_a_class_whose_link_leads_nowhere_is_not_left_out(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1})
    (root / "c").symlink_to(tmp_path / "unmounted")
    with pytest.raises(DataError, match=r"c' links to nothing"):
        open_class_folders(root)


@pytest.mark.parametrize("kind", ["file outside", "folder outside", "folder inside", "loop", "dangling"])
def test_links_do_not_lead_out(tmp_path, kind):
    root = pictures.class_folders(tmp_path / "root", {"a": 1, "b": 1})
    outside = pictures.save_picture(tmp_path / "outside" / "secret.png")
    links = {
        "file outside": ("a/link.png", outside),
        "folder outside": ("a/link", outside.parent),
        "folder inside": ("a/link", root / "b"),
        "loop": ("a/link", root / "a"),
        "dangling": ("a/link.png", tmp_path / "nothing.png"),
    }
    name, target = links[kind]
    (root / name).symlink_to(target)
    with pytest.raises(DataError, match="links to"):
        open_class_folders(root)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, r"holds no folders.*<class>"),
        ({"only": 2}, r"one class only, 'only'"),
    ],
)
def test_folders_that_are_no_dataset(tmp_path, counts, message):
    with pytest.raises(DataError, match=message):
        open_class_folders(pictures.class_folders(tmp_path, counts))


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*nowhere.*one folder of images per class"):
        open_class_folders(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="no folder"):
        open_class_folders(tmp_path / "file")


def test_a_class_without_images(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1})
    (root / "c").mkdir()
    (root / "c" / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"c holds no image"):
        open_class_folders(root)


def test_a_folder_that_is_no_class(tmp_path):
    root = pictures.class_folders(tmp_path, {"cats": 1, "dog": 1})
    with pytest.raises(DataError, match=r"'cats', not a class of this dataset\. Did you mean 'cat'\?"):
        open_class_folders(root, ["cat", "dog"])


def test_class_names_that_would_play_with_the_terminal(tmp_path):
    pictures.class_folders(tmp_path, {"a": 1, "\x1b[2J": 1})
    with pytest.raises(DataError, match="printable") as caught:
        open_class_folders(tmp_path)
    assert "\x1b" not in str(caught.value)


def test_class_names_in_any_writing(tmp_path):
    names = ["mixed 👩‍🔬🏳️‍🌈", "می‌خواهم", "日本", "ß <b>"]
    root = pictures.class_folders(tmp_path, dict.fromkeys(names, 1))
    assert open_class_folders(root).classes == tuple(sorted(names))


@pytest.mark.parametrize("sign", ["\u202e", "\u2066", "\x7f", "\x85", "\u2028", "\n"])
def test_signs_that_hide_or_turn_a_name_are_refused(tmp_path, sign):
    pictures.class_folders(tmp_path, {"a": 1, f"b{sign}c": 1})
    with pytest.raises(DataError, match="printable"):
        open_class_folders(tmp_path)


def test_file_names_that_are_no_text(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1})
    odd = os.fsencode(root / "a") + b"/\xff\xfe.png"
    shutil.copy(root / "a" / "0.png", odd)
    images = open_class_folders(root)
    assert os.fsencode(images.files[1]) == os.fsencode((root / "a").resolve()) + b"/\xff\xfe.png"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_must_not_be_read(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1})
    (root / "a").chmod(0)
    try:
        with pytest.raises(DataError, match="Cannot read"):
            open_class_folders(root)
    finally:
        (root / "a").chmod(0o755)


def test_the_hash_notices_every_change(tmp_path):
    root = pictures.class_folders(tmp_path / "root", {"a": 2, "b": 2})

    def current():
        return open_class_folders(root).content_hash

    seen = [current()]
    assert current() == seen[0]
    copy = shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)  # with other times
    assert open_class_folders(copy).content_hash == seen[0]

    def change(action):
        action()
        assert current() not in seen
        seen.append(current())

    file = root / "a" / "0.png"
    os.utime(file, ns=(0, 0))
    assert current() == seen[0]
    change(lambda: file.rename(root / "a" / "z.png"))  # name
    change(lambda: (root / "a" / "z.png").rename(root / "b" / "z.png"))  # class
    change(lambda: (root / "b" / "z.png").unlink())  # number
    change(lambda: (root / "b").rename(root / "c"))  # class name


def test_the_hash_looks_into_files_whose_listing_agrees(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        for label in ("a", "b"):
            path = pictures.save_picture(tmp_path / name / label / "x.bmp", seed)
            os.utime(path, ns=(0, 0))
    one, two = open_class_folders(tmp_path / "one"), open_class_folders(tmp_path / "two")
    assert one.content_hash != two.content_hash


def test_require_classes(tmp_path):
    root = pictures.class_folders(tmp_path, {"a": 1, "b": 1})
    require_classes(root, ["b", "a"], "the training split")
    with pytest.raises(DataError, match=r"lacks the class 'c' of the training split.*Add the folder"):
        require_classes(root, ["a", "b", "c"], "the training split")
    with pytest.raises(DataError, match=r"holds 'b', not a class of the training split"):
        require_classes(root, ["a"], "the training split")
    assert class_folders(root) == ["a", "b"]


def test_annotated_folder(tmp_path):
    for number in range(4):
        pictures.save_picture(tmp_path / f"{number}.png", number)
    listed = {"2.png": "x", "0.png": "y", "1.png": "x"}
    images = open_annotated(tmp_path, listed, ["w", "x", "y"], ["W", "X", "Y"])
    assert names_of(images, tmp_path) == ["1.png", "2.png", "0.png"]
    assert images.labels.tolist() == [1, 1, 2]
    assert images.classes == ("W", "X", "Y")


@pytest.mark.parametrize("name", ["absent.png", "../secret.png", "sub/x.png", "link.png"])
def test_annotated_names_stay_in_their_folder(tmp_path, name):
    secret = pictures.save_picture(tmp_path / "secret.png")
    pictures.save_picture(tmp_path / "root" / "sub" / "x.png")
    (tmp_path / "root" / "link.png").symlink_to(secret)
    with pytest.raises(DataError, match="holds no file"):
        open_annotated(tmp_path / "root", {name: "x"}, ["x"])


def test_annotated_with_a_class_that_does_not_exist(tmp_path):
    with pytest.raises(DataError, match="'z', not a class"):
        open_annotated(tmp_path, {"0.png": "z"}, ["x"])


text = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20)


@given(st.lists(text, max_size=20))
def test_a_file_table_is_a_list_of_paths(tmp_path_factory, names):
    root = tmp_path_factory.getbasetemp()
    table, plain = FileTable(root, names), [root / name for name in names]
    assert len(table) == len(plain)
    assert list(table) == plain
    assert table[1:-1] == plain[1:-1]
    assert list(pickle.loads(pickle.dumps(table))) == plain
    if plain:
        assert table[-1] == plain[-1]
    with pytest.raises(IndexError):
        table[len(plain)]


def test_a_file_table_takes_little_more_than_its_names(tmp_path):
    names = [f"n{number // 1000:08}/n{number // 1000:08}_{number:05}.JPEG" for number in range(50_000)]
    assert len(pickle.dumps(FileTable(tmp_path, names))) < sum(map(len, names)) + 10 * len(names)


def test_the_real_photographs(real_data):
    images = open_class_folders(real_data("tiny-imagenet-10") / "train")
    assert len(images) == 5000
    assert images.labels.bincount().tolist() == [500] * 10
