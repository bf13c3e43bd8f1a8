"""A look at a pickle before it is loaded: what it would build, step by step, without building anything.

torch loads only tensors and plain containers, but even those can be made to hang or to crash Python: tuples that hold
one another twice at each of sixty levels take 2⁶⁰ steps to hash, a million nested ones overflow the stack.
"""

from __future__ import annotations

import pickletools
from io import BufferedReader, BytesIO

MOST_STEPS = 500_000  # a state dict takes about forty for each tensor
_MOST_PARTS = 1_000_000  # of one object, those counted again that it holds again
_DEEPEST = 32

# Calls that torch allows, that take as much memory or time as the pickle likes, and that no state dict makes.
_REFUSED = frozenset(["bytearray", "encode"])
_FILLS = frozenset(["APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"])  # what is there already
_MARK = (-1, -1)


class BoundsError(ValueError):
    """The pickle would build something that no checkpoint holds."""


class NumpyError(BoundsError):
    """The pickle holds single numbers of numpy's, made by calls that no state dict needs."""


def check_pickle(file: BufferedReader | BytesIO) -> None:
    """Read one pickle from ``file`` and leave the file behind it.

    Raises BoundsError for one that is too long or would build too much, ValueError for one that is none.
    """
    stack: list[tuple[int, int]] = []  # parts and depth of every object
    memo: dict[object, tuple[int, int]] = {}
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        if steps > MOST_STEPS:
            raise BoundsError(f"more than {MOST_STEPS:,} steps")
        name = opcode.name
        try:
            if name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
            elif name == "DUP":
                stack.append(stack[-1])
            elif name == "POP":
                stack.pop()
            elif name == "MARK":
                stack.append(_MARK)
            elif not opcode.stack_before:  # most steps: a constant, a name, an empty container
                stack += [(1, 1)] * len(opcode.stack_after)
            else:
                _take(opcode, stack)
        except LookupError:
            raise ValueError("an object is missing") from None
        if name == "GLOBAL" and str(argument).startswith("numpy") and str(argument).endswith(" scalar"):
            raise NumpyError("it holds numpy numbers")
        if name == "GLOBAL" and str(argument).rpartition(" ")[2] in _REFUSED:
            raise BoundsError(f"it asks to run {str(argument).replace(' ', '.')}")


def _take(opcode: pickletools.OpcodeInfo, stack: list[tuple[int, int]]) -> None:
    """What ``opcode`` makes of the objects on the stack."""
    taken: list[tuple[int, int]] = []
    before = opcode.stack_before
    if pickletools.markobject in before:
        while (top := stack.pop()) is not _MARK:
            taken.append(top)
        before = before[: before.index(pickletools.markobject)]
    taken += [stack.pop() for _ in before]
    if not opcode.stack_after:
        return
    inside = taken[:-1] if opcode.name in _FILLS else taken
    filled = taken[-1][1] if opcode.name in _FILLS else 0
    parts = 1 + sum(part for part, _ in taken)
    depth = max(filled, 1 + max((deep for _, deep in inside), default=0))
    if parts > _MOST_PARTS or depth > _DEEPEST:
        raise BoundsError("objects nested too deeply")
    stack += [(parts, depth)] * len(opcode.stack_after)
