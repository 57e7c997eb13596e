"""Run inside new namespaces: make them a small machine of its own, and keep them until nobody needs them.

    python -m antsmem.drill.holder FD PORT HOSTNAME [HIDDEN ...]

FD is a Unix socket. Over it goes a socket that listens on the namespace's own loopback at PORT (0: none), so that
what runs outside can answer inside. When the other end closes, this process ends, and with it the namespaces.
"""

from __future__ import annotations

import fcntl
import signal
import socket
import struct
import subprocess
import sys
from typing import Final

_GET_FLAGS: Final = 0x8913
_SET_FLAGS: Final = 0x8914
_UP: Final = 1  # linux/if.h, linux/sockios.h


def main(words: list[str]) -> None:
    """Set up, say so, wait."""
    other = socket.socket(fileno=int(words[0]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # we are the first process here: the dead are ours to bury
    socket.sethostname(words[2])
    for place in words[3:]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", place], check=True)
    if port := int(words[1]):
        _loopback_up()
        with socket.create_server(("127.0.0.1", port)) as listener:
            socket.send_fds(other, [b"ready"], [listener.fileno()])
    else:
        other.send(b"ready")
    other.recv(1)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(control, _GET_FLAGS, asked))
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))


if __name__ == "__main__":
    main(sys.argv[1:])
