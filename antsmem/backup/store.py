"""What the backup engine asks of a place that keeps bytes: a small object store.

Names are relative POSIX paths of one or two parts (`packs/<sha256>.age`, `repository.json`): letters, digits,
`.`, `-` and `_` only, each part beginning with a letter or digit (what begins with a dot is a driver's own).
Every method may raise `BackendError` (does not answer, also after retries) or `RefusedError` (answers no:
credentials, read-only, quota); a full local disk is `DiskError`. At a place that does not exist, `stat`, `read`
and `delete` find nothing, a `put` of `repository.json` makes it, and the rest raises `NotFoundError`; a store that
has no folders (s3) knows no such state.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, Self

from antsmem.core.disk import Buffer
from antsmem.core.errors import ConfigError, ConflictError, NotFoundError, UsageError, WouldOverwriteError
from antsmem.core.record import record

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
_match_part = re.compile(_PART).fullmatch
_match_parts = re.compile(rf"(?:{_PART}\n)*+").fullmatch


class Stored(NamedTuple):
    """One object as the store lists it. `sha256` is hex, given only where the store itself computed it."""

    name: str
    size_bytes: int
    modified_ns: int
    sha256: str | None = None


@record
class Capabilities:
    """What a store can promise. `conditional`: `put(new=True)` and `swap` are decided atomically by the store
    itself, not by looking first. `deletes`: False for an append-only store."""

    conditional: bool
    deletes: bool = True


def check_name(name: str) -> str:
    """Give `name` back if it is fit for an object, else raise `UsageError`: nothing else reaches a store."""
    parts = name.split("/")
    if len(parts) > 2 or not all(map(_match_part, parts)):
        raise UsageError(f"`{name[:80]!r}` cannot name an object of a repository")
    return name


def is_part(part: str) -> bool:
    """Whether `part` can be one part of a name; a listing leaves out what cannot."""
    return _match_part(part) is not None


def only_parts(names: Sequence[str]) -> list[str]:
    """Those of `names` that can be one part of a name: at once, for there may be very many."""
    text = "".join([f"{name}\n" for name in names])
    whole = text.count("\n") == len(names)  # none of them holds a newline
    return list(names) if whole and _match_parts(text) else list(filter(is_part, names))


def check_options(scheme: str, options: Collection[str], known: Collection[str]) -> None:
    """Raise a `ConfigError` that names the `known` options if another is set."""
    for option in options:
        if option not in known:
            there = ", ".join(f"`{name}`" for name in sorted(known)) or "none"
            raise ConfigError(f"a store of kind `{scheme}` has no option `{option}`", hint=f"there are: {there}")


def yes_or_no(options: Mapping[str, str], option: str, default: bool) -> bool:
    """The value of an option that is `yes` or `no`; anything else is a `ConfigError`."""
    value = options.get(option)
    if value not in {None, "yes", "no"}:
        raise ConfigError(f"option `{option}` must be `yes` or `no`")
    return default if value is None else value == "yes"


class Store(Protocol):
    """A place for a repository. Thread-safe: `put` and `get` are called from several threads."""

    local: bool
    """Whether it is files of this machine, with no connection that a forked process would share."""

    @property
    def url(self) -> str:
        """Where it is, without credentials: fit for messages and logs."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can promise; may ask the store the first time."""
        ...

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """Connect. `options` are the operator's settings for this store, references already resolved to values.
        An unknown or missing option is a `ConfigError` that names the ones there are."""
        ...

    def put(self, name: str, parts: Sequence[Buffer], *, new: bool = False, durable: bool = True) -> None:
        """Store the joined `parts` under `name`: visible whole or not at all, durable on return (unless
        `durable` is False, which only says that losing it in a crash is harmless).
        `new` refuses a name that exists with `WouldOverwriteError`."""
        ...

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        """Like `put` for a stream that may be larger than memory, read once. If `chunks` raises, nothing of it
        ever becomes visible and the exception goes on to the caller."""
        ...

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of `name` from `start`, at most `length` of them (fewer at the end). `NotFoundError`;
        `IntegrityError` where the store's own checksum shows damage."""
        ...

    def download(self, name: str) -> Iterator[bytes]:
        """The bytes of `name` in chunks of bounded size (at most 1 MiB), for objects larger than memory.
        `NotFoundError`, at the latest with the first chunk; `ConflictError` if it is replaced meanwhile and the
        store cannot go on with the old bytes."""
        ...

    def stat(self, name: str) -> Stored | None:
        """Size, time and, where the store computes one, the SHA-256 of `name`; None if there is none."""
        ...

    def list(self, folder: str) -> list[Stored]:
        """The objects directly in `folder` ("" = the top), in no order; half-written ones are not shown.
        A folder that does not exist is empty."""
        ...

    def names(self, folder: str) -> Sequence[str]:
        """The names that `list` gives, at the least cost: a year of hours is 26,000 of them."""
        ...

    def delete(self, name: str) -> None:
        """Remove `name`; one that is not there is fine. `RefusedError` on an append-only store."""
        ...

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The bytes of `name` with the version token that `swap` takes; None if there is none. A token may
        stand for the bytes alone: changed and changed back is unchanged."""
        ...

    def swap(self, name: str, data: Buffer, expected: str | None) -> None:
        """Replace `name` if its version token is still `expected` (None: if it does not exist), else
        `ConflictError`. Decided by the store where `capabilities.conditional`, else best effort."""
        ...

    def sweep(self, older_than_ns: int) -> int:
        """Remove half-written leftovers of killed runs last touched before `older_than_ns`; how many."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def read_by_looking(store: Store, name: str) -> tuple[bytes, str] | None:
    """`Store.read` where the version token is the SHA-256 of the bytes."""
    import hashlib

    try:
        data = store.get(name)
    except NotFoundError:
        return None
    return data, hashlib.sha256(data).hexdigest()


def swap_by_looking(store: Store, name: str, data: Buffer, expected: str | None) -> None:
    """`Store.swap` where the place itself cannot compare: looked at first, then written."""
    if expected is None:
        try:
            store.put(name, [data], new=True)
        except WouldOverwriteError:
            raise ConflictError(f"`{name}` in `{store.url}` exists already") from None
        return
    found = store.read(name)
    if found is None or found[1] != expected:
        raise ConflictError(f"`{name}` in `{store.url}` was changed by somebody else")
    store.put(name, [data])
