"""Run Milvus where nobody else hears it: it listens on every interface, so it gets a network of its own.

`unshare` has made that network before this starts. What Milvus serves comes out of it by the Unix socket `socket`
in the working directory, which is there when Milvus is healthy. Method: configuration as the package writes it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PORT, METRICS = 19530, 19091


def loopback_up() -> None:
    """As `ip link set lo up` does (netdevice(7): SIOCSIFFLAGS, IFF_UP)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 1))


def write_configuration(folder: Path, lease_seconds: int) -> None:
    """The package's own settings, with an etcd lease short enough that a killed server can come back soon."""
    from milvus import MilvusServerConfig

    config = MilvusServerConfig()
    config.update(data_dir=str(folder))
    config.set("proxy_port", PORT)
    config.set("common.session.ttl", lease_seconds)
    config.resolve()


def healthy() -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/healthz", timeout=3) as answer:
            return b"OK" in answer.read()
    except OSError:
        return False


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until one side ends, and tell the other."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def join(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes on in both directions."""
    with one, other:
        back = threading.Thread(target=pump, args=(other, one), daemon=True)
        back.start()
        pump(one, other)
        back.join()


def relay(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Join every connection that `listener` takes to one that `connect` makes."""
    while True:
        try:
            one, _ = listener.accept()
        except OSError:
            return
        try:
            other = connect()
        except OSError:
            one.close()
            continue
        threading.Thread(target=join, args=(one, other), daemon=True).start()


def main(package: str, programs: str, lease_seconds: str) -> int:
    sys.path.insert(0, package)
    loopback_up()
    here = Path.cwd()
    write_configuration(here, int(lease_seconds))
    environment = {
        **os.environ,
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(METRICS),
        "MILVUS_RUN_DIR": str(here / "run"),
        "LD_LIBRARY_PATH": programs,
    }
    words = ["setpriv", "--pdeathsig", "KILL", f"{programs}/milvus", "run", "standalone"]
    server = subprocess.Popen(words, env=environment)
    while server.poll() is None and not healthy():
        time.sleep(0.05)
    (here / "socket").unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(here / "socket"))
    listener.listen(64)
    connect = lambda: socket.create_connection(("127.0.0.1", PORT), 5)  # noqa: E731
    threading.Thread(target=relay, args=(listener, connect), daemon=True).start()
    return server.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
