"""Programs that leak, for the controls: each is antsmem with one mistake in it, which the suite has to notice."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Leak = Callable[[bytes], None]


@dataclass(frozen=True)
class Leaky:
    """A mistake: what it does with the value of a secret once the keystore is open, where that is to be seen, and
    in which form; or, if `install` is another, what it does instead."""

    place: str
    form: str
    do: Leak
    kind: str = "keystore value"

    def install(self) -> None:
        """Make the mistake, in this process."""
        if self.do in {_unmasked, _copied, _unveiled}:
            self.do(b"")
            return
        from antsmem.identity import keystore

        real = keystore.keystore_from_bytes
        done = []

        def leaking(*given: Any) -> Any:
            opened = real(*given)
            value = opened.op_key.seed() if self.kind == "op key" else opened.secrets[0].value
            if not done:
                done.append(True)
                self.do(value)
            return opened

        keystore.keystore_from_bytes = leaking


def _unmasked(_: bytes) -> None:
    """What a backup finds is shown as it stands."""
    from antsmem.backup import intake

    intake.masked = lambda secret: bytes(secret).decode()


def _unveiled(_: bytes) -> None:
    """What is printed is not masked, so that a bug shows the value that it was about."""
    from antsmem.cli.output import Output

    Output.hide = lambda *_: None  # type: ignore[method-assign]


def _copied(_: bytes) -> None:
    """What is backed up lies in the open beside what is sealed."""
    from antsmem.backup import packer

    real = packer.seal_pack

    def seal_pack(draft: Any, level: int, recipients: Any) -> Any:
        with open(os.path.join(os.environ["HOME"], "draft"), "wb") as file:
            file.write(draft.view[: draft.end])
        return real(draft, level, recipients)

    packer.seal_pack = seal_pack  # type: ignore[attr-defined]


def _transient(value: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(value)
        file.flush()


def _named_and_gone(value: bytes) -> None:
    fd, path = tempfile.mkstemp()
    os.write(fd, base64.b85encode(value))
    os.close(fd)
    os.unlink(path)


def _letter_by_letter(value: bytes) -> None:
    with open(os.path.join(os.environ["HOME"], "slow"), "ab", buffering=0) as file:
        for byte in value:
            file.write(bytes([byte]))
    os.unlink(file.name)


def _in_memory(value: bytes) -> None:
    os.write(os.memfd_create("scratch"), value.hex().encode())


def _as_a_name(value: bytes) -> None:
    folder = os.path.join(os.environ["HOME"], value.hex()[:120])
    os.mkdir(folder)
    os.rmdir(folder)


def _sent(value: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(value[::-1], ("127.0.0.1", 9))


def _compressed(value: bytes) -> None:
    with open(os.path.join(os.environ["HOME"], "core.gz"), "wb") as file:
        file.write(gzip.compress(value * 9))


def _raised(value: bytes) -> None:
    try:
        raise ValueError(f"cannot read {value!r}")
    except ValueError:
        traceback.print_exc()


def _to_a_child(value: bytes) -> None:
    subprocess.run(["true"], env={"SECRET": value.decode()}, check=True)


def _in_arguments(value: bytes) -> None:
    subprocess.run(["true", "--password", value.decode()], check=True)


def _printed(value: bytes) -> None:
    print(base64.urlsafe_b64encode(b"a" + value).decode())


def _logged(value: bytes) -> None:
    print(json.dumps({"value": value.decode()}), file=sys.stderr)


UNVEILED = "nothing masked, and a bug with a value"
LEAKS = {
    "mask removed": Leaky("stdout or stderr", "raw", _unmasked, "token"),
    UNVEILED: Leaky("stdout or stderr", "raw", _unveiled),
    "packs in the open": Leaky("home/draft", "raw", _copied, "memory"),
    "argument of a child": Leaky("argv", "raw", _in_arguments),
    "environment handed to a child": Leaky("env", "raw", _to_a_child),
    "base64 on standard output": Leaky("stdout or stderr", "base64", _printed),
    "escaped on standard error": Leaky("stdout or stderr", "json", _logged),
    "traceback with the value": Leaky("stdout or stderr", "repr", _raised),
    "temporary file without a name": Leaky("tmp", "raw", _transient),
    "temporary file that is gone": Leaky("tmp", "base85", _named_and_gone),
    "one letter at a time": Leaky("home/slow", "raw", _letter_by_letter),
    "compressed": Leaky("home/core.gz", "raw", _compressed),
    "file in memory": Leaky("memfd", "hex", _in_memory),
    "name of a file": Leaky("name", "hex", _as_a_name),
    "datagram": Leaky("net", "reversed", _sent),
    "key in a file": Leaky("tmp", "raw", _transient, "op key"),
}
