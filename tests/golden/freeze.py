"""Freeze what this version writes: `python tests/golden/freeze.py` makes `tests/golden/VERSION/` anew.

Once a version is released, its directory is never touched again: every later version must read it. It holds

    repository/     three hot snapshots of two hosts and a cold one
    identity/       the keystore, epoch keys, identity log and escrow of the last host
    expected.json   snapshot → path → kind, mode, time in ns, SHA-256 or target
    opens.json      recovery kit and host key, made for this and good for nothing else; packed so that nobody who
                    looks for credentials takes them for one
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from demo import Machine, Seen, look

from antsmem import __version__

HERE = Path(__file__).parent
MONDAY_NS = 1_736_154_000_123_456_789  # 2025-01-06 09:00 UTC: no reader's clock is behind it
HOUR_NS = 3_600_000_000_000
_AT = """
from antsmem.core import clock
clock.now_ns = lambda: {}
from antsmem.cli.main import main
main()
"""


class Hourly(Machine):
    """A machine on which an hour passes between two calls, beginning with that Monday."""

    hours = 0

    def antsmem(self, *words: str | Path) -> Any:
        """Run the program at its hour; the JSON it answers."""
        now_ns = MONDAY_NS + Hourly.hours * HOUR_NS
        Hourly.hours += 1
        self.program = (sys.executable, "-c", _AT.format(now_ns))
        return super().antsmem(*words)


def packed(data: bytes) -> list[str]:
    """`data` as short words; `unpacked` gives it back."""
    text = zlib.compress(data).hex()
    return [text[at : at + 16] for at in range(0, len(text), 16)]


def unpacked(words: list[str]) -> bytes:
    """The bytes of `packed` words."""
    return zlib.decompress(bytes.fromhex("".join(words)))


def live(agent: Path) -> None:
    """A small agent with what file systems hold, apart from what some refuse."""
    rng = random.Random(1)
    files = {
        "SOUL.md": b"# Soul\n\nI outlive my runtime.\n",
        "MEMORY.md": "# Memory\n\nZoë lives in 東京.\n".encode(),
        "memory/2026-03-01.md": b"## 09:00\n\nFirst day.\n" * 40,
        "memory/two words, 漢字 and é.md": b"odd name\n",
        "attachments/noise.bin": rng.randbytes(30_000),
        "notes/empty": b"",
        "bin/wake": b"#!/bin/sh\necho awake\n",
        ".env": b"NOT_IN_ANY_BACKUP=1\n",
    }
    for number, (name, data) in enumerate(files.items()):
        path = agent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if name.startswith("bin/") else 0o640 if number % 2 else 0o644)
    (agent / "state").mkdir()
    database = sqlite3.connect(agent / "state" / "memory.db")
    database.execute("CREATE TABLE memories (id INTEGER PRIMARY KEY, body TEXT)")
    database.executemany("INSERT INTO memories (body) VALUES (?)", [(f"memory {i}",) for i in range(50)])
    database.commit()
    database.close()
    (agent / "diary").symlink_to("memory")
    (agent / "nowhere").symlink_to("/nonexistent/target")
    os.link(agent / "SOUL.md", agent / "notes" / "same soul.md")
    (agent / "hollow").mkdir(0o700)
    for number, path in enumerate(sorted(agent.rglob("*"), reverse=True)):
        os.utime(path, ns=(MONDAY_NS, MONDAY_NS - number * 1_000_000_007), follow_symlinks=False)


def change(agent: Path, text: bytes) -> None:
    """A day later."""
    for path in (agent / "MEMORY.md", agent / "memory" / "2026-03-01.md"):
        path.write_bytes(path.read_bytes() + text)


def backed_up(machine: Machine, agent: Path, *words: str) -> tuple[str, Seen]:
    """Back up; the snapshot, and all that is in it."""
    made = machine.antsmem("-C", agent, "backup", *words)["snapshots"][0]["snapshot"]
    held = {
        path: what
        for path, what in look(agent).items()
        if path != ".env" and not path.startswith(".antsmem/keystore")
    }
    return made, held


def freeze(target: Path, place: Path) -> None:
    """Live, be backed up, move to another machine, be backed up again; keep what came of it in `target`."""
    first, second = Hourly("first", place / "first"), Hourly("second", place / "second")
    agent, kit, repository = first.home / "kevin", place / "kit.txt", target / "repository"
    live(agent)
    first.antsmem("init", agent, "--adopt", "--repository", repository, "--recovery-out", kit)
    snapshots = [backed_up(first, agent)]
    change(agent, b"A second day.\n")
    snapshots += [backed_up(first, agent), backed_up(first, agent, "--tier", "cold")]
    agent = second.home / "kevin"
    report = second.antsmem("recover", agent, "--kit", kit, "--repository", repository, "--host", "second")
    change(agent, b"On another machine.\n")
    snapshots.append(backed_up(second, agent))
    identity = target / "identity"
    shutil.copytree(agent / ".antsmem" / "keystore", identity, ignore=shutil.ignore_patterns("*.lock"))
    shutil.copy(agent / ".antsmem" / "identity" / "did.jsonl", identity)
    shutil.copy(report["escrow"], identity / "keystore-escrow.age")
    (repository / ".antsmem-lock").unlink()
    (host_key,) = (second.home / ".config" / "antsmem" / "keys").iterdir()
    write(target / "expected.json", dict(snapshots))
    write(target / "opens.json", {"kit": packed(kit.read_bytes()), "host": packed(host_key.read_bytes())})


def write(path: Path, value: Any) -> None:
    """JSON that is pleasant in a diff."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    version = HERE / __version__
    shutil.rmtree(version, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        freeze(version, Path(temporary))
    print(f"{version}: {sum(path.stat().st_size for path in version.rglob('*') if path.is_file())} bytes")
