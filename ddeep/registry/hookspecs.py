"""The six hooks. A plugin implements any of them and yields specs."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from .specs import (
    DatasetFamily,
    DatasetSpec,
    ExecutionSpec,
    MetricSpec,
    ModelFamily,
    ModelSpec,
    RegularizerSpec,
    StrategySpec,
)

PROJECT = "ddeep"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def ddeep_models() -> Iterable[ModelSpec | ModelFamily]:
    """Yield architectures, or whole families of them."""
    raise AssertionError("a hook specification is never called")


@hookspec
def ddeep_datasets() -> Iterable[DatasetSpec | DatasetFamily]:
    """Yield datasets of labelled images, or whole families of them."""
    raise AssertionError("a hook specification is never called")


@hookspec
def ddeep_strategies() -> Iterable[StrategySpec]:
    """Yield filter-selection strategies."""
    raise AssertionError("a hook specification is never called")


@hookspec
def ddeep_metrics() -> Iterable[MetricSpec]:
    """Yield metrics of layers and selections."""
    raise AssertionError("a hook specification is never called")


@hookspec
def ddeep_regularizers() -> Iterable[RegularizerSpec]:
    """Yield terms of the training loss."""
    raise AssertionError("a hook specification is never called")


@hookspec
def ddeep_executions() -> Iterable[ExecutionSpec]:
    """Yield engines that run a pass in many processes."""
    raise AssertionError("a hook specification is never called")
