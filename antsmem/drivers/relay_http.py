"""One HTTP exchange with a server that is not trusted: bounded in time and size, without redirects.

Over the standard library's client, whose every surprise is switched off: no proxy from the environment, no
cookies, no compression, nothing followed.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from antsmem.core.errors import BackendError, IntegrityError
from antsmem.core.record import field, record

SECONDS: Final = 20.0
_PIECE: Final = 1 << 16


@record
class Answer:
    """What came back: `fields` with lower-case names."""

    status: int
    body: bytes = field(repr=False)
    fields: Mapping[str, str] = field(default_factory=dict)


@record
class Bounds:
    """How long one exchange may take, all in all, and how large its answer may be: 0 where its body is not wanted,
    and not read."""

    size_bytes: int
    seconds: float = SECONDS


def exchange(
    method: str, url: str, bounds: Bounds, body: bytes = b"", fields: Mapping[str, str] | None = None
) -> Answer:
    """The answer to one request. `url` is `https://…`, or `http://…`, which the caller allows for this machine
    only.

    `BackendError`: nothing answers, or not in time. `IntegrityError`: more bytes than `bounds` allow, or no HTTP.
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    connection = _connection(parts.scheme, parts.netloc, bounds.seconds)
    held: list[socket.socket] = []
    # The socket's own time-out starts anew with every byte: a slow drip would never end.
    watchdog = threading.Timer(bounds.seconds, _cut, [connection, held])
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.connect()
        held.append(connection.sock)
        target = parts.path or "/"
        sent = {"Accept-Encoding": "identity", "User-Agent": "antsmem", "Connection": "close", **(fields or {})}
        connection.request(method, target + (f"?{parts.query}" if parts.query else ""), body or None, sent)
        with connection.getresponse() as answer:
            content = _read(answer, bounds.size_bytes, origin) if bounds.size_bytes else b""
            if answer.getheader("Content-Encoding", "identity") != "identity":
                raise IntegrityError(f"`{origin}` sent a compressed answer, which was not asked for", hint=_HINT)
            return Answer(answer.status, content, {name.lower(): value for name, value in answer.getheaders()})
    except (OSError, http.client.IncompleteRead, http.client.RemoteDisconnected) as error:
        raise BackendError(
            f"`{origin}` does not answer to {method}: {type(error).__name__}", hint=_HINT
        ) from error
    except (http.client.HTTPException, ValueError) as error:
        if not watchdog.is_alive():
            raise BackendError(f"`{origin}` does not answer to {method} in time", hint=_HINT) from error
        raise IntegrityError(f"what answers at `{origin}` does not speak HTTP", hint=_HINT) from error
    finally:
        watchdog.cancel()
        connection.close()


def _connection(scheme: str, netloc: str, seconds: float) -> http.client.HTTPConnection:
    if scheme == "https":
        import ssl

        return http.client.HTTPSConnection(netloc, timeout=seconds, context=ssl.create_default_context())
    return http.client.HTTPConnection(netloc, timeout=seconds)


def _cut(connection: http.client.HTTPConnection, held: list[socket.socket]) -> None:
    for each in held or [connection.sock]:
        if each is not None:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _read(answer: http.client.HTTPResponse, limit: int, origin: str) -> bytes:
    """The whole body. A connection that ends early must not pass for a shorter body."""
    wanted = answer.length
    if wanted is None and not answer.chunked:
        raise http.client.IncompleteRead(b"")
    content = bytearray()
    while piece := answer.read(min(_PIECE, limit + 1 - len(content))):
        content += piece
        if len(content) > limit:
            raise IntegrityError(f"`{origin}` sent more than {limit} bytes: not read", hint=_HINT)
    if wanted is not None and len(content) != wanted:
        raise http.client.IncompleteRead(bytes(content), wanted - len(content))
    return bytes(content)


_HINT: Final = "is the URL right? is the relay running?"
