"""Faults on the way to a server: a TCP proxy that cuts, resets, delays, holds; an HTTP proxy that lies.

Both listen on a free loopback port (`port`) and pass on to another one. Faults are attributes, changed while
traffic flows; `heal` takes them all back.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOLD_SECONDS = 0.01


class TcpProxy:
    """Passes bytes on to `upstream_port`, from `port` if one is given. `up` is towards the server, `down` towards
    the client."""

    def __init__(self, upstream_port: int, port: int = 0) -> None:
        self._upstream = ("127.0.0.1", upstream_port)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self.connections = 0
        self.heal()
        threading.Thread(target=self._accept, daemon=True).start()

    def heal(self) -> None:
        self.refuse = False
        """Reset every new connection."""
        self.hold: set[str] = set()
        """Directions in which nothing passes until healed; TCP loses nothing, so it then arrives."""
        self.cut_after: dict[str, int] = {}
        """Reset a connection when so many bytes have passed in a direction since the last time…"""
        self.cuts = 1 << 30
        """…but only this often."""
        self._passed = {"up": 0, "down": 0}
        self.delay_seconds = 0.0
        self.slice_bytes = 1 << 16

    def reset(self) -> None:
        """Reset all connections now."""
        for pair in list(self._pairs):
            self._reset(*pair)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # wakes the thread that waits in accept(), which would keep the port
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                if self.refuse:
                    raise OSError
                server = socket.create_connection(self._upstream, 5)
            except OSError:
                self._reset(client)
                continue
            pair = (client, server)
            self._pairs.add(pair)
            for end in pair:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(client, server, "up", pair), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, "down", pair), daemon=True).start()

    def _pump(
        self, source: socket.socket, target: socket.socket, way: str, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        try:
            while data := source.recv(1 << 16):
                while way in self.hold:
                    time.sleep(HOLD_SECONDS)
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                room = max(0, self.cut_after.get(way, 1 << 62) - self._passed[way])
                self._passed[way] += len(data)
                cut = room < len(data) and self.cuts > 0
                for at in range(0, min(len(data), room) if cut else len(data), self.slice_bytes):
                    target.sendall(data[at : at + self.slice_bytes])
                if cut:
                    self.cuts -= 1
                    self._passed[way] = 0
                    break
            else:
                with contextlib.suppress(OSError):
                    target.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        self._reset(*pair)
        self._pairs.discard(pair)

    @staticmethod
    def _reset(*ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):  # no lingering: close() then sends a reset
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):  # wakes a thread that waits in recv(), which close() does not
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@dataclass(frozen=True, slots=True)
class Reply:
    """What the proxy answers itself. `claimed_bytes` is the Content-Length it tells instead of the true one."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    claimed_bytes: int | None = None


Rule = Callable[[str, str], Reply | None]


class HttpProxy:
    """Passes requests on to `upstream_port` unless `rule(method, path)` has a reply for them.

    `after(method, path)` is asked likewise, but after the request was passed on: done, and its answer lost.
    `without` names request headers (lower case) that do not get through.
    """

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.heal()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def heal(self) -> None:
        self.rule: Rule = lambda method, path: None
        self.after: Rule = lambda method, path: None
        self.without: set[str] = set()
        self.seen: list[tuple[str, str]] = []

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: HttpProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass
        raise AttributeError(name)

    def _pass(self) -> None:
        body = self._body()
        self.owner.seen.append((self.command, self.path))
        reply = self.owner.rule(self.command, self.path)
        if reply is None:
            reply = self._forward(body)
            reply = self.owner.after(self.command, self.path) or reply
        with contextlib.suppress(OSError):
            self._answer(reply)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline() or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _forward(self, body: bytes) -> Reply:
        dropped = {"transfer-encoding", "content-length", "expect", "connection", *self.owner.without}
        headers = {key: value for key, value in self.headers.items() if key.lower() not in dropped}
        upstream = http.client.HTTPConnection("127.0.0.1", self.owner.upstream_port, timeout=20)
        try:
            upstream.request(self.command, self.path, body or None, {**headers, "Content-Length": str(len(body))})
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        skipped = {"transfer-encoding", "connection", "content-length", "date", "server"}
        kept = {key: value for key, value in answer.getheaders() if key.lower() not in skipped}
        claimed = answer.getheader("Content-Length") if self.command == "HEAD" else None
        return Reply(answer.status, data, kept, None if claimed is None else int(claimed))

    def _answer(self, reply: Reply) -> None:
        length = len(reply.body) if reply.claimed_bytes is None else reply.claimed_bytes
        self.send_response(reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
            if length != len(reply.body):
                self.close_connection = True
