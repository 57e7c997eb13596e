"""age's ASCII armor: strict PEM around an age file, so that it survives mail, chat and paper.

The rules are those of the C2SP age specification: lines of 64 columns, canonical base64, LF or CRLF, and nothing
but white space (less than 1 KiB) around it.
"""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64
from typing import TYPE_CHECKING

from antsmem.core.age.source import AgeFileError, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from antsmem.core.disk import Buffer

_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
_END = b"-----END AGE ENCRYPTED FILE-----"
_COLUMNS = 64
_WHITE_LIMIT = 1024
_LINE_LIMIT = 2048
_BLOCK_LINES = 1 << 10
_BLOCK_BYTES = _BLOCK_LINES * (_COLUMNS + 1)


def armor(data: Buffer) -> bytes:
    """`data`, a whole age file, as armored text with LF line ends."""
    text = b2a_base64(data, newline=False)
    lines = [text[start : start + _COLUMNS] for start in range(0, len(text), _COLUMNS)]
    return b"\n".join([_BEGIN, *lines, _END, b""])


def dearmor(source: Source) -> Iterator[bytes]:
    """The age file inside the armor that `source` holds, in chunks of about 64 KiB, up to and including the check
    that nothing follows. Raises `AgeFileError` of part `armor`."""
    _skip_begin(source)
    yield from _full_blocks(source)
    batch = bytearray()
    while (line := _line(source)) != _END:
        raw = _decode(line)
        batch += raw
        if len(raw) < _COLUMNS // 4 * 3:
            if _line(source) != _END:
                raise AgeFileError("armor", "a short line is not followed by the end line")
            break
        if len(batch) >= _BLOCK_BYTES:
            yield bytes(batch)
            batch.clear()
    rest = bytes(source.read(_WHITE_LIMIT))
    if rest.strip() or len(rest) == _WHITE_LIMIT:
        raise AgeFileError("armor", "something follows the end line")
    yield bytes(batch)


def _skip_begin(source: Source) -> None:
    white = 0
    while white < _WHITE_LIMIT:
        line = _line(source)
        if line.strip():
            if line != _BEGIN:
                raise AgeFileError("armor", "this begins neither as an age file nor as an armored one")
            return
        white += len(line) + 1
    raise AgeFileError("armor", "too much white space before the begin line")


def _full_blocks(source: Source) -> Iterator[bytes]:
    """The bytes of as many blocks of full lines as come next, ten times as fast as line by line. It stops before
    the first block that is not plainly full lines, all ended by LF."""
    while True:
        block = source.peek(_BLOCK_BYTES)
        if len(block) < _BLOCK_BYTES or block.count(b"\n") != _BLOCK_LINES or b"=" in block:
            return
        if block[_COLUMNS :: _COLUMNS + 1].count(b"\n") != _BLOCK_LINES:
            return
        raw = _base64(block.replace(b"\n", b""))
        source.read(_BLOCK_BYTES)
        yield raw


def _line(source: Source) -> bytes:
    line = source.through(b"\n", _LINE_LIMIT)
    if not line:
        raise AgeFileError("armor", "the end line is missing")
    return line.removesuffix(b"\n").removesuffix(b"\r")


def _decode(line: bytes) -> bytes:
    if not line or len(line) > _COLUMNS:
        raise AgeFileError("armor", "a line is empty or longer than 64 columns")
    raw = _base64(line)
    if line.endswith(b"=") and b2a_base64(raw, newline=False) != line:
        raise AgeFileError("armor", "a line is not canonical base64")
    return raw


def _base64(text: bytes) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except Error:
        raise AgeFileError("armor", "a line is not base64") from None
