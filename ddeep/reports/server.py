"""A run's page on this machine alone, which looks at images that its reader drops on it.

What reaches the server is not trusted: other pages in the reader's browser can send requests here. So it listens on the
loopback address, answers only under its own names (against DNS rebinding) and to its own page, and reads no more of a
body than an image may have.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ..data.pictures import PictureBytes
from ..errors import ConfigError, DataError, DdeepError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from .looking import Looker

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost")
MOST_BYTES = 32 * 2**20  # of an image
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def application(page: str, looker: Looker) -> Starlette:
    """The page at ``/``, and what ``looker`` sees of an image's bytes that are posted to ``/look``.

    Raises ConfigError where the server's library is not installed.
    """
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import HTMLResponse, JSONResponse
        from starlette.routing import Route
    except ImportError as error:
        raise ConfigError(f"Serving needs {error.name}: pip install 'ddeep[serve]'") from None

    async def show(_request: Request) -> Response:
        return HTMLResponse(page, headers=_HEADERS)

    async def look(request: Request) -> Response:
        try:
            refuse_strangers(request)
            body = await bounded(request)
            document = await run_in_threadpool(look_at, looker, body)
        except DdeepError as error:
            return JSONResponse({"error": str(error)}, 400, headers=_HEADERS)
        return JSONResponse(document, headers=_HEADERS)

    return Starlette(
        routes=[Route("/", show), Route("/look", look, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)],
    )


def refuse_strangers(request: Request) -> None:
    """Raise DataError for a request that another page has sent."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    own = f"http://{request.headers.get('host', '')}"
    # A type that no form can send: browsers ask first before they send it across origins, and get no leave here.
    plain = request.headers.get("content-type") == "application/octet-stream"
    if origin not in (None, own) or site != "same-origin" or not plain:
        raise DataError("Only this server's own page may ask.")


async def bounded(request: Request) -> bytes:
    """The body of a request. Raises DataError, before more is read, where it is larger than an image may be."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise DataError(f"The image has more than {MOST_BYTES >> 20} MiB. Make it smaller.")
    return bytes(body)


def look_at(looker: Looker, body: bytes) -> dict[str, Any]:
    """What is seen of an image, which is never on disk."""
    return looker.look(PictureBytes(body, "the image"))


def bound(port: int) -> socket.socket:
    """A socket of the loopback address; port 0 is any that is free. Raises ConfigError for one that is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen()  # who asks before the server has started, waits
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"Port {port} cannot be had: {error.strerror}. Choose another, or --port 0 for any."
        ) from None
    return listening


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer until interrupted."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, limit_concurrency=16, timeout_keep_alive=5)
    uvicorn.Server(config).run(sockets=[listening])
