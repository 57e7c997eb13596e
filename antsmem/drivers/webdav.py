"""A repository on a WebDAV server (RFC 4918): a NAS, Nextcloud, Apache, rclone."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Self, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from antsmem.backup.store import (
    Capabilities,
    Stored,
    check_name,
    check_options,
    is_part,
    read_by_looking,
    swap_by_looking,
    yes_or_no,
)
from antsmem.core.disk import Buffer, is_temp, temp_name
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    ConflictError,
    NotFoundError,
    RefusedError,
    WouldOverwriteError,
)
from antsmem.core.retry import timeout_seconds
from antsmem.drivers.webdav_client import Body, WebdavClient

Listing: TypeAlias = list[Stored]

_OPTIONS: Final = ("ca_file", "password", "timeout_seconds", "tls", "username")
_FIRST_OBJECT: Final = "repository.json"
_CHUNK_BYTES: Final = 1 << 20
_SECOND_LOOK_SECONDS: Final = 0.1
_EXISTS, _LOCKED = 412, 423


class WebdavStore:
    """A collection on a WebDAV server as a store. A version token is the SHA-256 of the bytes.

    Everything is written under a temporary name and moved. Servers check conditions (Overwrite, If-Match)
    before they act and not while they act, if at all, and a client cannot tell: hence `conditional` is False.
    Many remove the old object before they move the new one over it, so a reader may find none for a moment.
    """

    local = False
    capabilities = Capabilities(conditional=False)

    def __init__(self, client: WebdavClient) -> None:
        self.url = client.url
        self._client = client

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The store at `webdav://host[:port]/path`, over TLS unless option `tls` is `no`. Does not connect yet."""
        check_options("webdav", options, _OPTIONS)
        try:
            parts = urlsplit(url)
            parts.port  # noqa: B018
        except ValueError:
            raise ConfigError(f"`{url}` has no valid host and port") from None
        if "@" in parts.netloc:
            raise ConfigError("a user or password does not belong in a URL", hint="set `username` and `password`")
        if not parts.hostname or parts.query or parts.fragment:
            raise ConfigError(f"`{url}` is not of the form `webdav://host/path`")
        if ("username" in options) != ("password" in options):
            raise ConfigError("options `username` and `password` go together")
        scheme = "https" if yes_or_no(options, "tls", default=True) else "http"
        path = quote(unquote(parts.path).rstrip("/"))
        shown, base = (f"{kind}://{parts.netloc}{path}" for kind in ("webdav", scheme))
        return cls(WebdavClient(shown, base, options, timeout_seconds(options)))

    def put(self, name: str, parts: Sequence[Buffer], *, new: bool = False, durable: bool = True) -> None:
        """Write `parts` to `name`, see `Store.put`. Durable as far as the server is."""
        del durable
        check_name(name)
        data = b"".join(parts)
        exists = WouldOverwriteError(f"`{name}` in `{self.url}` exists already: not written")
        if new and self.stat(name) is not None:  # some servers do not look
            raise exists
        asked = False

        def once() -> None:
            # Each try has a temporary of its own, left alone after an unclear MOVE: one that is still under way
            # must find what it was told of, else it only removes what is in its way.
            nonlocal asked
            temp = _sibling(name)
            try:
                if not self._stage(temp, data):
                    self._make_folder(name)
                    if not self._stage(temp, data):
                        raise RefusedError(f"`{self.url}` does not take `{name}`")
                before, asked = asked, True
                status = self._move(temp, name, len(data), overwrite=not new)
            except RefusedError:
                if not asked:
                    self._drop(temp)
                raise
            if status not in {_EXISTS, _LOCKED}:
                return
            self._drop(temp)
            if status == _LOCKED:
                raise self._locked(name)
            # an earlier try may have done it, its answer lost: then the bytes there are ours
            if not before or self._fetch(name, 0, None) != data:
                raise exists

        self._client.run(once)

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        """Write a stream to `name`, see `Store.upload`. A connection that is lost ends it."""
        temp = _sibling(check_name(name))
        size = 0
        unsure = False  # whether an earlier MOVE may be under way, or done and its answer lost

        def counted() -> Iterator[bytes]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                yield bytes(chunk)

        def commit() -> None:
            nonlocal unsure
            if not unsure or self._look(temp) is not None:
                before, unsure = unsure, True
                # then without overwriting: a MOVE of what is gone by now would remove what the earlier one made
                status = self._move(temp, name, size, overwrite=not before)
                if status == _LOCKED:
                    unsure = before
                    raise self._locked(name)
                if status == _EXISTS and self._look(temp) is not None:
                    raise BackendError(f"`{self.url}` did not say whether it made `{name}`")
            self._require_size(name, size)

        self._client.run(lambda: self._make_folder(name))
        try:
            if not self._stage(temp, counted()):
                raise RefusedError(f"`{self.url}` does not take `{name}`")
        except BaseException:
            self._drop(temp)
            raise
        self._client.run(commit)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of `name`, see `Store.get`."""
        check_name(name)
        try:
            return self._client.run(lambda: self._fetch(name, start, length))
        except NotFoundError:
            time.sleep(_SECOND_LOOK_SECONDS)  # it may just be being replaced
            return self._client.run(lambda: self._fetch(name, start, length))

    def download(self, name: str) -> Iterator[bytes]:
        """Bytes of `name` in chunks, see `Store.download`; goes on after a lost connection."""
        path = "/" + check_name(name)
        at = size = 0
        version = ""

        def begin() -> Generator[bytes]:
            nonlocal size, version
            head = {"Range": f"bytes={at}-"} if version else {}
            with self._client.stream("GET", path, headers=head) as answer:
                found = _version(answer.headers, self.url)
                if version not in {"", found}:
                    raise ConflictError(f"`{name}` in `{self.url}` was replaced while it was read")
                if version and not answer.headers.get("content-range", "").startswith(f"bytes {at}-"):
                    raise RefusedError(f"`{self.url}` cannot go on in the middle of `{name}`")
                version, size = found, size or int(answer.headers.get("content-length", 0))
                yield from self._client.chunks(answer, path, _CHUNK_BYTES)

        flow = begin()

        def step() -> bytes:
            nonlocal flow
            if version and at == size:
                return b""
            try:
                return next(flow, b"")
            except BackendError:
                flow = begin()
                raise

        try:
            while data := self._client.run(step):
                at += len(data)
                yield data
            if at < size:
                raise BackendError(f"`{name}` in `{self.url}` was cut while it was read")
            if self._client.run(lambda: self._version_now(name)) != version:
                raise ConflictError(f"`{name}` in `{self.url}` was replaced while it was read")
        finally:
            flow.close()

    def stat(self, name: str) -> Stored | None:
        """Size and time (whole seconds) of `name`, None if there is none."""
        check_name(name)
        return self._client.run(lambda: self._look(name))

    def list(self, folder: str) -> Listing:
        """The objects in `folder`, see `Store.list`."""
        prefix = check_name(folder) + "/" if folder else ""
        members = self._client.run(lambda: self._client.members("/" + folder))
        if members is None:
            self._require_root()
        return [
            Stored(prefix + found.name, found.size_bytes, found.modified_ns)
            for found in members or ()
            if is_part(found.name) and not found.is_folder
        ]

    def names(self, folder: str) -> Sequence[str]:
        """The names in `folder`, see `Store.names`."""
        return [item.name for item in self.list(folder)]

    def delete(self, name: str) -> None:
        """Remove `name` if it is there."""
        path = "/" + check_name(name)
        self._client.run(lambda: self._client.send("DELETE", path, passes={404}))

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Bytes and version token of `name`, None if there is none."""
        return read_by_looking(self, name)

    def swap(self, name: str, data: Buffer, expected: str | None) -> None:
        """Replace `name` if its token is `expected`, see `Store.swap`."""
        swap_by_looking(self, name, data, expected)

    def sweep(self, older_than_ns: int) -> int:
        """Remove half-written files last touched before `older_than_ns` by the server's clock; how many."""
        top = self._client.run(lambda: self._client.members("/"))
        if top is None:
            self._require_root()
        count = 0
        for folder in ("", *(found.name + "/" for found in top or () if found.is_folder and is_part(found.name))):
            for found in self._client.run(partial(self._client.members, "/" + folder)) or ():
                if is_temp(found.name) and found.modified_ns < older_than_ns:
                    path = f"/{folder}{found.name}"
                    self._client.run(partial(self._client.send, "DELETE", path, passes={404}))
                    count += 1
        return count

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _fetch(self, name: str, start: int, length: int | None) -> bytes:
        if length == 0:
            if self.stat(name) is None:
                raise NotFoundError(f"`{self.url}` holds no `{name}`")
            return b""
        ranged = start > 0 or length is not None
        head = {"Range": f"bytes={start}-{'' if length is None else start + length - 1}"} if ranged else {}
        answer = self._client.send("GET", "/" + name, headers=head, passes={416} if ranged else ())
        if answer.status_code == 416:  # nothing there from `start` on
            return b""
        version = _version(answer.headers, self.url)
        data = answer.content
        span = f"bytes {start}-{start + len(data) - 1}/"
        if ranged and not answer.headers.get("content-range", "").startswith(span):
            raise BackendError(f"`{self.url}` answered with other bytes of `{name}` than it was asked for")
        if self._version_now(name) != version:
            raise BackendError(f"`{name}` in `{self.url}` was replaced while it was read")
        return data

    def _version_now(self, name: str) -> str:
        """The version of `name`, "" if there is none. Asked after reading: some servers (rclone is one) send
        the head of an old file with the bytes of the new one if it is replaced in between."""
        answer = self._client.send("HEAD", "/" + name, passes={404})
        return "" if answer.status_code == 404 else _version(answer.headers, self.url)

    def _look(self, name: str) -> Stored | None:
        found = self._client.member("/" + name)
        return None if found is None else Stored(name, found.size_bytes, found.modified_ns)

    def _stage(self, temp: str, data: Body) -> bool:
        """Write `data` to `temp`; False if the server misses the collection that it goes to."""
        return self._client.send("PUT", "/" + temp, data, passes={404, 409}).status_code not in {404, 409}

    def _require_size(self, name: str, size: int) -> None:
        found = self._look(name)
        if found is None or found.size_bytes != size:
            raise RefusedError(f"`{self.url}` did not keep what it had taken for `{name}`")

    def _move(self, temp: str, name: str, size: int, *, overwrite: bool) -> int:
        """Give what is at `temp` the name `name`. The status says if it was done, `_EXISTS` or `_LOCKED`.

        Looked at before: many servers remove what is in the way and only then miss what was to be moved. Looked
        at after: a proxy may say yes and do nothing.
        """
        self._require_size(temp, size)
        head = {"Destination": self._client.address("/" + name), "Overwrite": "T" if overwrite else "F"}
        status = self._client.send("MOVE", "/" + temp, headers=head, passes={_EXISTS, _LOCKED}).status_code
        if status not in {_EXISTS, _LOCKED} and self._look(temp) is not None:
            raise RefusedError(f"`{self.url}` said that it had made `{name}` and did not")
        return status

    def _locked(self, name: str) -> BackendError:
        return BackendError(f"`{name}` in `{self.url}` is being written by somebody else")

    def _make_folder(self, name: str) -> None:
        """Make the collection that `name` goes to, for the first object of a repository all that lead there."""
        folder, slash, _ = name.rpartition("/")
        if slash:
            # 403: some answer so if another makes it at the same moment; if not, what is to go there will tell
            answer = self._client.send("MKCOL", "/" + folder, passes={403, 404, 405, 409})
            if answer.status_code in {404, 409}:
                self._require_root()
        elif name == _FIRST_OBJECT:
            self._client.make_base()
        else:
            self._require_root()

    def _require_root(self) -> None:
        if self._client.run(lambda: self._client.members("/")) is None:
            raise NotFoundError(f"no repository at `{self.url}`", hint="`antsmem repository init NAME` makes one")

    def _drop(self, temp: str) -> None:
        with suppress(AntsmemError):
            self._client.send("DELETE", "/" + temp, passes={404})


def _sibling(name: str) -> str:
    """The name of a new half-written file beside `name`."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{temp_name(last)}"


def _version(headers: Mapping[str, str], url: str) -> str:
    """What tells one content of a file from another; a server that says nothing of the kind is none of ours."""
    version = headers.get("etag", "").removeprefix("W/") or headers.get("last-modified")  # weak only at first
    if not version:
        raise BackendError(f"what answers at `{url}` is no WebDAV server: no ETag, no date")
    return version
