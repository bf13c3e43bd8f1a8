"""What a plugin yields: frozen dataclasses. Nothing here imports torch, and no factory runs until it is needed.

Every factory field takes a callable or the text ``"package.module:name"``, imported on first use, so that listing
specs costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field
from importlib import import_module
from typing import Any, Literal

from ..errors import PluginError

Reference = Callable[..., Any] | str
Pool = Literal["mean", "token", "none"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


def resolve(reference: Reference) -> Callable[..., Any]:
    """Return the callable that ``reference`` is or names (``"package.module:name"``).

    Raises PluginError where there is no such thing, or a library that its module needs is missing.
    """
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(
            f"Cannot load {reference!r}, which a plugin names: {error}. Install what is missing, or ask its author."
        ) from error
    return found


def takes_reference(field: Field[Any]) -> bool:
    """Whether a spec's field takes a callable or its name."""
    return str(field.type).startswith("Reference")


@dataclass(frozen=True)
class Spec:
    """What all specs share: the name users type, one line about it, and where it comes from (paper, equation)."""

    name: str
    summary: str = field(default="", kw_only=True)
    source: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class WeightsSpec(Spec):
    """Trained parameters and the preprocessing they expect.

    ``file`` names a packaged file as ``"package:path/in/it"``; ``url`` an https address, with its ``sha256``;
    ``state`` a callable returning a state dict, for weights that travel inside another library.
    ``filename`` is what the file is called under ``data/weights/``, looked for there before any download.
    ``size`` is the side the network sees, ``resize`` the shorter side before the central crop (default: ``size``
    for images of any shape), or with ``squash`` both sides. ``classes`` gives the order of the outputs where it is not
    the dataset's own. Without ``dataset`` the weights are for any whose classes theirs are.
    """

    dataset: str | None = field(default=None, kw_only=True)
    mean: tuple[float, ...] = field(kw_only=True)
    std: tuple[float, ...] = field(kw_only=True)
    size: int = field(kw_only=True)
    resize: int | None = field(default=None, kw_only=True)
    interpolation: Interpolation = field(default="bilinear", kw_only=True)
    squash: bool = field(default=False, kw_only=True)
    file: str | None = field(default=None, kw_only=True)
    url: str | None = field(default=None, kw_only=True)
    sha256: str | None = field(default=None, kw_only=True)
    filename: str | None = field(default=None, kw_only=True)
    state: Reference | None = field(default=None, kw_only=True)
    num_classes: int | None = field(default=None, kw_only=True)
    classes: tuple[str, ...] | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class ModelSpec(Spec):
    """An architecture: ``build(num_classes)`` returns an ``nn.Module`` whose output is logits ``(N, C)``.

    ``head`` is the final ``nn.Linear`` and ``layer`` the submodule whose pooled output feeds it, both dotted names;
    left out, they are found by tracing. ``pool`` says how the layer's output becomes one number per filter.
    Where ``build`` rewrites a library's network, ``convert(state, num_classes)`` makes a checkpoint of the library's
    one of it.
    """

    build: Reference = field(kw_only=True)
    convert: Reference | None = field(default=None, kw_only=True)
    head: str | None = field(default=None, kw_only=True)
    layer: str | None = field(default=None, kw_only=True)
    pool: Pool = field(default="mean", kw_only=True)
    weights: tuple[WeightsSpec, ...] = field(default=(), kw_only=True)
    dataset: str | None = field(default=None, kw_only=True)
    k: int | float = field(default=5, kw_only=True)


@dataclass(frozen=True)
class ModelFamily(Spec):
    """Many architectures under one prefix, resolved lazily: ``name/<model>``.

    ``names()`` lists the models without the prefix; ``resolve(model)`` returns the ModelSpec of one of them, or raises
    KeyError for a name it does not know.
    """

    names: Reference = field(kw_only=True)
    resolve: Reference = field(kw_only=True)


@dataclass(frozen=True)
class DatasetSpec(Spec):
    """Labelled images: ``open(data_dir, split)``, split ``"train"`` or ``"test"``, returns Images (ddeep.data.images).

    ``flip`` says whether a mirrored image still is one of its class, so that training mirrors half of them by default.
    With ``ordered_by_user``, ``open`` also takes ``classes=``, the names of the class folders in the order of the
    network's outputs (``--classes``), or None.
    """

    open: Reference = field(kw_only=True)
    num_classes: int | None = field(default=None, kw_only=True)
    flip: bool = field(default=True, kw_only=True)
    ordered_by_user: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class DatasetFamily(Spec):
    """Datasets that a format or a place provides, each named by where it is: ``name:<place>``, a path for one.

    ``resolve(place)`` returns the DatasetSpec of one of them; what is wrong with the place may wait until it is opened.
    """

    resolve: Reference = field(kw_only=True)


