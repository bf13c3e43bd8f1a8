"""What regularizers promise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..registry.specs import RegularizerSpec, resolve
from .contract import Promise, broken_unless

_CLASSES = 3
_FILTERS = {"early": 4, "late": 6}


def _term(spec: RegularizerSpec) -> Callable[[dict[str, Tensor], Tensor], Any]:
    torch.manual_seed(0)  # a term with parameters of its own
    filters, extra = dict(_FILTERS), {}
    if spec.head:  # such a term reads the one layer that feeds the head
        filters = {"late": _FILTERS["late"]}
        extra = {"head": nn.Linear(_FILTERS["late"], _CLASSES)}
    built: Callable[[dict[str, Tensor], Tensor], Any] = resolve(spec.build)(_CLASSES, filters, **extra, **spec.options)
    return built


def _batch(labels: list[int], seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    random = torch.Generator().manual_seed(seed)
    responses = {
        name: torch.rand(len(labels), filters, generator=random, requires_grad=True)
        for name, filters in _FILTERS.items()
    }
    return responses, torch.tensor(labels)


def _is_a_finite_scalar(spec: RegularizerSpec, _data_dir: Path) -> None:
    term = _term(spec)
    for labels in ([0, 1, 2, 0, 1, 2], [1, 1, 1], [2]):
        value = term(*_batch(labels))
        broken_unless(
            isinstance(value, Tensor) and value.ndim == 0 and torch.isfinite(value),
            f"For a batch of the classes {labels} it returned {value!r}",
            "return a finite scalar tensor; 0 where it is not defined, as for a batch of one class",
        )


def _has_gradients(spec: RegularizerSpec, _data_dir: Path) -> None:
    responses, labels = _batch([0, 1, 2, 0, 1, 2])
    value = _term(spec)(responses, labels)
    broken_unless(value.requires_grad, "Its value has no gradient", "compute it from the responses with torch")
    gradients = torch.autograd.grad(value, list(responses.values()), allow_unused=True)
    broken_unless(
        any(gradient is not None for gradient in gradients)
        and all(gradient is None or torch.isfinite(gradient).all() for gradient in gradients),
        "Its gradient is missing or not finite",
        "keep roots, logarithms and divisions away from 0",
    )


def _ignores_order(spec: RegularizerSpec, _data_dir: Path) -> None:
    term = _term(spec)
    responses, labels = _batch([0, 1, 2, 0, 1, 2])
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    one = term(responses, labels).detach()
    other = term({name: r[order] for name, r in responses.items()}, labels[order]).detach()
    broken_unless(
        torch.allclose(one, other, rtol=1e-4, atol=1e-6),
        f"Another order of the same batch gives {float(other)}, not {float(one)}",
        "treat all images of a batch alike",
    )


def _is_deterministic(spec: RegularizerSpec, _data_dir: Path) -> None:
    term = _term(spec)
    one, other = (term(*_batch([0, 1, 2, 0, 1, 2])).detach() for _ in range(2))
    broken_unless(torch.equal(one, other), f"Two calls gave {one} and {other}", "draw no random numbers")


def _keeps_its_hands_off(spec: RegularizerSpec, _data_dir: Path) -> None:
    term = _term(spec)
    responses, labels = _batch([0, 1, 2, 0])
    before = {name: tensor.detach().clone() for name, tensor in responses.items()}
    term(responses, labels)
    broken_unless(
        all(torch.equal(tensor, before[name]) for name, tensor in responses.items()),
        "It changed the responses",
        "do not work in place on them",
    )


def _has_numeric_options(spec: RegularizerSpec, _data_dir: Path) -> None:
    for name, value in spec.options.items():
        broken_unless(
            isinstance(value, int | float) and not isinstance(value, bool),
            f"The option {name!r} has the default {value!r}",
            "make options numbers: `ddeep train --regularizer-options NAME=NUMBER` sets them",
        )


PROMISES = [
    Promise("its options are numbers", _has_numeric_options),
    Promise("it is a finite scalar for every batch", _is_a_finite_scalar),
    Promise("it has finite gradients", _has_gradients),
    Promise("it is deterministic", _is_deterministic),
    Promise("the order of a batch does not matter", _ignores_order),
    Promise("the responses stay as they were", _keeps_its_hands_off),
]
