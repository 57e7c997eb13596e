"""Sealed bytes as they come in, in chunks of any size, and the error that says what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from antsmem.core.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from antsmem.core.disk import Buffer

Part: TypeAlias = Literal["armor", "header", "mac", "payload"]


class AgeFileError(IntegrityError):
    """The bytes are not what age writes, or were changed or cut since. `part` says where that shows: `mac` is a
    header that parses and unlocks, but is not the one that was written."""

    hint = "the file was changed or cut after it was sealed: take another copy"

    def __init__(self, part: Part, what: str) -> None:
        super().__init__(f"age {part} refused: {what}")
        self.part: Part = part


class Source:
    """Reads `chunks` (or one buffer) from the front, holding no more of it than is asked for at once.

    Nothing is copied as long as the answer lies within one chunk, so a chunk must not change until it is used up.
    """

    __slots__ = ("_after", "_chunks", "_view")

    def __init__(self, chunks: Buffer | Iterable[Buffer]) -> None:
        self._chunks: Iterator[Buffer] = iter(
            (chunks,) if isinstance(chunks, bytes | bytearray | memoryview) else chunks
        )
        self._view = self._after = memoryview(b"")

    def at_end(self) -> bool:
        """Whether nothing is left."""
        if not self._view:
            self._view, self._after = self._after, self._view
        while not self._view:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._view = memoryview(chunk).cast("B")
        return False

    def read(self, size: int) -> bytes | memoryview:
        """The next `size` bytes, fewer only at the end."""
        if self.at_end() or len(self._view) >= size:
            return self._take(size)
        held = bytearray()
        while len(held) < size and not self.at_end():
            held += self._take(size - len(held))
        return bytes(held)

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end, without using them up."""
        if len(self._view) < size:
            head = bytes(self.read(size))
            # What was set aside before is in `head` now, or the view would have been long enough.
            self._view, self._after = memoryview(head), self._view
        return bytes(self._view[:size])

    def through(self, mark: bytes, limit: int) -> bytes:
        """All up to and including the first `mark`. Without `mark` at its end if the stream ends or `limit`
        bytes were read before it came."""
        held = bytearray()
        step = 128
        while len(held) < limit and not self.at_end():
            searched = max(0, len(held) - len(mark) + 1)
            before = self._view
            held += self._take(min(step, limit - len(held)))
            found = held.find(mark, searched)
            if found >= 0:
                excess = len(held) - found - len(mark)
                self._view = before[len(before) - len(self._view) - excess :]
                return bytes(held[: len(held) - excess])
            step *= 2
        return bytes(held)

    def _take(self, size: int) -> memoryview:
        taken, self._view = self._view[:size], self._view[size:]
        return taken
