"""A repository on any machine with an SSH server."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from typing import Final, Self, TypeAlias, TypeVar

from antsmem.backup.store import (
    Capabilities,
    Stored,
    check_name,
    check_options,
    is_part,
    read_by_looking,
    swap_by_looking,
)
from antsmem.core.disk import Buffer, is_temp, temp_name
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConflictError,
    NotFoundError,
    RefusedError,
    WouldOverwriteError,
)
from antsmem.core.retry import retried, timeout_seconds
from antsmem.drivers.sftp_link import (
    FOR_READING,
    FOR_WRITING,
    NEW_FOR_WRITING,
    NO_SUCH_FILE,
    PERMISSION_DENIED,
    UNSUPPORTED,
    Attributes,
    Link,
    Status,
    connector,
    why,
)

T = TypeVar("T")
Listing: TypeAlias = list[Stored]

_OPTIONS: Final = ("key_file", "key_passphrase", "known_hosts", "password", "timeout_seconds")
_FIRST_OBJECT: Final = "repository.json"
_CHUNK_BYTES: Final = 1 << 20
_BATCH_BYTES: Final = 8 << 20
_REASONS: Final = {PERMISSION_DENIED: "permission denied", UNSUPPORTED: "the server cannot do that"}


class SftpStore:
    """A folder on an SFTP server as a store. A version token is the SHA-256 of the bytes.

    The protocol can make a name that must not exist in one step (where the server links), but cannot compare
    and replace in one: hence `conditional` is False.
    """

    local = False
    capabilities = Capabilities(conditional=False)

    def __init__(self, url: str, root: str, connect: Callable[[], Link], bound_seconds: float) -> None:
        self.url = url
        self._root = root
        self._connect = connect
        self._bound = bound_seconds
        self._idle: list[Link] = []

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The store at `sftp://[user@]host[:port]/path` (`/~/path` is below the user's home); connects."""
        check_options("sftp", options, _OPTIONS)
        bound = timeout_seconds(options)
        shown, root, connect = connector(url, options, bound / 2)
        store = cls(shown, root, connect, bound)
        store._run(lambda _: None, "open", "")
        return store

    def put(self, name: str, parts: Sequence[Buffer], *, new: bool = False, durable: bool = True) -> None:
        """Write `parts` to `name`, see `Store.put`."""
        check_name(name)
        asked = False

        def once(link: Link) -> None:
            nonlocal asked
            temp, handle = self._make_temp(link, name)
            try:
                link.write(handle, 0, parts)
                link.finish(handle, durable=durable)
            except Status:  # a full disk, say: leave nothing on it
                with suppress(Status):
                    link.remove(temp)
                raise
            if not new:
                self._replace(link, temp, name)
                return
            before, asked = asked, True
            if not link.make_new(temp, self._path(name)):
                # an earlier try may have done it, its answer lost: then the bytes there are ours
                if before and self._fetch(link, name, 0, None) == b"".join(parts):
                    return
                raise WouldOverwriteError(f"`{name}` in `{self.url}` exists already: not written")

        self._run(once, "write", name)

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        """Write a stream to `name`, see `Store.upload`; goes on after a lost connection."""
        check_name(name)
        temp = ""
        end = 0

        def open_temp(link: Link) -> bytes:
            nonlocal temp
            if not temp:
                temp, handle = self._make_temp(link, name)
                return handle
            handle = link.open(temp, FOR_WRITING)
            if link.handle_attributes(handle).size_bytes < end:
                raise RefusedError(f"`{self.url}` lost what it had taken for `{name}`")
            return handle

        def commit(link: Link) -> None:
            try:
                if link.attributes(temp).size_bytes != end:
                    raise RefusedError(f"`{self.url}` lost what it had taken for `{name}`")
                self._replace(link, temp, name)
            except Status as status:
                # an earlier try may have renamed it, its answer lost
                if status.code != NO_SUCH_FILE or link.attributes(self._path(name)).size_bytes != end:
                    raise

        file = _OpenFile(self, "write", name, open_temp)
        try:
            for batch in chain(([],), _batches(chunks)):
                end = file.run(partial(Link.write, start=end, parts=batch))
            file.run(partial(Link.finish, durable=True))
            file.close()
            self._run(commit, "write", name)
        except BaseException:
            file.close()
            if temp:
                with suppress(AntsmemError):
                    self._run(lambda link: link.remove(temp), "remove", name)
            raise

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of `name`, see `Store.get`."""
        check_name(name)
        return self._run(lambda link: self._fetch(link, name, start, length), "read", name)

    def download(self, name: str) -> Iterator[bytes]:
        """Bytes of `name` in chunks, see `Store.download`; goes on after a lost connection."""
        path = self._path(check_name(name))
        first: Attributes | None = None
        at = 0

        def open_first(link: Link) -> bytes:
            nonlocal first
            handle = link.open(path, FOR_READING)
            found = link.handle_attributes(handle)
            if found != (first := first or found):
                raise ConflictError(f"`{name}` in `{self.url}` was replaced while it was read")
            return handle

        file = _OpenFile(self, "read", name, open_first)
        try:
            while data := file.run(partial(Link.read, start=at, length=_CHUNK_BYTES)):
                at += len(data)
                yield data
            if first is None or at != first.size_bytes:
                raise BackendError(f"`{name}` in `{self.url}` was cut while it was read")
        finally:
            file.close()

    def stat(self, name: str) -> Stored | None:
        """Size and time (whole seconds) of `name`, None if there is none."""
        path = self._path(check_name(name))
        try:
            found = self._run(lambda link: link.attributes(path), "read", name)
        except NotFoundError:
            return None
        return Stored(name, found.size_bytes, found.modified_seconds * 1_000_000_000)

    def list(self, folder: str) -> Listing:
        """The objects in `folder`, see `Store.list`."""
        path, prefix = (self._path(check_name(folder)), folder + "/") if folder else (self._root, "")

        def once(link: Link) -> list[tuple[str, Attributes]]:
            try:
                return link.entries(path)
            except Status as status:
                if status.code != NO_SUCH_FILE:
                    raise
                self._require_root(link)
                return []

        return [
            Stored(prefix + name, found.size_bytes, found.modified_seconds * 1_000_000_000)
            for name, found in self._run(once, "list", folder)
            if is_part(name) and stat.S_ISREG(found.mode)
        ]

    def names(self, folder: str) -> Sequence[str]:
        """The names in `folder`, see `Store.names`."""
        return [item.name for item in self.list(folder)]

    def delete(self, name: str) -> None:
        """Remove `name` if it is there."""
        path = self._path(check_name(name))
        self._run(lambda link: link.remove(path), "remove", name)

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Bytes and version token of `name`, None if there is none."""
        return read_by_looking(self, name)

    def swap(self, name: str, data: Buffer, expected: str | None) -> None:
        """Replace `name` if its token is `expected`, see `Store.swap`."""
        swap_by_looking(self, name, data, expected)

    def sweep(self, older_than_ns: int) -> int:
        """Remove half-written files last touched before `older_than_ns` by the server's clock; how many."""

        def once(link: Link) -> int:
            count = 0
            self._require_root(link)
            entries = link.entries(self._root)
            folders = [n for n, found in entries if is_part(n) and stat.S_ISDIR(found.mode)]
            for folder, names in (("", entries), *((f"{n}/", link.entries(self._path(n))) for n in folders)):
                for name, found in names:
                    if is_temp(name) and found.modified_seconds * 1_000_000_000 < older_than_ns:
                        link.remove(self._path(folder + name))
                        count += 1
            return count

        return self._run(once, "sweep", "")

    def close(self) -> None:
        """End the connections."""
        while self._idle:
            self._idle.pop().close()

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_temp(self, link: Link, name: str) -> tuple[str, bytes]:
        """The path and handle of a new half-written file beside `name`."""
        folder, slash, last = name.rpartition("/")
        temp = self._path(folder + slash + temp_name(last))
        try:
            return temp, link.open(temp, NEW_FOR_WRITING)
        except Status as status:
            if status.code != NO_SUCH_FILE:
                raise
        if name == _FIRST_OBJECT:
            parts = self._root.split("/")
            for count in range(1, len(parts) + 1):
                link.make_directory("/".join(parts[:count]) or "/")
        else:
            self._require_root(link)
            link.make_directory(self._path(folder))
        return temp, link.open(temp, NEW_FOR_WRITING)

    def _replace(self, link: Link, temp: str, name: str) -> None:
        if not link.replace(temp, self._path(name)):
            link.remove(temp)
            raise RefusedError(f"the server of `{self.url}` cannot replace `{name}` in one step")

    def _fetch(self, link: Link, name: str, start: int, length: int | None) -> bytes:
        handle = link.open(self._path(name), FOR_READING)
        size = link.handle_attributes(handle).size_bytes
        left = max(0, size - start) if length is None else max(0, min(size - start, length))
        data = link.read(handle, start, left)
        link.close_handle(handle)
        if len(data) != left:
            raise BackendError(f"`{name}` in `{self.url}` was cut while it was read")
        return data

    def _require_root(self, link: Link) -> None:
        if not link.exists(self._root):
            raise NotFoundError(f"no repository at `{self.url}`", hint="`antsmem repository init NAME` makes one")

    def _run(self, action: Callable[[Link], T], verb: str, name: str) -> T:
        """What `action` returns, given a connection of its own; tried again on a new one if that is lost."""

        def once() -> T:
            link = self._take()
            try:
                with self._told(link, verb, name):
                    return action(link)
            finally:
                self._give_back(link)

        return retried(once, self._bound)

    def _take(self) -> Link:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _give_back(self, link: Link) -> None:
        if not link.closed:
            self._idle.append(link)

    @contextmanager
    def _told(self, link: Link, verb: str, name: str) -> Iterator[None]:
        """Turn what goes wrong on `link` into our errors; close it unless it is surely fit for more."""
        try:
            yield
        except (ConflictError, NotFoundError, WouldOverwriteError):
            raise
        except Status as status:
            if status.code == NO_SUCH_FILE:
                raise NotFoundError(f"`{self.url}` holds no `{name}`") from status
            link.close()  # with it goes any handle that is still open
            reason = _REASONS.get(
                status.code, "the server failed" + (": is its disk full?" if verb == "write" else "")
            )
            raise RefusedError(f"could not {verb} `{name}` in `{self.url}`: {reason}") from status
        except link.lost as error:
            link.close()
            self.close()  # connections that were idle meanwhile are most likely lost too
            raise BackendError(f"`{self.url}` does not answer: {why(error)}") from error
        except BaseException:
            link.close()
            raise


