"""One SSH connection that speaks SFTP: requests are sent ahead, every reply is looked at.

Version 3 of the protocol (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions (its file PROTOCOL, section
4), over paramiko's encrypted channel. A far server costs its round trip once a batch, and no failed write is
lost, which paramiko's own pipelining does not give.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from antsmem.core.disk import Buffer
from antsmem.core.errors import BackendError, ConfigError, DriverMissingError, RefusedError

_OPEN, _CLOSE, _READ, _WRITE, _LSTAT, _FSTAT, _OPENDIR, _READDIR = 3, 4, 5, 6, 7, 8, 11, 12
_REMOVE, _MKDIR, _STAT, _RENAME, _EXTENDED, _STATUS = 13, 14, 17, 18, 200, 101
_POSIX_RENAME, _HARD_LINK, _FSYNC = b"posix-rename@openssh.com", b"hardlink@openssh.com", b"fsync@openssh.com"
EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE, UNSUPPORTED = 1, 2, 3, 4, 8
FOR_READING, FOR_WRITING, NEW_FOR_WRITING = 0x01, 0x02, 0x02 | 0x08 | 0x20

_SLICE_BYTES: Final = 31 << 10  # a request and its head then fit one SSH packet of 32 KiB
_AHEAD: Final = 32  # requests under way at once


class Status(Exception):  # noqa: N818
    """The server answered a request with another status than "ok"."""

    @property
    def code(self) -> int:
        """The number of the status."""
        return int(self.args[0])


class Attributes(NamedTuple):
    """What SFTP tells of a file: `mode` with its kind, time in whole seconds."""

    size_bytes: int
    mode: int
    modified_seconds: int


class Link:
    """A connection, used by one thread at a time. Methods raise `Status`, or one of `lost` if it is no more."""

    def __init__(self, client: Any, lost: tuple[type[Exception], ...], timeout_seconds: float) -> None:
        self.closed = False
        self.lost = lost
        self._client = client
        self._channel = client.get_transport().open_session(timeout=timeout_seconds)
        self._channel.settimeout(timeout_seconds)
        self._channel.invoke_subsystem("sftp")
        self._received = bytearray()
        self._next = 0
        self._links: bool | None = None
        self._channel.sendall(struct.pack(">IBI", 5, 1, 3))
        hello = self._message()
        if hello[0] != 2 or hello[1:5] != b"\0\0\0\3":
            raise EOFError
        self._extensions = set()
        at = 5
        while at < len(hello):
            name, at = _string(hello, at)
            _, at = _string(hello, at)
            self._extensions.add(name)

    def open(self, path: str, flags: int) -> bytes:
        """A handle of the file at `path`, made with mode 0600 where `flags` make one."""
        return _string(self._one(_OPEN, _text(path) + struct.pack(">III", flags, 4, 0o600)), 5)[0]

    def close_handle(self, handle: bytes) -> None:
        """Close `handle`."""
        self._one(_CLOSE, _blob(handle))

    def finish(self, handle: bytes, *, durable: bool) -> None:
        """Close a written file, its bytes on the server's disk first where the server can promise that."""
        sync = [(_EXTENDED, _blob(_FSYNC) + _blob(handle))] if durable and _FSYNC in self._extensions else []
        for reply in self._ask([*sync, (_CLOSE, _blob(handle))]):
            _good(reply)

    def write(self, handle: bytes, start: int, parts: Iterable[Buffer]) -> int:
        """Write `parts` from offset `start`; where they end."""
        end = start

        def requests() -> Iterator[tuple[int, bytes]]:
            nonlocal end
            for part in parts:
                view = memoryview(part).cast("B")
                for at in range(0, len(view), _SLICE_BYTES):
                    piece = bytes(view[at : at + _SLICE_BYTES])
                    yield _WRITE, _blob(handle) + struct.pack(">Q", end) + _blob(piece)
                    end += len(piece)

        for reply in self._ask(requests()):
            _good(reply)
        return end

    def read(self, handle: bytes, start: int, length: int) -> bytes:
        """At most `length` bytes from offset `start`, fewer only at the end of the file."""
        end = start + length
        spans = [(at, min(_SLICE_BYTES, end - at)) for at in range(start, end, _SLICE_BYTES)]
        replies = self._ask((_READ, _blob(handle) + struct.pack(">QI", *span)) for span in spans)
        pieces = []
        for (at, size), reply in zip(spans, replies, strict=True):
            piece, answer = b"", reply
            while not (isinstance(answer, Status) and answer.code == EOF):
                piece += _string(_good(answer), 5)[0]
                if len(piece) >= size:
                    break
                rest = struct.pack(">QI", at + len(piece), size - len(piece))  # a short answer: ask for the rest
                answer = self._ask([(_READ, _blob(handle) + rest)])[0]
            pieces.append(piece)
        return b"".join(pieces)

    def entries(self, path: str) -> list[tuple[str, Attributes]]:
        """Names and attributes in the directory at `path`. Names that are no UTF-8 are left out."""
        handle = _string(self._one(_OPENDIR, _text(path)), 5)[0]
        found: list[tuple[str, Attributes]] = []
        ended = False
        while not ended:
            for reply in self._ask([(_READDIR, _blob(handle))] * 8):
                if isinstance(reply, Status) and reply.code == EOF:
                    ended = True
                    continue
                body = _good(reply)
                at = 9
                for _ in range(int.from_bytes(body[5:9])):
                    name, at = _string(body, at)
                    _, at = _string(body, at)
                    attributes, at = _attributes(body, at)
                    with suppress(UnicodeDecodeError):
                        found.append((name.decode(), attributes))
        self.close_handle(handle)
        return found

    def handle_attributes(self, handle: bytes) -> Attributes:
        """Of an open file."""
        return _attributes(self._one(_FSTAT, _blob(handle)), 5)[0]

    def attributes(self, path: str) -> Attributes:
        """Of what is at `path`, symlinks not followed."""
        return _attributes(self._one(_LSTAT, _text(path)), 5)[0]

    def exists(self, path: str) -> bool:
        """Whether there is anything at `path`, symlinks followed."""
        return not isinstance(self._unless_missing(_STAT, _text(path)), Status)

    def remove(self, path: str) -> None:
        """Remove the file at `path`; none there is fine."""
        self._unless_missing(_REMOVE, _text(path))

    def make_directory(self, path: str) -> None:
        """Make a directory at `path`, mode 0700, unless there is one."""
        if not self.exists(path):
            try:
                self._one(_MKDIR, _text(path) + struct.pack(">II", 4, 0o700))
            except Status as status:
                if status.code != FAILURE:  # which may be: somebody else just made it
                    raise

    def replace(self, source: str, target: str) -> bool:
        """Rename over whatever is at `target`, in one step; False where the server cannot."""
        if _POSIX_RENAME in self._extensions:
            self._one(_EXTENDED, _blob(_POSIX_RENAME) + _text(source) + _text(target))
        elif self.exists(target):
            return False
        else:
            self._one(_RENAME, _text(source) + _text(target))
        return True

    def make_new(self, source: str, target: str) -> bool:
        """Rename unless something is at `target`, in one step where the server links; whether it was done."""
        if self._has_links(source):
            with suppress(Status):
                self._one(_EXTENDED, _blob(_HARD_LINK) + _text(source) + _text(target))
                self.remove(source)
                return True
        if not self.exists(target):
            try:
                self._one(_RENAME, _text(source) + _text(target))  # which most servers, too, refuse over a file
                return True
            except Status:
                if not self.exists(target):
                    raise
        self.remove(source)
        return False

    def _has_links(self, path: str) -> bool:
        """Whether the server links. Some (rclone) say "ok" and do nothing, even to link what is not there."""
        if self._links is None:
            nothing = _text(path + "-nothing") + _text(path + "-link")
            reply = self._ask([(_EXTENDED, _blob(_HARD_LINK) + nothing)])[0]
            self._links = isinstance(reply, Status) and reply.code == NO_SUCH_FILE
        return self._links

    def close(self) -> None:
        """End the connection, and with it any handle that is still open."""
        self.closed = True
        self._client.close()

    def _one(self, kind: int, payload: bytes) -> bytes:
        return _good(self._ask([(kind, payload)])[0])

    def _unless_missing(self, kind: int, payload: bytes) -> bytes | Status:
        reply = self._ask([(kind, payload)])[0]
        return reply if isinstance(reply, Status) and reply.code == NO_SUCH_FILE else _good(reply)

    def _ask(self, requests: Iterable[tuple[int, bytes]]) -> list[bytes | Status]:
        """The replies to `requests` in their order: the whole message, or its status if that is not "ok"."""
        first = self._next
        replies: dict[int, bytes | Status] = {}
        for kind, payload in requests:
            if self._next - first - len(replies) >= _AHEAD:
                self._receive(first, replies)
            self._channel.sendall(struct.pack(">IBI", len(payload) + 5, kind, self._next & 0xFFFFFFFF) + payload)
            self._next += 1
        while len(replies) < self._next - first:
            self._receive(first, replies)
        return [replies[number & 0xFFFFFFFF] for number in range(first, self._next)]

    def _receive(self, first: int, replies: dict[int, bytes | Status]) -> None:
        message = self._message()
        number = int.from_bytes(message[1:5])
        if (number - first) & 0xFFFFFFFF >= self._next - first or number in replies:
            raise EOFError  # an answer to nothing that was asked
        code = int.from_bytes(message[5:9]) if message[0] == _STATUS else 0
        replies[number] = Status(code) if code else message

    def _message(self) -> bytes:
        length = int.from_bytes(self._exactly(4))
        if not 5 <= length <= 1 << 20:
            raise EOFError
        return self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            more = self._channel.recv(1 << 18)
            if not more:
                raise EOFError
            self._received += more
        data = bytes(self._received[:count])
        del self._received[:count]
        return data


