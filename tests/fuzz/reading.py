"""What a target is: good files, who reads one, and how a changed inside is dressed as a good file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeAlias

from specimens import Specimens

from antsmem.backup.repository import Repository
from antsmem.core.errors import AntsmemError
from antsmem.drivers.file import FileStore

Read: TypeAlias = Callable[[bytes], object]
Inside: TypeAlias = Callable[[Random], bytes]
Making: TypeAlias = "Callable[[Specimens], Target]"


@dataclass(frozen=True)
class Target:
    """`seeds`: good files. `read`: what must raise nothing but our errors. `inside`: a changed inside, dressed as
    a good file. `at`: where the file must lie. `writes`: reading it may change files."""

    seeds: Sequence[bytes]
    read: Read
    inside: Inside | None = None
    at: Path | None = None
    writes: bool = False
    good: bool = True
    """Whether the seeds are accepted."""


@dataclass
class Lying(FileStore):  # type: ignore[misc]
    """A store that answers with other bytes than it holds."""

    root: str
    lies: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.root)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        if name in self.lies:
            return self.lies[name][start : None if length is None else start + length]
        return super().get(name, start, length)

    def download(self, name: str) -> Iterator[bytes]:
        if name in self.lies:
            return iter([self.lies[name]])
        return super().download(name)


def lying(s: Specimens, **lies: bytes) -> Repository:
    """The specimens' repository as that store shows it."""
    store = Lying(str(s.backup.folder), {name.replace("__", "/"): data for name, data in lies.items()})
    return Repository(store, s.backup.repository().id, s.backup.agent.kit())


def refused(use: Callable[[], object]) -> None:
    """Call `use`, which may refuse, so that the next use is tried as well."""
    with suppress(AntsmemError):
        use()
