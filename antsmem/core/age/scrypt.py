"""Passphrases: age's scrypt recipient, whose cost is capped by the reader and by the memory there is.

One passphrase takes 2^work_factor KiB of memory and about that many times 4 µs. The file names the cost, so
a hostile one could ask for any: it is checked before anything is allocated.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from antsmem.core.age.chacha import SEALED_KEY_BYTES, open_key, seal_key
from antsmem.core.age.header import Stanza, decode64, encode64
from antsmem.core.age.opaque import Opaque
from antsmem.core.age.source import AgeFileError
from antsmem.core.errors import CannotUnlockError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from antsmem.core.errors import AntsmemError

_SALT_LABEL = b"age-encryption.org/v1/scrypt"
_SALT_BYTES = 16
_MIB = 1 << 20
_WORK_FACTORS = range(1, 23)


class ScryptRecipient(Opaque):
    """A passphrase to seal with. It must be a file's only recipient.

    `work_factor` 17 takes 128 MiB and about half a second, for whoever tries a passphrase and for us.
    """

    __slots__ = ("work_factor",)
    work_factor: int

    def __init__(self, passphrase: str, work_factor: int = 17) -> None:
        super().__init__(_passphrase_bytes(passphrase))
        object.__setattr__(self, "work_factor", _checked(work_factor))

    def wrap(self, file_key: bytes) -> Stanza:
        """`file_key` sealed for whoever knows the passphrase. `UsageError` if there is not the memory for it."""
        salt = os.urandom(_SALT_BYTES)
        key = _derive(self._content, salt, self.work_factor, UsageError)
        return Stanza("scrypt", (encode64(salt), str(self.work_factor)), seal_key(key, file_key))


class ScryptIdentity(Opaque):
    """A passphrase to unseal with. A file that asks for more than `max_work_factor` is refused: the 18 that the
    `age` program writes takes 256 MiB."""

    __slots__ = ("max_work_factor",)
    max_work_factor: int

    def __init__(self, passphrase: str, max_work_factor: int = 18) -> None:
        super().__init__(_passphrase_bytes(passphrase))
        object.__setattr__(self, "max_work_factor", _checked(max_work_factor))

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if `stanza` is for somebody else. `AgeFileError` if it is malformed or costs too
        much, `CannotUnlockError` if there is not the memory for it."""
        if stanza.kind != "scrypt":
            return None
        cost = work_factor(stanza)
        salt = decode64(stanza.arguments[0])
        if len(salt) != _SALT_BYTES or len(stanza.body) != SEALED_KEY_BYTES:
            raise AgeFileError("header", "a `scrypt` stanza with parts of the wrong size")
        if cost > self.max_work_factor:
            raise AgeFileError(
                "header", f"its scrypt work factor {cost} is above the limit {self.max_work_factor}"
            )
        return open_key(_derive(self._content, salt, cost, CannotUnlockError), stanza.body)


def work_factor(stanza: Stanza) -> int:
    """The cost that a `scrypt` stanza names: the logarithm to the base 2 of scrypt's N."""
    if len(stanza.arguments) != 2:
        raise AgeFileError("header", "a `scrypt` stanza without exactly a salt and a work factor")
    text = stanza.arguments[1]
    if not text.isdecimal() or text.startswith("0") or len(text) > 2:
        raise AgeFileError("header", "a `scrypt` stanza whose work factor is not a number from 1 to 99")
    return int(text)


def available_bytes(root: str = "/") -> int:
    """The memory that this process may still take: the least that the host (`/proc/meminfo`) and the control
    groups around us (cgroup v2) leave; where there is no `/proc`, half of what is built in. `root` is where the
    system's files are."""
    free_kib = _field(f"{root}proc/meminfo", "MemAvailable:")
    if free_kib is None:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return min([free_kib * 1024, *_group_rooms(root)])


def _group_rooms(root: str) -> Iterator[int]:
    paths = [line[3:] for line in _lines(f"{root}proc/self/cgroup") if line.startswith("0::")]
    path = paths[0] if paths else "/"
    while True:
        folder = f"{root}sys/fs/cgroup{path.rstrip('/')}"
        limit, used = _lines(f"{folder}/memory.max"), _lines(f"{folder}/memory.current")
        if limit and used and limit[0].isdecimal():
            # Files that were read count as used, but are given up when memory is asked for.
            cached = _field(f"{folder}/memory.stat", "inactive_file ") or 0
            yield max(0, int(limit[0]) - int(used[0]) + cached)
        if path in {"", "/"}:
            return
        path = path.rpartition("/")[0]


def _field(path: str, name: str) -> int | None:
    for line in _lines(path):
        if line.startswith(name):
            return int(line.removeprefix(name).split()[0])
    return None


def _lines(path: str) -> list[str]:
    from antsmem.core.disk import read_file

    try:
        return read_file(path).decode("utf-8", "replace").splitlines()
    except (NotFoundError, UsageError):
        return []


def _passphrase_bytes(passphrase: str) -> bytes:
    if not passphrase:
        raise UsageError("an empty passphrase protects nothing")
    try:
        return passphrase.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError("the passphrase is not valid Unicode") from None


def _checked(factor: int) -> int:
    if factor not in _WORK_FACTORS:
        raise UsageError(f"a scrypt work factor is {_WORK_FACTORS[0]} to {_WORK_FACTORS[-1]}, not {factor}")
    return factor


def _derive(passphrase: bytes, salt: bytes, factor: int, failure: type[AntsmemError]) -> bytes:
    import hashlib

    need = 1024 << factor
    refusal = failure(
        f"scrypt at work factor {factor} needs {need >> 10} KiB of memory, more than this process can have",
        hint="free some memory, or do this on a larger host",
    )
    if need > available_bytes():
        raise refusal
    try:
        return hashlib.scrypt(
            passphrase, salt=_SALT_LABEL + salt, n=1 << factor, r=8, p=1, maxmem=need + _MIB, dklen=32
        )
    except (MemoryError, ValueError):
        # Under `ulimit -v` OpenSSL is refused what the host has, and says so as a ValueError.
        raise refusal from None