def connector(url: str, options: Mapping[str, str], timeout_seconds: float) -> tuple[str, str, Callable[[], Link]]:
    """The URL to show, the remote folder, and the function that connects, for `sftp://[user@]host[:port]/path`.

    Raises `ConfigError` and `DriverMissingError`; the function `BackendError`, and `RefusedError` for a host whose
    key is not known or a log-in that is not accepted.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 22
    except ValueError:
        raise ConfigError(f"`{url}` has no valid port") from None
    if parts.password is not None:
        raise ConfigError("a password does not belong in a URL", hint="set the option `password`")
    path = unquote(parts.path).rstrip("/")
    path = (path[3:] or ".") if path == "/~" or path.startswith("/~/") else path
    if not host or not path or parts.query or parts.fragment or "\0" in path:
        raise ConfigError(f"`{url}` is not of the form `sftp://[user@]host/path`")
    shown = f"sftp://{parts.netloc}{parts.path}"
    try:
        import logging

        import paramiko
    except ImportError:
        raise DriverMissingError.library("paramiko", "sftp") from None
    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # failures are raised, not printed
    known_hosts = os.path.expanduser(options.get("known_hosts", "~/.ssh/known_hosts"))
    key_file = options.get("key_file")
    if key_file is not None and not os.access(key_file := os.path.expanduser(key_file), os.R_OK):
        raise ConfigError(f"cannot read the key file `{key_file}`")
    look_around = key_file is None and "password" not in options
    login = {
        "username": unquote(parts.username) if parts.username else pwd.getpwuid(os.getuid()).pw_name,
        "password": options.get("password"),
        "key_filename": key_file,
        "passphrase": options.get("key_passphrase"),
        "allow_agent": look_around,
        "look_for_keys": look_around,
        **dict.fromkeys(("timeout", "banner_timeout", "auth_timeout", "channel_timeout"), timeout_seconds),
    }
    return shown, path, lambda: _connect(paramiko, shown, (host, port), known_hosts, login)


class _KnownHostsOnly:
    """What paramiko asks about a host whose key it does not know."""

    def __init__(self, known_hosts: str) -> None:
        self._known_hosts = known_hosts

    def missing_host_key(self, _client: object, host: str, _key: object) -> None:
        name, _, port = host.removeprefix("[").partition("]:")
        raise RefusedError(
            f"the key of host `{host}` is not known in `{self._known_hosts}`: not connected",
            hint=f"compare `ssh-keyscan -p {port or 22} {name}` with what its owner says, then add it there",
        )


def _connect(paramiko: Any, shown: str, address: tuple[str, int], known_hosts: str, login: dict[str, Any]) -> Link:
    lost = (OSError, EOFError, paramiko.SSHException)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_KnownHostsOnly(known_hosts))
    try:
        with suppress(FileNotFoundError):
            client.load_system_host_keys(known_hosts)
        sock = socket.create_connection(address, login["timeout"])
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect(*address, sock=sock, **login)
        client.get_transport().set_keepalive(15)
        return Link(client, lost, login["timeout"])
    except paramiko.BadHostKeyException as error:
        client.close()
        raise RefusedError(
            f"the key of host `{address[0]}` is not the one in `{known_hosts}`: not connected",
            hint="is it the right host? if its owner changed the key, correct that file",
        ) from error
    except lost as error:
        turned_down = _is_log_in(client.get_transport(), error)
        client.close()
        if turned_down:
            hint = "set the option `key_file`, `key_passphrase` or `password`"
            raise RefusedError(f"`{shown}` refused the log-in", hint=hint) from error
        raise BackendError(f"`{shown}` does not answer: {why(error)}") from error
    except BaseException:
        client.close()
        raise


def _is_log_in(transport: Any, error: Exception) -> bool:
    """Whether the connection stands and only the log-in did not work: turned down, or no key fit to try."""
    stands = transport is not None and transport.is_active() and transport.initial_kex_done
    return stands and not transport.is_authenticated() and "timeout" not in str(error).lower()


def why(error: Exception) -> str:
    """What to tell of a lost connection, without what a library may have written into its message."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror.lower() if isinstance(error, OSError) and error.strerror else "the connection ended"


