"""The built-in datasets."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep import DatasetFamily, DatasetSpec, hookimpl

_HERE = __name__


@hookimpl
def ddeep_datasets() -> Iterator[DatasetSpec | DatasetFamily]:
    """Yield the built-in datasets."""
    yield DatasetSpec(
        "digits",
        open=f"{_HERE}.digits:open_digits",
        num_classes=10,
        flip=False,
        summary="1,797 handwritten digits, 32×32, part of scikit-learn: nothing to download",
        source="Alpaydin & Kaynak 1998, UCI Optical Recognition of Handwritten Digits, doi:10.24432/C50P49",
    )
    yield DatasetSpec(
        "cifar10",
        open=f"{_HERE}.cifar:open_cifar10",
        num_classes=10,
        summary="CIFAR-10: 60,000 photographs of 10 things, 32×32",
        source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    )
    yield DatasetSpec(
        "cifar100",
        open=f"{_HERE}.cifar:open_cifar100",
        num_classes=100,
        summary="CIFAR-100: 60,000 photographs of 100 things, 32×32",
        source="Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
    )
    yield DatasetSpec(
        "imagenet",
        open=f"{_HERE}.imagenet:open_imagenet",
        num_classes=1000,
        summary="ImageNet (ILSVRC 2012) or part of it: folders named by WordNet id; val/ is the test split",
        source="Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge, arXiv 1409.0575",
    )
    yield DatasetSpec(
        "tiny-imagenet",
        open=f"{_HERE}.tiny_imagenet:open_tiny_imagenet",
        summary="Tiny ImageNet: 200 classes of ImageNet, 64×64; val/ is the test split",
        source="Stanford CS231n, http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    )
    yield DatasetSpec(
        "folder",
        open=f"{_HERE}.folder:open_folder",
        ordered_by_user=True,
        summary="Your own images: train/<class>/* and test/<class>/* (or val/<class>/*) in the data folder",
        source="class folders, the layout of torchvision.datasets.ImageFolder",
    )
    yield DatasetFamily(
        "wds",
        resolve=f"{_HERE}.shards:spec",
        summary="Tar shards with .jpg/.png and .cls/.json, as they are: wds:FOLDER, wds:'shards/{train,val}-*.tar'",
        source="the layout of WebDataset, github.com/webdataset/webdataset",
    )
    yield DatasetFamily(
        "hf",
        resolve=f"{_HERE}.hugging_face:spec",
        summary="Datasets of Hugging Face, hf:FOLDER (save_to_disk, parquet, images with metadata) or hf:OWNER/NAME",
        source="Lhoest et al., Datasets: a community library, EMNLP 2021",
    )
