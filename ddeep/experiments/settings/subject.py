"""Which network, on which images, and how to run it: what the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from ...data.class_list import check_classes, read_classes
from ...errors import ConfigError, DataError
from .option import COMPUTE, EXAMINE, option, three_numbers


def _classes(value: Any) -> Any:
    """The list in a file, or one that has been read: a run keeps the names, not where they stood."""
    if isinstance(value, str | Path):
        found = read_classes(Path(value))
        if found is None:
            raise DataError(f"There is no file {value}. It should name one class folder a line.")
        return tuple(found)
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        check_classes(value, "The list of classes")
        return tuple(value)
    return value


Classes = Annotated[tuple[str, ...] | Path | None, BeforeValidator(_classes)]
ThreeNumbers = Annotated[tuple[float, float, float], BeforeValidator(three_numbers)]


class Settings(BaseModel):
    """What all settings are: frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # help needs no validators


class DataConfig(Settings):
    """Where images and weights lie."""

    data_dir: Path = option(Path("data"), EXAMINE, "Folder that holds datasets and weights.")


class DeviceConfig(Settings):
    """Where to compute."""

    device: str = option("auto", COMPUTE, "auto, cpu, cuda, cuda:N or mps.")


class SeedConfig(Settings):
    """What makes a run repeatable."""

    seed: int = option(0, COMPUTE, "Seed of everything random.", strict=True, ge=0, lt=2**63)


class ImagesConfig(DataConfig):
    """How the images are called, and how they are prepared where a weights file does not say."""

    classes: Classes = option(
        None,
        EXAMINE,
        "Of class folders: a file naming them, one a line, in the order of the network's outputs (default: classes.txt "
        "beside train/, or the folders as text sorts them).",
    )
    mean: ThreeNumbers | None = option(None, EXAMINE, "Pixel mean a weights file was trained with: R,G,B.")
    std: ThreeNumbers | None = option(None, EXAMINE, "Pixel deviation a weights file was trained with: R,G,B.")
    size: int | None = option(
        None, EXAMINE, "Side of the images the network sees (default: the weights' or the images' own).", ge=1, le=2048
    )
    resize: int | None = option(
        None, EXAMINE, "Shorter side before the central crop (default: as --size, or as the weights').", ge=1, le=2048
    )
    interpolation: Literal["nearest", "bilinear", "bicubic"] | None = option(
        None, EXAMINE, "nearest, bilinear or bicubic (default: the weights')."
    )


class NetworkConfig(SeedConfig, DeviceConfig, ImagesConfig):
    """What every command that examines networks must know, but for their weights."""

    model: str | None = option(
        None, EXAMINE, "Architecture: `ddeep list models`; or code of your own, FILE.py:NAME.", complete="models"
    )
    responses: Path | None = option(
        None, EXAMINE, "In place of model and images: a file of responses (safetensors, or a folder of .npy)."
    )
    dataset: str | None = option(
        None,
        EXAMINE,
        "Images: `ddeep list datasets`, hf:PATH, wds:PATTERN (default: the model's own).",
        complete="datasets",
    )
    ema: bool | None = option(
        None, EXAMINE, "Of a checkpoint with both, read the weights' moving average, or not (default: the average)."
    )
    head: str | None = option(None, EXAMINE, "Dotted name of the final linear layer (default: found).")
    precision: Literal["fp32", "bf16"] = option("fp32", COMPUTE, "fp32 or bf16.")
    batch_size: int = option(256, COMPUTE, "Images in a forward pass.", strict=True, ge=1, le=65536)
    execution: str | None = option(
        None,
        COMPUTE,
        "What shares out the images: `ddeep list executions` (default: torchrun where it has started this).",
        complete="executions",
    )
    skip_bad_images: bool = option(False, COMPUTE, "Leave out and count images that do not decode.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if self.model is None and self.responses is None:
            raise ConfigError("--model is missing. `ddeep list models` shows what there is; or give --responses FILE.")
        if self.responses is not None:
            given = [name for name in ("model", "dataset", "classes", "weights", "head") if getattr(self, name, None)]
            if given:
                raise ConfigError(f"--responses stands in place of model and images: leave out --{given[0]}.")
        return self


class SubjectConfig(NetworkConfig):
    """What every command that examines one network must know."""

    weights: str | None = option(None, EXAMINE, "A weights file, or the name of the model's own weights.")
