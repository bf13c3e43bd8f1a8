"""The settings of every command: names, defaults, help and checks in one place, for the command line, TOML and Python.

Nothing here imports torch: the command line shows its help from these models.
"""

from .exports import CutConfig, ExportConfig, ForgetConfig, MergeModulesConfig
from .option import COMPUTE, EXAMINE, SELECT, TRAIN, WRITE, Panel
from .pages import ExplainConfig, PredictConfig, ReportConfig, ServeConfig
from .reading import read_config
from .runs import ALL, CompareConfig, MeasureConfig, RunConfig
from .subject import ImagesConfig, NetworkConfig, SubjectConfig
from .training import FinetuneConfig, RecipeConfig, TrainConfig

__all__ = [
    "ALL",
    "COMPUTE",
    "EXAMINE",
    "SELECT",
    "TRAIN",
    "WRITE",
    "CompareConfig",
    "CutConfig",
    "ExplainConfig",
    "ExportConfig",
    "FinetuneConfig",
    "ForgetConfig",
    "ImagesConfig",
    "MeasureConfig",
    "MergeModulesConfig",
    "NetworkConfig",
    "Panel",
    "PredictConfig",
    "RecipeConfig",
    "ReportConfig",
    "RunConfig",
    "ServeConfig",
    "SubjectConfig",
    "TrainConfig",
    "read_config",
]
