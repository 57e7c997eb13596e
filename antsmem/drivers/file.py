"""A repository in a folder: a local disk, a USB stick, a mounted share."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Final, Self, TypeAlias, TypeVar

from antsmem.backup.store import (
    Capabilities,
    Stored,
    check_name,
    check_options,
    is_part,
    only_parts,
    read_by_looking,
    swap_by_looking,
)
from antsmem.core.disk import (
    Buffer,
    disk_error,
    fsync_dir,
    is_temp,
    locked,
    make_private_dir,
    write_file,
)
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DiskError,
    LockedError,
    NotFoundError,
    RefusedError,
    UsageError,
    WouldOverwriteError,
)

Listing: TypeAlias = list[Stored]
T = TypeVar("T")

_FIRST_OBJECT: Final = "repository.json"
_LOCK: Final = ".antsmem-lock"
_CHUNK_BYTES: Final = 1 << 18  # larger ones come fresh from the kernel each time
_LOCK_SECONDS: Final = 10.0
_GONE = {errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ESTALE, errno.ETIMEDOUT}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FileStore:
    """A folder as a store. `new` is decided by link(2), `swap` under a lock, so both hold for every process
    that reaches the same file system; a version token is the SHA-256 of the bytes."""

    __slots__ = ("_prefix", "_root", "_seen", "url")

    local = True
    capabilities = Capabilities(conditional=True)

    def __init__(self, root: str) -> None:
        self.url = root
        self._root = root
        self._prefix = root.rstrip("/") + "/"
        self._seen: tuple[int, int] | None = None

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The store at `file:///absolute/path` or `/absolute/path`, which need not exist yet. No options."""
        check_options("file", options, ())
        path = url
        if url.startswith("file:"):
            from urllib.parse import unquote, urlsplit

            try:
                parts = urlsplit(url)
            except ValueError:
                parts = urlsplit("file://elsewhere")
            if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
                raise ConfigError(f"`{url}` names no local folder", hint="write it as file:///absolute/path")
            path = unquote(parts.path)
        if not path.startswith("/") or "\0" in path:
            raise ConfigError(f"`{url}` is not an absolute path", hint="write it as file:///absolute/path")
        return cls(os.path.normpath(path))

    def put(self, name: str, parts: Sequence[Buffer], *, new: bool = False, durable: bool = True) -> None:
        """Write `parts` to `name`, see `Store.put`."""
        path = self._prefix + check_name(name)
        if not self._is_here():
            self._make_root(name)
        for attempt in (1, 2):
            try:
                write_file(path, parts, new=new, durable=durable)
                return
            except NotFoundError as error:
                if attempt == 2:
                    raise self._write_error(name, error) from error
                self._make_folder(name)
            except (DiskError, UsageError) as error:
                cause = error.__cause__
                if new and isinstance(cause, OSError) and cause.errno in _NO_LINKS:
                    self._put_new_unlinked(name, parts, durable)
                    return
                raise self._write_error(name, error) from error

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        """Write a stream to `name`, see `Store.upload`."""
        from_caller: list[Exception] = []

        def watched() -> Iterator[Buffer]:
            try:
                yield from chunks
            except (OSError, AntsmemError) as error:  # the caller's trouble, not this folder's
                from_caller.append(error)
                raise

        path = self._prefix + check_name(name)
        if not self._is_here():
            self._make_root(name)
        self._make_folder(name)
        try:
            write_file(path, watched())
        except AntsmemError as error:
            if from_caller:
                raise from_caller[0] from None
            raise self._write_error(name, error) from error

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of `name`, see `Store.get`."""
        fd = self._open(name)
        try:
            left = max(0, os.fstat(fd).st_size - start)
            if length is not None:
                left = min(left, length)
            data = os.pread(fd, left, start)
            while len(data) < left:
                more = os.pread(fd, left - len(data), start + len(data))
                if not more:
                    raise BackendError(f"`{name}` in `{self.url}` was cut while it was read")
                data += more
        except OSError as error:
            raise self._read_error(name, error) from error
        finally:
            os.close(fd)
        return data

    def download(self, name: str) -> Iterator[bytes]:
        """Bytes of `name` in chunks, see `Store.download`."""
        fd = self._open(name)
        try:
            while chunk := os.read(fd, _CHUNK_BYTES):
                yield chunk
        except OSError as error:
            raise self._read_error(name, error) from error
        finally:
            os.close(fd)

    def stat(self, name: str) -> Stored | None:
        """Size and time of `name`, None if there is none."""
        try:
            found = os.stat(self._prefix + check_name(name), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self._is_here()
            return None
        except OSError as error:
            raise self._read_error(name, error) from error
        if not stat.S_ISREG(found.st_mode):
            raise RefusedError(f"`{name}` in `{self.url}` is not a regular file")
        return Stored(name, found.st_size, found.st_mtime_ns)

    def list(self, folder: str) -> Listing:
        """The objects in `folder`, see `Store.list`."""
        prefix = folder + "/" if folder else ""
        found: list[Stored] = []
        for entry in self._look_into(folder, _regular_files):
            if not is_part(entry.name):
                continue
            try:
                state = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._trouble("list", folder, error) from error
            found.append(Stored(prefix + entry.name, state.st_size, state.st_mtime_ns))
        return found

    def names(self, folder: str) -> Sequence[str]:
        """The names in `folder`, see `Store.names`: the directory alone is read."""
        if not folder:
            return [item.name for item in self.list(folder)]
        return [f"{folder}/{name}" for name in only_parts(self._look_into(folder, os.listdir))]

    def _look_into(self, folder: str, look: Callable[[str], Sequence[T]]) -> Sequence[T]:
        """What `look` finds in `folder`; nothing where there is none."""
        try:
            return look(self._prefix + check_name(folder) if folder else self._root)
        except FileNotFoundError:
            self._require_here()
            return []
        except OSError as error:
            raise self._trouble("list", folder, error) from error

    def delete(self, name: str) -> None:
        """Remove `name` if it is there. The removal itself is not fsynced: a crash may bring it back."""
        try:
            os.unlink(self._prefix + check_name(name))
        except (FileNotFoundError, NotADirectoryError):
            self._is_here()
        except OSError as error:
            raise self._trouble("remove", name, error) from error

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Bytes and version token of `name`, None if there is none."""
        return read_by_looking(self, name)

    def swap(self, name: str, data: Buffer, expected: str | None) -> None:
        """Replace `name` if its token is `expected`, see `Store.swap`."""
        if expected is not None:
            self._require_here()
        with self._alone() if expected is not None else nullcontext():
            swap_by_looking(self, name, data, expected)

    def sweep(self, older_than_ns: int) -> int:
        """Remove half-written files last touched before `older_than_ns`; how many."""
        self._require_here()
        count = 0
        try:
            with os.scandir(self._root) as entries:
                folders = [e.path for e in entries if e.is_dir(follow_symlinks=False) and is_part(e.name)]
            for folder in (self._root, *folders):
                for name in filter(is_temp, os.listdir(folder)):
                    path = f"{folder}/{name}"
                    with suppress(FileNotFoundError):
                        if os.lstat(path).st_mtime_ns < older_than_ns:
                            os.unlink(path)
                            count += 1
        except OSError as error:
            raise self._trouble("sweep", self._root, error) from error
        return count

    def close(self) -> None:
        """Nothing to end."""

    def _open(self, name: str) -> int:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = os.open(self._prefix + check_name(name), flags)
        except OSError as error:
            raise self._read_error(name, error) from error
        try:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError as error:
            os.close(fd)
            raise self._read_error(name, error) from error
        if not regular:
            os.close(fd)
            raise RefusedError(f"`{name}` in `{self.url}` is not a regular file")
        return fd

    def _is_here(self) -> bool:
        """Whether the folder exists. One that was here before and is not, or is on another file system now
        (its disk was unmounted), is a `BackendError`."""
        try:
            state = os.stat(self._root)
            now = (state.st_dev, state.st_ino)
        except (FileNotFoundError, NotADirectoryError):
            now = None
        except OSError as error:
            raise self._trouble("open", self._root, error) from error
        if self._seen is None:
            self._seen = now
        elif now != self._seen:
            raise BackendError(f"`{self.url}` is gone", hint="mount its disk again, then run the same command")
        return now is not None

    def _require_here(self) -> None:
        if not self._is_here():
            raise NotFoundError(
                f"no repository at `{self.url}`",
                hint="mount its disk, or make one: `antsmem repository init NAME`",
            )

    def _make_root(self, name: str) -> None:
        if name != _FIRST_OBJECT:
            self._require_here()
        above = made = self._root
        while not os.path.isdir(above):
            above = os.path.dirname(above)
        try:
            make_private_dir(self._root)
        except AntsmemError as error:
            raise self._write_error(name, error) from error
        while made != above:
            made = os.path.dirname(made)
            with suppress(PermissionError):  # somebody else's folder, where we may make names but not look
                fsync_dir(made)
        self._is_here()

    def _make_folder(self, name: str) -> None:
        self._require_here()
        folder, slash, _ = name.rpartition("/")
        try:
            if slash:
                os.mkdir(self._prefix + folder, 0o700)
                fsync_dir(self._root)
        except FileExistsError:
            return
        except OSError as error:
            raise self._trouble("make", folder, error) from error

    def _put_new_unlinked(self, name: str, parts: Sequence[Buffer], durable: bool) -> None:
        """`put(new=True)` on a file system without hard links (exFAT, some shares): one process at a time."""
        path = self._prefix + name
        with self._alone():
            if os.path.lexists(path):
                raise WouldOverwriteError(f"`{path}` exists already: not written")
            try:
                write_file(path, parts, durable=durable)
            except AntsmemError as error:
                raise self._write_error(name, error) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock for the moment of a change; waits up to 10 s for another process."""
        give_up = time.monotonic() + _LOCK_SECONDS
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(locked(self._prefix + _LOCK, f"another process is changing `{self.url}`"))
                    break
                except LockedError:
                    if time.monotonic() > give_up:
                        raise
                    time.sleep(0.002)
                except (DiskError, UsageError) as error:
                    raise self._write_error(_LOCK, error) from error
                except OSError as error:  # a file system without locks
                    raise self._trouble("lock", _LOCK, error) from error
            yield

    def _read_error(self, name: str, error: OSError) -> AntsmemError:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            self._require_here()
            return NotFoundError(f"`{self.url}` holds no `{name}`")
        return self._trouble("read", name, error)

    def _write_error(self, name: str, error: AntsmemError) -> AntsmemError:
        """What `write_file` said, in the words of the protocol."""
        cause = error.__cause__
        return self._trouble("write", name, cause) if isinstance(cause, OSError) else error

    def _trouble(self, verb: str, name: str, error: OSError) -> AntsmemError:
        if error.errno in _FULL:
            return disk_error(verb, self._prefix + name, error)
        why = (error.strerror or "failed").lower()
        kind = BackendError if error.errno in _GONE else RefusedError
        return kind(f"could not {verb} `{name}` in `{self.url}`: {why}")


def _regular_files(folder: str) -> Sequence[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
