"""One mask around standard output and error, once anything is unlocked: free until something is written."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, TypeAlias

if TYPE_CHECKING:
    from antsmem.core.mask import Mask, Stream

Values: TypeAlias = Callable[[], Sequence[tuple[str, bytes]]]


class Veil:
    """What is hidden, and the two streams that it is hidden in. Made, it takes their place in `sys`."""

    def __init__(self) -> None:
        self._values: list[Values] = []
        self._mask: Mask | None = None
        self._doors = [_Door(self, sys.stdout), _Door(self, sys.stderr)]
        sys.stdout, sys.stderr = (door.text() for door in self._doors)

    def hide(self, values: Values) -> None:
        """Hide these as well."""
        self.end()
        self._values.append(values)
        self._mask = None

    def mask(self) -> Mask:
        """The mask for all that is hidden: made when something is written."""
        if self._mask is None:
            from antsmem.core.mask import Mask

            self._mask = Mask([pair for values in self._values for pair in values()])
        return self._mask

    def reveal(self, data: bytes) -> None:
        """Write `data` to standard output as it is."""
        self.end()
        under = self._doors[0].under
        under.write(data)
        under.flush()

    def end(self) -> None:
        """Write all that is held back."""
        sys.stdout.flush()
        sys.stderr.flush()
        for door in self._doors:
            door.end()


class _Door(io.BufferedIOBase):
    """A binary stream that masks what goes through to the one under it."""

    def __init__(self, veil: Veil, before: TextIO) -> None:
        self.under: BinaryIO = before.buffer
        self._before = before  # without it, nobody would keep the one under it open
        self._veil = veil
        self._stream: Stream | None = None

    def text(self) -> TextIO:
        """This as a text stream like the one before."""
        door: Any = self  # it has what a text stream needs of a binary one
        return io.TextIOWrapper(
            door,
            encoding=self._before.encoding,
            errors=self._before.errors,
            line_buffering=self._before.isatty() or self._before is sys.stderr,
        )

    def write(self, data: Any, /) -> int:
        """Write `data`, masked."""
        part = memoryview(data).cast("B")
        if self._stream is None:
            self._stream = self._veil.mask().stream()
        self.under.write(self._stream.feed(part))
        return len(part)

    def flush(self) -> None:
        """Write what can be written."""
        if self.under.closed:
            return
        if self._stream is not None:
            self.under.write(self._stream.idle())
        self.under.flush()

    def end(self) -> None:
        """Write everything; what comes then is a new stream."""
        if self._stream is not None:
            self.under.write(self._stream.end())
            self._stream = None
        self.under.flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Of the stream under it."""
        return self.under.fileno()

    def isatty(self) -> bool:
        """As the stream under it."""
        return self.under.isatty()