@dataclass(frozen=True)
class StrategySpec(Spec):
    """A way to score (class, filter) pairs.

    ``needs(ks)`` returns the statistics that selecting for every k in ``ks`` takes (default: none);
    ``select(evidence, k, context)`` returns scores ``(C, K)``, larger is better, or a Selection. Scores are computed
    once for all k unless the spec says ``per_k``. Where one computation serves several k, a spec gives ``select_all``
    instead: ``select_all(evidence, ks, context)`` returns scores or a Selection for each, by k. With ``budgets`` it
    keeps to ``context.budget`` itself; else all filters' scores are narrowed to those of a common pool. With
    ``counts_images`` whole scores count train images of the class, so that readers are told of how many. The flags are
    promises to the user and to the contract checks.
    """

    select: Reference | None = field(default=None, kw_only=True)
    select_all: Reference | None = field(default=None, kw_only=True)
    needs: Reference | None = field(default=None, kw_only=True)
    non_negative: bool = field(default=False, kw_only=True)
    stochastic: bool = field(default=False, kw_only=True)
    approximate: bool = field(default=False, kw_only=True)
    per_k: bool = field(default=False, kw_only=True)
    budgets: bool = field(default=False, kw_only=True)
    learned: bool = field(default=False, kw_only=True)
    gradients: bool = field(default=False, kw_only=True)
    head_only: bool = field(default=False, kw_only=True)
    fractions: bool = field(default=False, kw_only=True)
    counts_images: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if (self.select is None) == (self.select_all is None):
            raise PluginError(
                f"The strategy {self.name!r} has {'no' if self.select is None else 'both'} `select` and `select_all`. "
                "Give one: `select` answers for one k, `select_all` for several at once."
            )


@dataclass(frozen=True)
class MetricSpec(Spec):
    """A figure or table of a layer, or of a selection.

    ``needs(split)`` returns the statistics it takes of ``"train"`` or ``"test"`` (default: none);
    ``measure(evidence, selection, context)`` returns JSON-ready data, ``evidence`` holding ``.train`` and ``.test``.
    ``of`` says whether the figure is of a layer, of a selection, or of filters: of those that a selection uses, or all
    of the layer where there is none. ``always`` says whether every run shows it, ``compared`` whether a comparison does
    for each of its selections, ``head_only`` whether it makes sense only at the layer that feeds the head,
    ``stochastic`` whether it draws random numbers.
    Where ``measure`` returns a table, ``headline`` is the key of the one number that stands for it in figures.
    It sees what it declares and nothing else: ``responses`` names the splits whose kept responses it reads, and with
    ``per_k`` its statistics depend on the selections, so that ``needs(split, ks)`` is told their numbers of filters per
    class. ``reruns`` says that it runs the network over the test split again; ``measure_all(evidence, selections,
    context)``, a figure for each, then saves a run for every selection, or what else need be done once; with ``per_k``
    it gets the selections of one k. With ``option`` (its default) users may
    write ``name:number``, or ``name:text`` where the default is text; ``needs`` and ``measure`` then take it as the
    keyword ``option``.
    """

    measure: Reference = field(kw_only=True)
    needs: Reference | None = field(default=None, kw_only=True)
    measure_all: Reference | None = field(default=None, kw_only=True)
    of: Literal["layer", "selection", "filters"] = field(default="selection", kw_only=True)
    always: bool = field(default=False, kw_only=True)
    compared: bool = field(default=False, kw_only=True)
    head_only: bool = field(default=False, kw_only=True)
    stochastic: bool = field(default=False, kw_only=True)
    headline: str | None = field(default=None, kw_only=True)
    responses: tuple[Literal["train", "test"], ...] = field(default=(), kw_only=True)
    per_k: bool = field(default=False, kw_only=True)
    reruns: bool = field(default=False, kw_only=True)
    option: int | float | str | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class RegularizerSpec(Spec):
    """A term of the training loss: ``build(num_classes, filters, **options)`` returns a callable.

    ``filters`` maps each layer to its number of filters; the callable takes ``(responses, labels)``, responses
    ``{layer: (N, K)}``, and returns a scalar. An ``nn.Module`` with parameters is trained along. ``layers`` are the
    default names or globs. With ``head``, build also takes ``head=``, the network's final linear layer, and the default
    is the layer that feeds it. ``published`` maps names of tensors that others' checkpoints hold beside the network to
    the parameters that they are.
    """

    build: Reference = field(kw_only=True)
    published: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    layers: tuple[str, ...] = field(default=(), kw_only=True)
    options: Mapping[str, float] = field(default_factory=dict, kw_only=True)
    head: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class ExecutionSpec(Spec):
    """An engine that runs a pass over the images in many processes, of one machine or many.

    ``gather(work)`` returns the evidence by layer, ``work`` being a ``ddeep.plugin.Work``: ``work.worker()`` can be
    sent anywhere, its ``gather(number)`` is called there for every number below ``of``, and what
    ``work.merged(results)`` makes of all that they gave is what to return.
    """

    gather: Reference = field(kw_only=True)


Specs = Iterable[Spec]
