"""The built-in models."""

from __future__ import annotations

from collections.abc import Iterator

from ddeep.plugin import ModelFamily, ModelSpec, hookimpl

from . import cifar_specs, families


@hookimpl
def ddeep_models() -> Iterator[ModelSpec | ModelFamily]:
    yield from cifar_specs.specs()
    yield from families.specs()
