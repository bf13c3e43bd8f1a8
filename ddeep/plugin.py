"""All that the author of a plugin needs; whatever is not here or in ``ddeep`` is ddeep's own and may change.

Imported on first use: a plugin that is only listed must not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, DataError, DdeepError, PluginError, SelectionError, WeightsError
from .registry.hookspecs import hookimpl
from .registry.specs import (
    DatasetFamily,
    DatasetSpec,
    ExecutionSpec,
    Interpolation,
    MetricSpec,
    ModelFamily,
    ModelSpec,
    Pool,
    RegularizerSpec,
    StrategySpec,
    WeightsSpec,
)

if TYPE_CHECKING:
    from .console import note, progress
    from .data.class_folders import class_folders, open_annotated, open_class_folders, require_classes
    from .data.class_list import read_classes
    from .data.decoding import image_suffixes
    from .data.images import FileImages, Images, TensorImages
    from .data.indexed import indexed_images
    from .data.pictures import Opened, Picture, PictureBytes, PictureInside, PicturesInside
    from .data.pixel_cache import are_small, as_tensor_images, in_memory_if_small
    from .data.preprocessing import Preprocessing
    from .data.streamed import streamed_images
    from .evidence.class_means import class_means, other_means
    from .evidence.context import Context, Replay, View
    from .evidence.evidence import Evidence, gather_kept
    from .evidence.execution import Work, Worker
    from .files.atomic import sha256_of, written_whole
    from .files.downloads import DownloadError, download, matches, offline
    from .files.hub import hub_folder, hub_names, is_hub_name
    from .files.index import kept_index
    from .files.json import read_object
    from .files.pickles import BoundsError, check_pickle
    from .files.regular import open_regular, read_bounded
    from .heads._lbfgs import minimise
    from .heads.ablation import essentiality, knockout, noise_draws
    from .heads.accuracy import accuracy_by_class, confusion, predict, right_by_class
    from .heads.form import Scale
    from .heads.refit import L2
    from .networks.device import exact_device
    from .networks.head import Head
    from .networks.layer import Layer
    from .networks.recipe_beside import recipe_beside
    from .networks.state_dicts import read_state_dict
    from .networks.weights import load_strictly, load_weights
    from .selections.form import HeadForm
    from .selections.k import K
    from .selections.measure import SplitEvidence
    from .selections.ranking import rank_filters
    from .selections.selection import Selection
    from .statistics.basic import (
        ClassCounts,
        ClassSquares,
        ClassSums,
        Confusion,
        Correct,
        Extremes,
        GradientSums,
        MagnitudeSums,
        MassHistogram,
        MassTopCounts,
        PeakSums,
        TopCounts,
        ZeroSums,
    )
    from .statistics.batch import ResponseBatch
    from .statistics.gram import Gram
    from .statistics.histograms import ClassHistogram, Histogram, RankSums
    from .statistics.statistic import Statistic, accumulator
    from .statistics.top_images import TopImages

# The modules that these names are imported from on first use.
_LAZY = {
    "streamed_images": "data.streamed",
    "Opened": "data.pictures",
    "in_memory_if_small": "data.pixel_cache",
    "PicturesInside": "data.pictures",
    "indexed_images": "data.indexed",
    "kept_index": "files.index",
    "image_suffixes": "data.decoding",
    "progress": "console",
    "note": "console",
    "open_regular": "files.regular",
    "Picture": "data.pictures",
    "PictureBytes": "data.pictures",
    "PictureInside": "data.pictures",
    "recipe_beside": "networks.recipe_beside",
    "read_state_dict": "networks.state_dicts",
    "read_object": "files.json",
    "is_hub_name": "files.hub",
    "hub_names": "files.hub",
    "hub_folder": "files.hub",
    "class_folders": "data.class_folders",
    "open_annotated": "data.class_folders",
    "open_class_folders": "data.class_folders",
    "read_classes": "data.class_list",
    "require_classes": "data.class_folders",
    "FileImages": "data.images",
    "Images": "data.images",
    "TensorImages": "data.images",
    "are_small": "data.pixel_cache",
    "as_tensor_images": "data.pixel_cache",
    "Preprocessing": "data.preprocessing",
    "class_means": "evidence.class_means",
    "other_means": "evidence.class_means",
    "Context": "evidence.context",
    "Replay": "evidence.context",
    "View": "evidence.context",
    "Evidence": "evidence.evidence",
    "Work": "evidence.execution",
    "Worker": "evidence.execution",
    "gather_kept": "evidence.evidence",
    "sha256_of": "files.atomic",
    "written_whole": "files.atomic",
    "DownloadError": "files.downloads",
    "download": "files.downloads",
    "matches": "files.downloads",
    "offline": "files.downloads",
    "BoundsError": "files.pickles",
    "check_pickle": "files.pickles",
    "read_bounded": "files.regular",
    "minimise": "heads._lbfgs",
    "essentiality": "heads.ablation",
    "knockout": "heads.ablation",
    "noise_draws": "heads.ablation",
    "accuracy_by_class": "heads.accuracy",
    "confusion": "heads.accuracy",
    "right_by_class": "heads.accuracy",
    "predict": "heads.accuracy",
    "Scale": "heads.form",
    "L2": "heads.refit",
    "Head": "networks.head",
    "Layer": "networks.layer",
    "load_strictly": "networks.weights",
    "load_weights": "networks.weights",
    "HeadForm": "selections.form",
    "K": "selections.k",
    "SplitEvidence": "selections.measure",
    "Selection": "selections.selection",
    "rank_filters": "selections.ranking",
    "ClassCounts": "statistics.basic",
    "ClassSquares": "statistics.basic",
    "ClassSums": "statistics.basic",
    "Confusion": "statistics.basic",
    "Correct": "statistics.basic",
    "Extremes": "statistics.basic",
    "GradientSums": "statistics.basic",
    "MagnitudeSums": "statistics.basic",
    "MassHistogram": "statistics.basic",
    "MassTopCounts": "statistics.basic",
    "PeakSums": "statistics.basic",
    "TopCounts": "statistics.basic",
    "ZeroSums": "statistics.basic",
    "ResponseBatch": "statistics.batch",
    "exact_device": "networks.device",
    "Gram": "statistics.gram",
    "ClassHistogram": "statistics.histograms",
    "Histogram": "statistics.histograms",
    "RankSums": "statistics.histograms",
    "Statistic": "statistics.statistic",
    "accumulator": "statistics.statistic",
    "TopImages": "statistics.top_images",
}

__all__ = [
    "L2",
    "BoundsError",
    "ClassCounts",
    "ClassHistogram",
    "ClassSquares",
    "ClassSums",
    "ConfigError",
    "Confusion",
    "Context",
    "Correct",
    "DataError",
    "DatasetFamily",
    "DatasetSpec",
    "DdeepError",
    "DownloadError",
    "Evidence",
    "ExecutionSpec",
    "Extremes",
    "FileImages",
    "GradientSums",
    "Gram",
    "Head",
    "HeadForm",
    "Histogram",
    "Images",
    "Interpolation",
    "K",
    "Layer",
    "MagnitudeSums",
    "MassHistogram",
    "MassTopCounts",
    "MetricSpec",
    "ModelFamily",
    "ModelSpec",
    "Opened",
    "PeakSums",
    "Picture",
    "PictureBytes",
    "PictureInside",
    "PicturesInside",
    "PluginError",
    "Pool",
    "Preprocessing",
    "RankSums",
    "RegularizerSpec",
    "Replay",
    "ResponseBatch",
    "Scale",
    "Selection",
    "SelectionError",
    "SplitEvidence",
    "Statistic",
    "StrategySpec",
    "TensorImages",
    "TopCounts",
    "TopImages",
    "View",
    "WeightsError",
    "WeightsSpec",
    "Work",
    "Worker",
    "ZeroSums",
    "accumulator",
    "accuracy_by_class",
    "are_small",
    "as_tensor_images",
    "check_pickle",
    "class_folders",
    "class_means",
    "confusion",
    "download",
    "essentiality",
    "exact_device",
    "gather_kept",
    "hookimpl",
    "hub_folder",
    "hub_names",
    "image_suffixes",
    "in_memory_if_small",
    "indexed_images",
    "is_hub_name",
    "kept_index",
    "knockout",
    "load_strictly",
    "load_weights",
    "matches",
    "minimise",
    "noise_draws",
    "note",
    "offline",
    "open_annotated",
    "open_class_folders",
    "open_regular",
    "other_means",
    "predict",
    "progress",
    "rank_filters",
    "read_bounded",
    "read_classes",
    "read_object",
    "read_state_dict",
    "recipe_beside",
    "require_classes",
    "right_by_class",
    "sha256_of",
    "streamed_images",
    "written_whole",
]


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __package__), name)
