"""Run a relay: its directory, its key, its socket, until a signal ends it."""

from __future__ import annotations

import base64
import gc
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from antsmem.core.clock import now_ns
from antsmem.core.disk import locked, make_private_dir, read_file, write_file
from antsmem.core.errors import DriverMissingError, IntegrityError, NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.identity.handle import is_loopback, relay_url
from antsmem.identity.signing import SEED_BYTES, SigningKey
from antsmem.service.relay import MAX_BODY_BYTES, RelayService
from antsmem.service.relay_store import RelayStore

_THREADS: Final = 8
_CONNECTIONS: Final = 500
_QUIET_SECONDS: Final = 20
_MAX_HEADER_BYTES: Final = 16 << 10


@record
class Listening:
    """A relay that takes requests: where, what it calls itself, and the public key that signs its answers."""

    address: str
    url: str
    key: bytes


def serve(listen: str, folder: Path, url: str, ready: Callable[[Listening], None]) -> None:
    """Run the relay whose data is in `folder` at `listen` (`HOST:PORT`, port 0: any free one) until SIGTERM or
    SIGINT. It is reached at `url`; empty: at `listen` itself, on this machine. `ready` is called when it takes
    requests.

    It speaks plain HTTP: from outside it is reached through a proxy that speaks HTTPS. `LockedError`: another
    relay works on `folder`.
    """
    try:
        import waitress
    except ImportError:
        raise DriverMissingError.library("waitress", "relay") from None
    host, port = _place(listen)
    if not url and not is_loopback(f"http://{host}:1"):
        raise UsageError(f"`{listen}` is not this machine alone", hint="say how it is reached: --url https://NAME")
    url = relay_url(url) if url else ""
    gc.enable()  # the program switches it off for its short runs; this one is long
    make_private_dir(folder)
    with locked(folder / "relay.lock", f"another relay works on `{folder}`"):
        key = _key(folder / "relay.key")
        store = RelayStore(folder)
        try:
            logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a queue is no news to an operator
            listener = _listener(host, port, listen)
            address = f"{host}:{listener.getsockname()[1]}"
            service = RelayService(store, url or f"http://{address}", key, now_ns)
            server = waitress.create_server(
                service,
                sockets=[listener],
                threads=_THREADS,
                connection_limit=_CONNECTIONS,
                channel_timeout=_QUIET_SECONDS,
                cleanup_interval=5,
                max_request_body_size=MAX_BODY_BYTES,
                max_request_header_size=_MAX_HEADER_BYTES,
                inbuf_overflow=2 * MAX_BODY_BYTES,
                outbuf_overflow=4 * MAX_BODY_BYTES,
                asyncore_use_poll=True,
                ident=None,
            )
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, _stop)
            with suppress(SystemExit):
                ready(Listening(address, service.url, key.public))
                server.run()
            server.close()
        finally:
            store.close()


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)  # what waitress ends its loop on


def _place(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"`{listen[:80]}` is no address", hint="write --listen 127.0.0.1:8470")
    return host, int(port)


def _listener(host: str, port: int, listen: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=1024)
    except OSError as error:
        why = (error.strerror or "no such address").lower()
        raise UsageError(f"cannot listen on `{listen[:80]}`: {why}", hint="name another --listen") from None


def _key(path: Path) -> SigningKey:
    """The relay's own key, made the first time."""
    try:
        seed = base64.b64decode(read_file(path, 1024).strip(), validate=True)
    except NotFoundError:
        key = SigningKey.generate()
        write_file(path, [base64.b64encode(key.seed()) + b"\n"], new=True)
        return key
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise IntegrityError(f"`{path}` is no relay's key", hint="put back a copy of it: clients know the old key")
    return SigningKey(seed)
