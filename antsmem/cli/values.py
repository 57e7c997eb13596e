"""How the values of secrets come in and go out: never through arguments."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from antsmem.core import canonical
from antsmem.core.disk import read_file
from antsmem.core.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.identity.secret import Secret

MAX_BYTES = 16 << 20
_LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*(.*)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def read_value(ctx: Context, name: str, fd: int | None) -> bytes:
    """The value of the secret `name`: from descriptor `fd`, else from standard input, else from a prompt. A
    newline at the end of a single line is not part of it. `UsageError` if there is none."""
    if fd is None and sys.stdin is not None and sys.stdin.isatty():
        return _asked(ctx, name)
    try:
        with os.fdopen(0 if fd is None else fd, "rb", closefd=False) as source:
            value = source.read(MAX_BYTES)
    except OSError:
        raise UsageError(f"file descriptor {fd or 0} cannot be read") from None
    if value.count(b"\n") == 1:
        value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise UsageError(
            f"no value for secret `{name}`", hint="give it on standard input, with --fd N or at the prompt"
        )
    return value


def _asked(ctx: Context, name: str) -> bytes:
    import getpass

    if ctx.options.no_input:
        raise UsageError(f"no value for secret `{name}`", hint="give it on standard input or with --fd N")
    value = getpass.getpass(f"value of {name}: ")
    if value != getpass.getpass("again: "):
        raise UsageError("the two values differ: nothing was changed")
    return value.encode()


def say_value(ctx: Context, secret: Secret) -> None:
    """Print the value of `secret` as it is, or in a JSON document: as text, or in base64 where it is none."""
    if not ctx.options.json:
        ctx.output.reveal(secret.value + (b"\n" if sys.stdout.isatty() else b""))
        return
    from antsmem.cli.output import document
    from antsmem.identity.fields import to_base64

    try:
        value, encoding = secret.value.decode(), "utf-8"
    except UnicodeDecodeError:
        value, encoding = to_base64(secret.value), "base64"
    found = {"name": secret.name, "version": secret.version, "encoding": encoding, "value": value}
    ctx.output.reveal(document("secret-get", found))


def parse_pairs(path: Path | None) -> dict[str, bytes]:
    """Name → value of what is in the .env or JSON file at `path`, or on standard input. A JSON file is one object
    of texts. `UsageError` with the number of the line that cannot be understood; a value is never shown."""
    data = read_file(path, MAX_BYTES) if path else _piped()
    where = str(path) if path else "standard input"
    found = _json(data, where) if data.lstrip()[:1] == b"{" else _lines(data, where)
    if not found:
        raise UsageError(f"`{where}` holds no secrets")
    return found


def _piped() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("nothing to import", hint="name a file, or pipe it in")
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UsageError(f"standard input has more than {MAX_BYTES} bytes", hint="import it in parts")
    return data


def _json(data: bytes, where: str) -> dict[str, bytes]:
    try:
        value = canonical.loads(data, MAX_BYTES)
    except IntegrityError as error:
        raise UsageError(f"`{where}`: {error}") from None
    if not all(isinstance(item, str) for item in value.values()):
        raise UsageError(f"`{where}` holds something else than texts by name")
    return {name: item.encode() for name, item in value.items()}


def _lines(data: bytes, where: str) -> dict[str, bytes]:
    """As dotenv files are written: NAME=value, quoted or not, `#` begins a comment."""
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"`{where}` is not UTF-8") from None
    found: dict[str, bytes] = {}
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[1] in found:
            raise UsageError(
                f"`{where}` line {number} is not NAME=VALUE"
                if match is None
                else f"`{where}` line {number} names `{match[1]}` again"
            )
        text = match[2]
        while text[:1] in {"'", '"'} and _closing(text) is None and at < len(lines):
            text, at = f"{text}\n{lines[at]}", at + 1
        found[match[1]] = _value(text, f"`{where}` line {number}").encode()
    return found


def _closing(text: str) -> int | None:
    """Where the quotation that begins `text` ends."""
    pattern = r"'([^']*)'" if text[0] == "'" else r'"((?:[^"\\]|\\.)*)"'
    match = re.match(pattern, text, re.DOTALL)
    return match.end() if match else None


def _value(text: str, where: str) -> str:
    if text[:1] not in {"'", '"'}:
        return re.split(r"(?:^|[ \t])#", text)[0].rstrip()
    end = _closing(text)
    if end is None or not re.fullmatch(r"[ \t]*(#.*)?", text[end:]):
        raise UsageError(f"{where}: the quotation does not end")
    inner = text[1 : end - 1]
    if text[0] == "'":
        return inner
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), inner, flags=re.DOTALL)
