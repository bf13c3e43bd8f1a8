"""A plain network as a file: safetensors (its weights), pt2 (a program of torch) or ONNX."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..files.atomic import written_whole
from ..files.json import json_text
from ..files.tensors import write_tensors
from ..networks.hooks import forward_hooks
from ..networks.layer import INPUT
from ..networks.logits import read_logits

Format = Literal["safetensors", "pt2", "onnx"]
SUFFIX: dict[Format, str] = {"safetensors": ".safetensors", "pt2": ".pt2", "onnx": ".onnx"}
FACTS = "ddeep_export"  # the key, in a file's metadata, of what it says of itself
OLDEST_OPSET, OPSET = 18, 20  # torch's exporter writes none older
TOLERANCE = 1e-4  # of a file's logits, relative to the largest


def write_network(
    module: nn.Module, example: Tensor, path: Path, kind: Format, facts: Mapping[str, Any], opset: int = OPSET
) -> float | None:
    """Write ``module`` (in eval mode, on the CPU) with ``facts`` in the file's metadata.

    Returns by how much the file's logits of ``example`` differ from the module's: the largest difference as a share of
    the largest logit, from the file as read back. None for safetensors, which hold no program. The batch axis of
    programs is free. Raises ConfigError where an extra is missing or the network cannot be exported, and before
    anything is left at ``path`` where the logits differ by more than 1e-4.
    """
    if kind == "onnx":
        check_onnx(opset)
    if kind == "safetensors":
        write_tensors(module.state_dict(), path, {FACTS: json.dumps(json.loads(json_text(facts)))})
        return None
    write: Callable[[Path], None]
    module = _giving_logits(module, example)
    program = _exported(module, example)
    if kind == "pt2":

        def write(place: Path) -> None:
            content = io.BytesIO()  # torch's own way to a file ends the process where the disk is full
            torch.export.save(program, content, extra_files={FACTS: json_text(facts)})
            place.write_bytes(content.getbuffer())

    else:

        def write(place: Path) -> None:
            _write_onnx(program, place, facts, opset)

    with written_whole(path) as temporary:
        write(temporary)
        difference = _difference(module, example, _runner(temporary, kind))
        if not difference <= TOLERANCE:
            raise ConfigError(
                f"The {kind} file's logits differ from the network's by {difference:.1e} of the largest, more than "
                f"{TOLERANCE:.0e}: it is not written. Try another --to."
            )
    return difference


class LogitsAlone(nn.Module):
    """A network that returns more than its logits, or names them, without all else."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return read_logits(self.module(images))


def _giving_logits(module: nn.Module, example: Tensor) -> nn.Module:
    with torch.no_grad():
        return module if isinstance(module(example), Tensor) else LogitsAlone(module).eval()


def check_onnx(opset: int = OPSET) -> None:
    """Raise ConfigError where ONNX cannot be written or run here, or ``opset`` is too old or not known."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"ONNX needs {', '.join(missing)}: pip install 'ddeep[onnx]'")
    if opset < OLDEST_OPSET:
        raise ConfigError(
            f"Opset {opset} is too old: torch writes {OLDEST_OPSET} and newer. Leave --opset out for {OPSET}."
        )
    from onnx.defs import onnx_opset_version

    if opset > onnx_opset_version():
        raise ConfigError(
            f"There is no opset {opset}: the newest that the installed onnx knows is {onnx_opset_version()}. Leave "
            f"--opset out for {OPSET}."
        )


def read_facts(path: Path) -> dict[str, Any]:
    """What an exported file says of itself. Raises ConfigError where it says nothing."""
    text: str | None = None
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(FACTS)
    elif path.suffix == ".pt2":
        extra = {FACTS: ""}
        torch.export.load(path, extra_files=extra)
        text = extra[FACTS]
    elif path.suffix == ".onnx":
        import onnx

        text = next((p.value for p in onnx.load(path).metadata_props if p.key == FACTS), None)
    if not text:
        raise ConfigError(f"{path} is no file that `ddeep export` has written.")
    found: dict[str, Any] = json.loads(text)
    return found


def _exported(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    try:
        with _quiet():
            return _traced(module, example)
    except Exception as error:  # of any kind, from deep inside torch
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"torch.export cannot trace {type(module).__name__}{_where(module, example)}: {reason[:200]} Export its "
            "weights: --to safetensors."
        ) from error


def _traced(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    with torch.no_grad():
        batch = torch.export.Dim("batch")
        return torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False)


def _where(module: nn.Module, example: Tensor) -> str:
    """The submodule in which tracing ends, from tracing once more."""
    inside: list[str] = []

    def enter(name: str, kind: str, *_: Any) -> None:
        inside.append(f" in {name} ({kind})")

    def leave(*_: Any) -> None:
        inside.pop()

    hooks: dict[str, Callable[..., None]] = {}
    for name, part in module.named_modules():
        if name:
            hooks |= {name + INPUT: partial(enter, name, type(part).__name__), name: leave}
    with _quiet(), suppress(Exception), forward_hooks(module, hooks):
        _traced(module, example)
    return inside[-1] if inside else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """While the block runs torch warns of nothing, logs nothing and prints no graphs: what it raises says enough."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _write_onnx(program: torch.export.ExportedProgram, place: Path, facts: Mapping[str, Any], opset: int) -> None:
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                input_names=["images"],
                output_names=["logits"],
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # of any kind: an operation that ONNX has not, for one
        last = str(error.__cause__ or error).strip().splitlines()
        raise ConfigError(
            f"torch cannot write this network as ONNX: {(last or [type(error).__name__])[0][:200]} Export its program, "
            "--to pt2, or its weights, --to safetensors."
        ) from error
    assert made is not None
    written = made.model.opset_imports[""]
    if written != opset:  # what cannot be brought to an opset is left at another, with a line in a log
        raise ConfigError(
            f"This network cannot be written with opset {opset}: it stays at {written}. Leave --opset out for {OPSET}."
        )
    made.model.metadata_props[FACTS] = json_text(facts)
    made.save(place, external_data=False)


def _runner(path: Path, kind: Format) -> Callable[[Tensor], Tensor]:
    """What runs the file, as somebody without ddeep would."""
    if kind == "pt2":
        loaded = torch.export.load(path).module()
        return lambda images: loaded(images)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@torch.no_grad()
def _difference(module: nn.Module, example: Tensor, run: Callable[[Tensor], Tensor]) -> float:
    """Over batches of the example's size and of one image, as the batch axis is free."""
    found = 0.0
    for images in (example, example[:1]):
        wanted = module(images)
        found = max(found, float((run(images) - wanted).abs().max() / wanted.abs().max().clamp_min(1e-12)))
    return found
