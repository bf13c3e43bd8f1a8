import subprocess
import sys

import pytest

from ddeep.data.images import FileImages, TensorImages
from ddeep.errors import DataError
from ddeep_plugins_builtin.datasets.imagenet import open_imagenet
from ddeep_plugins_builtin.datasets.tiny_imagenet import open_tiny_imagenet
from ddeep_plugins_builtin.datasets.wordnet import imagenet_ids, imagenet_names, names_of
from tests.support import pictures

TENCH, GOLDFISH, TOILET_PAPER = "n01440764", "n01443537", "n15075141"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DDEEP_CACHE", str(tmp_path / "cache"))


def relative(images, root):
    return [path.relative_to(root.resolve()).as_posix() for path in images.files]


def test_the_thousand_classes():
    ids, names = imagenet_ids(), imagenet_names()
    assert len(set(ids)) == len(set(names)) == 1000
    assert list(ids) == sorted(ids)
    assert (ids[0], names[0]) == (TENCH, "tench")
    assert (ids[1], names[1]) == (GOLDFISH, "goldfish")
    assert (ids[999], names[999]) == (TOILET_PAPER, "toilet tissue")
    assert [name for name in names if name.startswith("crane")] == ["crane (n02012849)", "crane (n03126707)"]


def test_the_order_is_that_of_torchvisions_outputs():
    import ddeep  # noqa: F401, I001 - before torchvision
    from torchvision.models import ResNet18_Weights

    theirs = ResNet18_Weights.DEFAULT.meta["categories"]
    same = [mine.split(" (")[0] == other for mine, other in zip(imagenet_names(), theirs, strict=True)]
    assert sum(same) > 900  # a few classes go by another of their names there


def test_listing_the_classes_does_not_import_timm():
    code = (
        "import sys; from ddeep_plugins_builtin.datasets.wordnet import imagenet_names; imagenet_names();"
        "sys.exit('timm' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("place", ["", "imagenet", "ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_layouts(tmp_path, place):
    for split, names in (("train", {GOLDFISH: 2, TOILET_PAPER: 1}), ("val", {TOILET_PAPER: 1})):
        pictures.class_folders(tmp_path / place / split, names, suffix="JPEG")
    train, test = open_imagenet(tmp_path, "train"), open_imagenet(tmp_path, "test")
    assert isinstance(train, FileImages)
    assert train.labels.tolist() == [1, 1, 999]
    assert test.labels.tolist() == [999]
    assert train.classes == test.classes == imagenet_names()


def test_kaggles_flat_val_folder(tmp_path):
    root = tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    for number in (1, 2, 3):
        pictures.save_picture(root / f"ILSVRC2012_val_{number:08}.JPEG", number)
    (tmp_path / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\n"
        f"ILSVRC2012_val_00000002,{TENCH} 1 2 3 4 {TENCH} 5 6 7 8 \n"
        f"ILSVRC2012_val_00000003,{TOILET_PAPER} 1 2 3 4\n"
        f"ILSVRC2012_val_00000001,{TENCH} 1 2 3 4\n"
    )
    images = open_imagenet(tmp_path, "test")
    assert relative(images, root) == [f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3)]
    assert images.labels.tolist() == [0, 0, 999]
    (tmp_path / "LOC_val_solution.csv").write_text("nonsense\n")
    with pytest.raises(DataError, match=r"LOC_val_solution\.csv holds no line such as"):
        open_imagenet(tmp_path, "test")
    (tmp_path / "LOC_val_solution.csv").unlink()
    with pytest.raises(DataError, match="holds no folders"):
        open_imagenet(tmp_path, "test")


def test_a_folder_that_is_no_wordnet_id(tmp_path):
    pictures.class_folders(tmp_path / "train", {TENCH: 1, "n01440765": 1})
    with pytest.raises(DataError, match=r"'n01440765', not a class of this dataset.*n01440764"):
        open_imagenet(tmp_path, "train")


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"val split is not under .*n01440764.*ILSVRC/Data.*--data-dir"):
        open_imagenet(tmp_path, "test")


def test_real_folders_of_some_classes(real_data):
    train, test = (open_imagenet(real_data("tiny-imagenet-10"), split) for split in ("train", "test"))
    assert train.labels.bincount()[train.labels.unique()].tolist() == [500] * 10
    assert test.labels.bincount()[test.labels.unique()].tolist() == [50] * 10
    assert [train.classes[label] for label in train.labels.unique()][:3] == ["bullfrog", "Egyptian cat", "basketball"]


def tiny(root):
    train = pictures.class_folders(root / "train", {f"{TENCH}/images": 2, f"{GOLDFISH}/images": 2}, suffix="JPEG")
    (train / TENCH / f"{TENCH}_boxes.txt").write_text("")
    return root


@pytest.mark.parametrize("place", ["tiny-imagenet-200", "tiny-imagenet", ""])
def test_tiny_imagenets_own_layout(tmp_path, place):
    root = tiny(tmp_path / place)
    for number in range(3):
        pictures.save_picture(root / "val" / "images" / f"val_{number}.JPEG", 50 + number)
    lines = [f"val_0.JPEG\t{GOLDFISH}\t0\t32\t44\t62", f"val_1.JPEG\t{TENCH}\t1\t2\t3\t4", f"val_2.JPEG\t{TENCH}\t1\t2"]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    train, test = open_tiny_imagenet(tmp_path, "train"), open_tiny_imagenet(tmp_path, "test")
    assert isinstance(test, TensorImages)
    assert train.classes == test.classes == ("tench", "goldfish")
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert test.labels.tolist() == [0, 0, 1]


def test_tiny_imagenet_with_class_folders_in_val(tmp_path):
    root = tiny(tmp_path)
    pictures.class_folders(root / "val", {GOLDFISH: 3})
    assert open_tiny_imagenet(tmp_path, "test").labels.tolist() == [1, 1, 1]
    pictures.class_folders(root / "val", {TOILET_PAPER: 1})
    with pytest.raises(DataError, match=f"'{TOILET_PAPER}', not a class"):
        open_tiny_imagenet(tmp_path, "test")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should hold lines"),
        ("val_0.JPEG n01440764\n", "should hold lines"),
        (f"../../train/{TENCH}/images/0.JPEG\t{TENCH}\n", "holds no file"),
        (f"val_0.JPEG\t{TOILET_PAPER}\n", "not a class"),
    ],
)
def test_tiny_imagenet_with_a_broken_list(tmp_path, text, message):
    root = tiny(tmp_path)
    pictures.save_picture(root / "val" / "images" / "val_0.JPEG")
    (root / "val" / "val_annotations.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        open_tiny_imagenet(tmp_path, "test")


def test_no_tiny_imagenet(tmp_path):
    with pytest.raises(DataError, match=r"Tiny ImageNet is not under .*tiny-imagenet-200\.zip.*--data-dir"):
        open_tiny_imagenet(tmp_path, "train")


def test_names_are_unique_among_the_classes_present():
    assert names_of(["n02012849", TENCH]) == ["crane", "tench"]
    assert names_of(["n02012849", "n03126707"]) == ["crane (n02012849)", "crane (n03126707)"]
    assert names_of(["n99999999"]) == ["n99999999"]
