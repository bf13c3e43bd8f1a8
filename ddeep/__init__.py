"""ddeep finds, proves and uses the class-specific filters of deep CNNs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._platform import repair_torchvision_imports
from .errors import (
    CacheError,
    ConfigError,
    DataError,
    DdeepError,
    PluginError,
    SelectionError,
    TrainingError,
    WeightsError,
)
from .provenance import VERSION
from .registry.hookspecs import hookimpl
from .registry.specs import (
    DatasetFamily,
    DatasetSpec,
    ExecutionSpec,
    MetricSpec,
    ModelFamily,
    ModelSpec,
    RegularizerSpec,
    StrategySpec,
    WeightsSpec,
)

if TYPE_CHECKING:
    from .api import cut, decompose, evaluate, export, forget, gather, load, measure, refit, select
    from .commands import Comparison, compare, explain, finetune, report, run
    from .data.images import FileImages, TensorImages
    from .heads.decomposed import DecomposedLinear
    from .networks.layer import Layer
    from .results.run import RunResult
    from .selections.selection import Selection

__version__ = VERSION

# Imported on first use: they need torch, and `ddeep --help` must not.
_LAZY = {
    "RunResult": "results.run",
    "cut": "api",
    "decompose": "api",
    "evaluate": "api",
    "export": "api",
    "forget": "api",
    "gather": "api",
    "load": "api",
    "measure": "api",
    "refit": "api",
    "Comparison": "commands",
    "compare": "commands",
    "explain": "commands",
    "finetune": "commands",
    "report": "commands",
    "run": "commands",
    "select": "api",
    "DecomposedLinear": "heads.decomposed",
    "FileImages": "data.images",
    "Layer": "networks.layer",
    "TensorImages": "data.images",
    "Selection": "selections.selection",
}

__all__ = [
    "CacheError",
    "Comparison",
    "ConfigError",
    "DataError",
    "DatasetFamily",
    "DatasetSpec",
    "DdeepError",
    "DecomposedLinear",
    "ExecutionSpec",
    "FileImages",
    "Layer",
    "MetricSpec",
    "ModelFamily",
    "ModelSpec",
    "PluginError",
    "RegularizerSpec",
    "RunResult",
    "Selection",
    "SelectionError",
    "StrategySpec",
    "TensorImages",
    "TrainingError",
    "WeightsError",
    "WeightsSpec",
    "compare",
    "cut",
    "decompose",
    "evaluate",
    "explain",
    "export",
    "finetune",
    "forget",
    "gather",
    "hookimpl",
    "load",
    "measure",
    "refit",
    "report",
    "run",
    "select",
]

repair_torchvision_imports()


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'ddeep' has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
