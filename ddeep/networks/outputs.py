"""Which output of a network stands for which class of a dataset: by their names, as far as both have some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..data.images import Images
from ..errors import DataError

_SHOWN = 5


def name_outputs(classes: Sequence[str], outputs: int, own: Sequence[str], label: str) -> tuple[str, ...]:
    """Names of a network's ``outputs``, in which all of the dataset's ``classes`` occur unless those are numbers.

    ``own`` are the names that the weights bring along, if they do. Where a class has another spelling (``tabby_cat``;
    ``tabby, tabby cat``) it is the output whose first name is the same; numbers from 0 are outputs in their order.
    Raises DataError, which speaks of the weights as ``label``, where a class is no output.
    """
    names = _all_different(own) or tuple(classes)
    if len(names) != outputs:
        raise DataError(
            f"The dataset has {len(classes)} classes, but the weights {label!r} are for {outputs}. "
            "Choose a dataset with the classes the weights were trained on, or other weights."
        )
    if set(classes) <= set(names) or are_numbers(classes, outputs):
        return names
    return _renamed(classes, names, label)


def are_numbers(classes: Sequence[str], count: int) -> bool:
    """Whether a dataset calls its ``count`` classes 0, 1, …: it has no names for them."""
    return list(classes) == [str(at) for at in range(count)]


def with_names(images: Images, names: tuple[str, ...]) -> Images:
    """``images`` with the network's names for their classes, where they have none but numbers."""
    return replace(images, classes=names) if are_numbers(images.classes, len(names)) else images


def _all_different(names: Sequence[str]) -> tuple[str, ...]:
    """``names``, with its number behind each that several outputs share."""
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({at})" for at, name in enumerate(names))


def _renamed(classes: Sequence[str], names: Sequence[str], label: str) -> tuple[str, ...]:
    """``names`` with those of the dataset in place of the outputs that have the same first name."""
    wanted, given = list(map(_first_name, classes)), list(map(_first_name, names))
    if wanted == given:  # in their order, so that two outputs may share a name (ImageNet has two cranes)
        return tuple(classes)
    count = Counter(given)
    places = {name: at for at, name in enumerate(given) if count[name] == 1}
    stranger = next((name for name, first in zip(classes, wanted, strict=True) if first not in places), None)
    if stranger is not None or len(set(wanted)) < len(wanted):
        shown = ", ".join(map(repr, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
        found = f"is not among the {len(names)} outputs of {label!r}"
        raise DataError(f"The dataset's class {stranger or classes[0]!r} {found}: {shown}.")
    renamed = list(names)
    for name, first in zip(classes, wanted, strict=True):
        renamed[places[first]] = name
    return tuple(renamed)


def _first_name(name: str) -> str:
    """What comes before a comma or a parenthesis, in small letters, with spaces for underscores."""
    return name.partition(",")[0].partition(" (")[0].replace("_", " ").strip().casefold()
