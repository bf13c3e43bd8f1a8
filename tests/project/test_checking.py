"""Annotations are checked in every test, of a function that is called without end in its first calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from jaxtyping import TypeCheckError

from ddeep.heads._right import which_right
from ddeep.selections.selection import Selection
from tests.support import checking

CALLS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "a function": (
        lambda: which_right(torch.zeros(1, 2, 3), torch.zeros(3, dtype=torch.int64)),
        lambda: which_right(torch.zeros(1, 2, 3), torch.zeros(4, dtype=torch.int64)),
    ),
    "a class method": (lambda: Selection.of([[0]], 2), lambda: Selection.of([[0]], "2")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", CALLS)
def test_the_first_calls_are_checked(name: str) -> None:
    right, wrong = CALLS[name]
    right()
    with pytest.raises(TypeCheckError):
        wrong()
    for _ in range(2 * checking.MOST):
        right()
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whatever comes of it
        wrong()
    assert not isinstance(raised.value, TypeCheckError)
    checking.check_again()
    with pytest.raises(TypeCheckError):
        wrong()
