"""Downloads: announced, over https only, checked against a known hash, whole or not there, never when offline."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..console import clean, note, progress
from ..errors import DdeepError
from .atomic import written_whole

_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 18
_MAX_BYTES = 16 * 1024**3  # where the server does not say how much it sends


class DownloadError(DdeepError):
    """Something that could not be fetched. Whoever needs it adds what to put where."""


_named_by_file: ContextVar[bool] = ContextVar("named_by_file", default=False)


def offline() -> bool:
    """Whether downloads are forbidden: ``DDEEP_OFFLINE`` is set to anything but 0, or inside ``nothing_fetched``."""
    return _named_by_file.get() or os.environ.get("DDEEP_OFFLINE", "") not in ("", "0")


@contextmanager
def nothing_fetched() -> Iterator[None]:
    """Forbid downloads while the block opens what a file names, and not the user: the file may be a stranger's."""
    token = _named_by_file.set(True)
    try:
        yield
    finally:
        _named_by_file.reset(token)


def download(url: str, sha256: str, target: Path, what: str) -> Path:
    """Fetch ``url`` to ``target`` and return ``target``.

    ``sha256`` is the expected hash in hex, or the first eight or more of its digits, as published file names carry
    them; ``what`` names the thing in messages. ``target`` appears only when it is whole and hashes as it should.
    There is one attempt, and it ends after 30 seconds without a byte.
    """
    if offline():
        why = (
            "what a file names is not fetched: let a command of your own name it first, such as ddeep run"
            if _named_by_file.get()
            else "downloads are forbidden (--offline or DDEEP_OFFLINE)"
        )
        raise DownloadError(f"{what} is not here, and {why}.")
    if len(sha256) < 8:
        raise DownloadError(f"{what} has no known hash to check a download against.")
    try:
        with _answer(url) as answer:
            _store(answer, sha256.lower(), target, what)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"Cannot download {what} from {url}: {_reason(error)}.") from error
    return target


def matches(found: str, expected: str) -> bool:
    """Whether a hex hash is the expected one, or begins with it."""
    return found.startswith(expected.lower())


def _answer(url: str) -> http.client.HTTPResponse:
    _require_https(url)
    context = ssl.create_default_context()
    opener = urllib.request.build_opener(_HttpsRedirects, urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, headers={"User-Agent": "ddeep", "Accept-Encoding": "identity"})
    answer: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT)
    return answer


def _store(answer: http.client.HTTPResponse, sha256: str, target: Path, what: str) -> None:
    promised = int(answer.headers.get("Content-Length") or 0)
    size = f" ({promised / 1e6:,.1f} MB)" if promised else ""
    note(f"Downloading {what}{size} from {answer.url} to {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    limit = min(promised or _MAX_BYTES, shutil.disk_usage(target.parent).free)
    digest, received = hashlib.sha256(), 0
    with written_whole(target) as temporary, temporary.open("wb") as file, progress(what, promised or None) as advance:
        for chunk in _chunks(answer, what):
            received += len(chunk)
            if received > limit:
                raise DownloadError(f"{what} from {answer.url} is larger than announced, or than the free space.")
            digest.update(chunk)
            file.write(chunk)
            advance(len(chunk))
        if received < promised:
            raise DownloadError(f"The download of {what} broke off after {received:,} of {promised:,} bytes.")
        if not matches(digest.hexdigest(), sha256):
            raise DownloadError(
                f"What {answer.url} sent is not {what}: its sha256 is {digest.hexdigest()}, expected {sha256}."
            )


def _chunks(answer: http.client.HTTPResponse, what: str) -> Iterator[bytes]:
    try:
        while chunk := answer.read(_CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"The download of {what} from {answer.url} broke off: {_reason(error)}.") from error


def _require_https(url: str) -> None:
    if urlsplit(url).scheme != "https":
        raise DownloadError(f"{url} is not an https address. Downloads go over https only.")


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not out of https."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        _require_https(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return _reason(error.reason) if isinstance(error.reason, Exception) else clean(error.reason)
    return clean(" ".join(str(error).split()) or type(error).__name__)
