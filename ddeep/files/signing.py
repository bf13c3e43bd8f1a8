"""Whether this user's ddeep has written something here: a key of the user's own signs it, and nobody else has that."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from platformdirs import user_state_path

from .locks import temporary_folder
from .regular import read_bounded

_BYTES = 32


def sign(text: str) -> str | None:
    """A signature of ``text`` in hex, or None where no key can be kept: nothing is then taken for the user's own."""
    if _key() is None:
        with suppress(OSError):
            _make_key()
    key = _key()
    return None if key is None else hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def is_signed(text: str, signature: object) -> bool:
    """Whether ``signature`` is what ``sign`` gave for ``text``, to this user on this machine."""
    key = _key()
    if key is None or not isinstance(signature, str) or not signature.isascii():
        return False
    return hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), signature)


def _place() -> Path:
    return user_state_path("ddeep") / "key"


def _key() -> bytes | None:
    try:
        key = read_bounded(_place(), _BYTES)
    except (OSError, ValueError):
        return None
    return key if len(key) == _BYTES else None


def _make_key() -> None:
    """Whole or not at all, and never in place of another command's."""
    place = _place()
    place.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(place.parent) as folder:
        descriptor = os.open(folder / place.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(descriptor)
        os.link(folder / place.name, place)