class _OpenFile:
    """A file that is kept open on a connection of its own, and opened again by `opener` when that is lost."""

    def __init__(self, store: SftpStore, verb: str, name: str, opener: Callable[[Link], bytes]) -> None:
        self._store, self._verb, self._name, self._opener = store, verb, name, opener
        self._link: Link | None = None
        self._handle = b""

    def run(self, action: Callable[[Link, bytes], T]) -> T:
        """What `action` returns, given the connection and the handle."""

        def once() -> T:
            if self._link is None or self._link.closed:
                self._link, self._handle = self._store._take(), b""
            with self._store._told(self._link, self._verb, self._name):
                self._handle = self._handle or self._opener(self._link)
                return action(self._link, self._handle)

        return retried(once, self._store._bound)

    def close(self) -> None:
        """Give the connection back; a handle that is closed already makes no trouble."""
        if self._link is not None and not self._link.closed:
            with suppress(AntsmemError), self._store._told(self._link, "close", self._name), suppress(Status):
                if self._handle:
                    self._link.close_handle(self._handle)
            self._store._give_back(self._link)
        self._link = None


def _batches(chunks: Iterator[Buffer]) -> Iterator[list[Buffer]]:
    """`chunks` gathered to about 8 MiB: what is sent again when a connection is lost."""
    batch: list[Buffer] = []
    size = 0
    for chunk in chunks:
        batch.append(bytes(chunk))
        size += len(chunk)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
