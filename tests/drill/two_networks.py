"""A planned move between two network namespaces, with every packet between them kept and searched.

Run as root of a new user and network namespace: `python two_networks.py DIRECTORY`. Prints one line of JSON: how
many bytes crossed, which private values were seen in them, and what a control saw that sends one on purpose.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from antsmem.drill.canaries import Canaries
from antsmem.drill.old import private_values
from antsmem.identity.recovery import RecoveryKit

LEFT, RIGHT = "10.77.0.1", "10.77.0.2"
PROGRAM = [sys.executable, "-P", "-m", "antsmem"]
RECEIVE = "import socket,sys\ns=socket.create_connection(('10.77.0.1',int(sys.argv[1])))\n"
TO_TAR = (
    RECEIVE
    + "import tarfile\ntarfile.open(fileobj=s.makefile('rb'),mode='r|').extractall(sys.argv[2],filter='tar')"
)
SEND = RECEIVE + "s.sendall(open(sys.argv[2],'rb').read())"


class Wire:
    """All that passes the left end of the cable, put together again by the order of its bytes."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self.socket.bind(("left", 0))
        self.flows: dict[tuple[bytes, bytes], dict[int, bytes]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                frame = self.socket.recv(1 << 18)
            except OSError:  # the cable is gone
                return
            if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
                continue
            start = 14 + 4 * (frame[14] & 15)
            end = 14 + int.from_bytes(frame[16:18], "big")
            (number,) = struct.unpack(">I", frame[start + 4 : start + 8])
            payload = frame[start + 4 * (frame[start + 12] >> 4) : end]
            if payload:
                flow = frame[26:34], frame[start : start + 4]
                self.flows.setdefault(flow, {})[number] = payload

    def streams(self) -> list[bytes]:
        before = -1
        while before != (before := sum(map(len, self.flows.values()))):
            time.sleep(0.5)
        return [b"".join(parts[number] for number in sorted(parts)) for parts in self.flows.values()]


class Side:
    """One of the two machines."""

    def __init__(self, root: Path, enter: list[str]) -> None:
        self.root, self.enter = root, enter
        (root / "home").mkdir(parents=True)

    def run(self, words: list[str], code: int = 0) -> str:
        told = {"HOME": str(self.root / "home"), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        done = subprocess.run(
            [*self.enter, *words], cwd=self.root, env=told, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def antsmem(self, *words: str, code: int = 0) -> str:
        return self.run([*PROGRAM, *words], code)


def cable() -> tuple[subprocess.Popen[bytes], list[str]]:
    """Two ends of a cable, the right one in a network namespace of its own; how to enter that."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    inside = ["nsenter", "--target", str(holder.pid), "--net", "--"]
    until = time.monotonic() + 120
    while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        assert time.monotonic() < until
        time.sleep(0.02)
    for words in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "link", "add", "left", "type", "veth", "peer", "name", "right"],
        ["ip", "link", "set", "right", "netns", str(holder.pid)],
        ["ip", "addr", "add", f"{LEFT}/24", "dev", "left"],
        ["ip", "link", "set", "left", "up"],
        [*inside, "ip", "addr", "add", f"{RIGHT}/24", "dev", "right"],
        [*inside, "ip", "link", "set", "right", "up"],
    ):
        subprocess.run(words, check=True)
    return holder, inside


def send(side: Side, what: list[str], to: str) -> None:
    """Files of the left machine, over the cable, into a directory of the right one."""
    with socket.create_server((LEFT, 0)) as listener:
        port = str(listener.getsockname()[1])
        receiver = threading.Thread(target=side.run, args=([sys.executable, "-c", TO_TAR, port, to],))
        receiver.start()
        peer, _ = listener.accept()
        with peer:
            subprocess.run(["tar", "-cf", "-", *what], stdout=peer.fileno(), check=True)
        receiver.join()


def fetch(side: Side, what: str) -> bytes:
    """A file of the right machine, over the cable."""
    with socket.create_server((LEFT, 0)) as listener:
        port = str(listener.getsockname()[1])
        sender = threading.Thread(target=side.run, args=([sys.executable, "-c", SEND, port, what],))
        sender.start()
        peer, _ = listener.accept()
        with peer, peer.makefile("rb") as stream:
            found = stream.read()
        sender.join()
    return found


def seen(wire: Wire, values: list[tuple[str, bytes]]) -> tuple[int, list[str]]:
    canaries = Canaries(values)
    for number, stream in enumerate(wire.streams()):
        canaries.look(stream, f"flow {number}")
    return canaries.searched.size_bytes, list(canaries.searched.hits)


def main(root: Path) -> None:
    holder, inside = cable()
    try:
        wire, secret = Wire(), f"sealed-{os.urandom(12).hex()}"
        old, new = Side(root / "old", []), Side(root / "new", inside)
        old.antsmem("init", "kevin", "--recovery-out", "kit.txt", "--repository", "stick")
        (old.root / "value").write_text(secret)
        old.run(["sh", "-c", '"$@" <value', "sh", *PROGRAM, "-C", "kevin", "secret", "set", "token"])
        old.antsmem("-C", "kevin", "once", "hello", "--", "true")
        code = re.search(
            r"^code: (\S+)", new.antsmem("migrate", "prepare", "--host", "right", "--out", "offer"), re.M
        )
        assert code
        (old.root / "offer").write_bytes(fetch(new, "offer"))
        values = private_values(old.root / "home", old.root / "kevin", "old")
        kit = RecoveryKit.parse((old.root / "kit.txt").read_text())
        values += [("kit", kit.identity.secret().encode()), ("secret", secret.encode())]
        words = ("migrate", "finish", "offer", "--code", code[1], "--kit", "kit.txt", "--out", "parcel")
        old.antsmem("-C", "kevin", *words)
        os.chdir(old.root)
        send(new, ["parcel", "stick"], ".")
        new.antsmem("migrate", "accept", "kevin", "parcel", "--repository", "./stick")
        values += private_values(new.root / "home", new.root / "kevin", "new")
        assert new.antsmem("-C", "kevin", "secret", "get", "token") == secret
        old.antsmem("-C", "kevin", "backup", code=4)
        old.antsmem("-C", "kevin", "once", "again", "--", "true", code=4)
        size, hits = seen(wire, values)
        send(new, ["kit.txt"], ".")
        print(json.dumps({"bytes": size, "values": len(values), "hits": hits, "control": seen(wire, values)[1]}))
    finally:
        holder.kill()
        holder.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
