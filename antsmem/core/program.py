"""What a program of the operator's prints, bounded in time and size: one that runs wild fills no memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen


def printed(command: Sequence[str], seconds: float, most_bytes: int) -> tuple[bytes, int]:
    """What `command` prints, of which one byte more than `most_bytes` is read, and its exit status. It is started
    without a shell and without our standard input, and ended if it prints more.

    Raises `OSError` (it cannot be started) and `subprocess.TimeoutExpired`.
    """
    from subprocess import DEVNULL, PIPE, Popen

    with Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL) as process:
        try:
            data = read_output(process, seconds, most_bytes)
        finally:
            process.kill()
    return data, process.returncode


def read_output(process: Popen[bytes], seconds: float, most_bytes: int) -> bytes:
    """What `process` writes until it ends, or the first `most_bytes` and one more. `subprocess.TimeoutExpired`:
    it did not end in time."""
    import selectors
    import time
    from subprocess import TimeoutExpired

    assert process.stdout is not None
    end, data = time.monotonic() + seconds, bytearray()
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while len(data) <= most_bytes:
            if not waiting.select(max(0.0, end - time.monotonic())):
                raise TimeoutExpired(process.args, seconds)
            part = os.read(process.stdout.fileno(), min(65536, most_bytes + 1 - len(data)))
            if not part:
                process.wait(max(0.0, end - time.monotonic()))
                break
            data += part
    return bytes(data)
