"""The relay of a migration test: in this process, on loopback, and every byte to and from it is kept."""

from __future__ import annotations

import io
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from wsgiref.handlers import SimpleHandler
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from antsmem.core.clock import now_ns
from antsmem.core.disk import make_private_dir
from antsmem.identity.signing import SigningKey

if TYPE_CHECKING:
    from antsmem.service.relay import RelayService

_MOST_BYTES = 32 << 20


class DrillRelay:
    """A relay with its data in `folder`. It listens on `127.0.0.1` at a free port; `also` gives it more ears."""

    def __init__(self, folder: Path) -> None:
        from antsmem.service.relay import RelayService
        from antsmem.service.relay_store import RelayStore

        make_private_dir(folder)
        self._store = RelayStore(folder)
        self._seen: tuple[list[bytes], list[bytes]] = ([], [])
        self._servers: list[_Server] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._service = RelayService(self._store, self.url, SigningKey.generate(), now_ns)
        self.also(listener)

    def also(self, listener: socket.socket) -> None:
        """Answer at `listener` too."""
        server = _Server(listener, self._service, self._seen)
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def traffic(self) -> bytes | None:
        """All bytes that were sent to the relay and by it."""
        return b"".join(self._seen[0]) + b"\n" + b"".join(self._seen[1])

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._store.close()


class _Server(WSGIServer):
    def __init__(
        self, listener: socket.socket, service: RelayService, seen: tuple[list[bytes], list[bytes]]
    ) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = "127.0.0.1", listener.getsockname()[1]
        self.setup_environ()
        self.service = service
        self.seen = seen


class _Tap(io.RawIOBase):
    """A stream that remembers what passes."""

    def __init__(self, inner: Any, seen: list[bytes]) -> None:
        self._inner = inner
        self._kept = seen

    def read(self, size: int = -1) -> bytes:
        part: bytes = self._inner.read(size)
        self._kept.append(part)
        return part

    def readline(self, size: int | None = -1) -> bytes:
        part: bytes = self._inner.readline(size)
        self._kept.append(part)
        return part

    def write(self, part: Any) -> int:
        self._kept.append(bytes(part))
        return int(self._inner.write(part))

    def flush(self) -> None:
        self._inner.flush()


class _Handler(WSGIRequestHandler):
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _Tap(self.rfile, self.server.seen[0])
        self.wfile: Any = _Tap(self.wfile, self.server.seen[1])

    def get_environ(self) -> dict[str, Any]:
        kind = self.headers.get("Content-Type", "")  # the library invents one where there is none
        return {**super().get_environ(), "REQUEST_URI": self.path, "CONTENT_TYPE": kind}

    def handle(self) -> None:
        """One request; wsgiref closes the connection behind it."""
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536 or not self.parse_request():
            return
        length = self.headers.get("Content-Length", "0")
        body = io.BytesIO(
            self.rfile.read(int(length)) if length.isdecimal() and int(length) <= _MOST_BYTES else b""
        )
        handler = SimpleHandler(body, self.wfile, self.get_stderr(), self.get_environ(), multithread=False)
        handler.run(self.server.service)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has in the library
        """Nothing: what was asked is nobody's news."""


class ForeignRelay:
    """A relay of somebody's, at `url`: what travels to it is not seen here."""

    def __init__(self, url: str) -> None:
        from antsmem.identity.handle import relay_url

        self.url = relay_url(url)
        self.port = 0

    def also(self, listener: socket.socket) -> None:
        """It does not listen for us."""
        listener.close()

    def traffic(self) -> bytes | None:
        """Nothing was seen."""
        return None

    def close(self) -> None:
        """It stays."""
