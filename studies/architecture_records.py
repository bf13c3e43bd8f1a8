"""One architecture of timm or torchvision, examined as ddeep examines any network: what came out is a record."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import ddeep  # noqa: F401 - first: it repairs torchvision's import

# isort: split
import torch
import torchvision
from timm.models import get_pretrained_cfg, model_entrypoint
from torch import nn

from ddeep.networks.anatomy import Anatomy, LayerRow, describe_layers, find_anatomy
from ddeep.networks.trace import example_images
from ddeep.networks.trace import record as record_pass
from ddeep_plugins_builtin.models import timm_models, torchvision_models
from ddeep_plugins_builtin.models.one_head import JoinedHeads

CLASSES = 10
LARGEST = 40_000_000
SMALL = 64  # the side tried first where the network takes any: four positions left after a stride of 32
BYTES, SECONDS = 8 << 30, 120  # for one architecture


@dataclass(frozen=True)
class Record:
    """What one architecture showed. ``checked`` is "values" or "shapes"; ``inner`` of ``modules`` can be layers."""

    name: str
    family: str
    parameters: int = 0
    size: int = 0
    checked: str = ""
    head: str = ""
    layer: str = ""
    pool: str = ""
    filters: int = 0
    inner: int = 0
    modules: int = 0
    unreadable: str = ""
    problem: str = ""
    rewritten: bool = False

    @property
    def examined(self) -> bool:
        return bool(self.checked or self.problem)

    @property
    def works(self) -> bool:
        return bool(self.head and self.layer)


def all_names() -> list[str]:
    return [f"timm/{n}" for n in timm_models.names()] + [f"torchvision/{n}" for n in torchvision_models.names()]


def family_of(name: str) -> str:
    """The library's file that defines the architecture."""
    library, _, member = name.partition("/")
    if library == "timm":
        return f"timm/{model_entrypoint(member).__module__.rpartition('.')[2]}"
    return f"torchvision/{torchvision.models.get_model_builder(member).__module__.rpartition('.')[2]}"


def build(name: str) -> nn.Module:
    library, _, member = name.partition("/")
    return {"timm": timm_models, "torchvision": torchvision_models}[library].build(member, CLASSES).eval()


def sizes(name: str) -> list[int]:
    """The sides to try, in order."""
    library, _, member = name.partition("/")
    if library == "torchvision":
        return [SMALL, torchvision.models.get_model_weights(member).DEFAULT.transforms().crop_size[0]]
    config = get_pretrained_cfg(member)
    own = config.input_size[-1] if config else 224
    return [own] if config and config.fixed_input_size else [SMALL, own]


@contextmanager
def time_limit() -> Iterator[None]:
    """TimeoutError once the block has taken ``SECONDS`` of processor time."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it takes more than {SECONDS} seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def make_generic(module: nn.Module) -> None:
    """Noise where initialisation left zeros or ones, so that no two layers agree by being idle."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim <= 1 or not parameter.any():
                parameter.add_(0.1 * torch.randn_like(parameter))


def examine(name: str, largest: float = LARGEST) -> Record:
    """Examine by value, or beyond ``largest`` parameters only count them (``checked`` stays empty)."""
    family = family_of(name)
    try:
        with time_limit(), torch.device("meta"):
            parameters = sum(parameter.numel() for parameter in build(name).parameters())
    except Exception:  # cannot be built on the meta device
        parameters = 0
    if parameters > largest:
        return Record(name, family, parameters)
    try:
        with time_limit():
            module = build(name)
            make_generic(module)
            size, rows, found = first_that_runs(module, sizes(name))
    except Exception as error:
        return Record(name, family, parameters, problem=f"{type(error).__name__}: {error}".splitlines()[0][:200])
    filters = module.get_submodule(found.head).in_features if found.head and found.layer else 0
    return Record(
        name,
        family,
        sum(parameter.numel() for parameter in module.parameters()),
        size,
        "values",
        found.head or "",
        found.layer.name if found.layer else "",
        found.layer.pool if found.layer else "",
        filters or 0,
        *inner_layers(rows),
        found.problem,
        rewritten(module),
    )


def rewritten(module: nn.Module) -> bool:
    """Whether the family's build changed the library's network so that it has one linear head."""
    heads = (child for child in module.modules() if isinstance(child, nn.Sequential) and len(child) == 2)
    linear = any(isinstance(head[0], nn.Flatten) and isinstance(head[1], nn.Linear) for head in heads)
    return linear or isinstance(module, JoinedHeads)


def first_that_runs(module: nn.Module, candidates: Sequence[int]) -> tuple[int, list[LayerRow], Anatomy]:
    for size in candidates[:-1]:
        try:
            return size, *look(module, size)
        except TimeoutError:
            raise
        except Exception:  # too small for it, in whatever way
            continue
    return candidates[-1], *look(module, candidates[-1])


def look(module: nn.Module, size: int) -> tuple[list[LayerRow], Anatomy]:
    recording = record_pass(module, example_images(module, size))
    return describe_layers(recording), find_anatomy(recording)


def inner_layers(rows: Sequence[LayerRow]) -> tuple[int, int, str]:
    why = Counter(_kind(row.problem) for row in rows if row.problem)
    return len(rows) - sum(why.values()), len(rows), "; ".join(f"{count} {kind}" for kind, count in sorted(why.items()))


def _kind(problem: str) -> str:
    if "rows for" in problem:
        return "with other rows than images"
    if "axes" in problem:
        return "of one or more than four axes"
    return "returning no single tensor"


def examine_shapes(record_: Record, siblings: Sequence[Record]) -> Record:
    """Compare shapes alone, with the parts found by value in architectures of the same family."""
    try:
        size = sizes(record_.name)[-1]
        with time_limit():
            with torch.device("meta"):
                module = build(record_.name)
            example = torch.empty(2, 3, size, size, device="meta")
            logits, rows = module(example), describe_layers(record_pass(module, example))
    except Exception as error:
        return Record(**{**asdict(record_), "problem": f"{type(error).__name__}: {error}".splitlines()[0][:200]})
    shapes = {row.name: row for row in rows}
    modules = dict(module.named_modules())
    seen = Counter((s.head, s.layer, s.pool) for s in siblings if s.works and s.checked == "values")
    facts: dict[str, Any] = {"size": size, "checked": "shapes", "rewritten": rewritten(module)}
    facts |= dict(zip(("inner", "modules", "unreadable"), inner_layers(rows), strict=True))
    for (head, layer, pool), _ in seen.most_common():
        linear = modules.get(head)
        given = shapes[head].shape if head in shapes else None  # (N, C), or at every position (N, …, C)
        if not isinstance(linear, nn.Linear) or given is None or (given[0], given[-1]) != tuple(logits.shape):
            continue
        if layer == f"{head}:input" or (layer in shapes and shapes[layer].filters == linear.in_features):
            parts = {"head": head, "layer": layer, "pool": pool, "filters": linear.in_features}
            return Record(**{**asdict(record_), **facts, **parts})
    problem = _problem_of_siblings(siblings) or "head and layer of no smaller architecture of its family fit it"
    return Record(**{**asdict(record_), **facts, "problem": problem})


def _problem_of_siblings(siblings: Sequence[Record]) -> str:
    problems = Counter(s.problem for s in siblings if s.checked == "values" and s.problem)
    return f"as its smaller siblings: {problems.most_common(1)[0][0]}" if problems else ""