def _good(reply: bytes | Status) -> bytes:
    if isinstance(reply, Status):
        raise reply
    return reply


def _blob(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def _text(path: str) -> bytes:
    return _blob(path.encode())


def _string(message: bytes, at: int) -> tuple[bytes, int]:
    """The string at offset `at` of `message`, and where it ends."""
    start = at + 4
    end = start + int.from_bytes(message[at:start])
    if end > len(message):
        raise EOFError
    return message[start:end], end


def _attributes(message: bytes, at: int) -> tuple[Attributes, int]:
    """The attributes at offset `at` of `message`, and where they end; what is not told is 0."""
    size = mode = modified = 0
    try:
        (flags,) = struct.unpack_from(">I", message, at)
        at += 4
        if flags & 1:
            (size,) = struct.unpack_from(">Q", message, at)
            at += 8
        if flags & 2:
            at += 8
        if flags & 4:
            (mode,) = struct.unpack_from(">I", message, at)
            at += 4
        if flags & 8:
            _, modified = struct.unpack_from(">II", message, at)
            at += 8
        if flags & 0x80000000:
            (count,) = struct.unpack_from(">I", message, at)
            at += 4
            for _ in range(2 * min(count, 1 << 16)):
                _, at = _string(message, at)
    except struct.error:
        raise EOFError from None
    return Attributes(size, mode, modified), at
