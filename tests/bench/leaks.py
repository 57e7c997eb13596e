"""How fast secrets are looked for and masked, and whether all that were planted are found and nothing else."""

from __future__ import annotations

import base64
import json
import random
import string
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from measure import BenchError, Command, Sample, measured, middle
from report import table
from sides import Taken, make
from tools import Antsmem

from antsmem.core.age import X25519Identity, parse_identity_file
from antsmem.core.mask import Mask
from antsmem.core.record import replace as changed
from antsmem.identity.keystore import open_keystore, save_keystore
from antsmem.identity.secret import Secret

_NOTES = 26_000
_LEAST = {"scan": 20.0, "scan, locked": 20.0, "mask": 50.0}
_NOW = "2026-11-20T10:00:00.000Z"
_PART = 1 << 16


def leaks(ours: Antsmem, folder: Path, rounds: int, say: Callable[[str], None]) -> tuple[str, Taken]:
    """Measure in the empty `folder`: a scan of about 50 MB of Markdown with the keystore open and locked, and the
    mask; then plant ten secrets and look for them. The table, and what it was made of."""
    workspace, place, taken = folder / "workspace", folder / "antsmem", Taken()
    make("notes", str(_NOTES), workspace)
    size = sum(path.stat().st_size for path in workspace.rglob("*.md"))
    ours.begin(workspace, place)
    values = _kept(ours)
    for number in range(rounds):
        say(f"leaks: round {number + 1} of {rounds}")
        taken.add("scan", "antsmem", measured(ours.command("scan")))
        taken.add("mask", "antsmem", _masked(workspace, values))
    measured(ours.command("scan", "--remember"))
    locked = _locked(ours)
    for _ in range(rounds):
        taken.add("scan, locked", "antsmem", measured(locked))
    _plant(workspace, values)
    found = {"locked": _found(ours.command("scan", "--json"))}
    _unlock(ours)
    found["open"] = _found(ours.command("scan", "--json"))
    rows = []
    for step, samples in taken.times.items():
        rate = size / middle(samples["antsmem"]).cpu_seconds / 1e6
        met = "met" if rate >= _LEAST[step] else "**not met**"
        rows.append([f"{step}, MB/s", f"{rate:.0f}", f"≥ {_LEAST[step]:.0f}", met])
    for how, count in found.items():
        met = "met" if count == 10 else "**not met**"
        rows.append([f"found of 10 planted, {how}", str(count), "10", met])
    rows.append([f"false, in {size / 1e6:.0f} MB", "0", "0", "met"])  # a finding would have failed the scans above
    return table(["leaks", "antsmem", "target", ""], rows), taken


def _kept(ours: Antsmem) -> list[bytes]:
    """Five secrets in the keystore of the agent."""
    key = _key(ours, "key")
    (identity,) = parse_identity_file(key.read_text())
    assert isinstance(identity, X25519Identity)
    path = ours.workspace / ".antsmem/keystore/keystore.age"
    keystore = open_keystore(path, [identity])
    drawn = random.Random(11)
    values = ["".join(drawn.choices(string.ascii_letters + string.digits, k=40)).encode() for _ in range(5)]
    made = tuple(Secret(f"s{n}", 1, "active", "static", _NOW, _NOW, value) for n, value in enumerate(values))
    save_keystore(path, changed(keystore, secrets=made), identity)
    return values


def _masked(workspace: Path, values: list[bytes]) -> Sample:
    """All notes through a mask, in parts as they come out of a pipe."""
    parts = [path.read_bytes() for path in workspace.rglob("*.md")]
    data = b"".join(parts)
    stream = Mask([(f"s{number}", value) for number, value in enumerate(values)]).stream()
    started, before = time.perf_counter(), time.process_time()
    size = sum(len(stream.feed(data[at : at + _PART])) for at in range(0, len(data), _PART)) + len(stream.end())
    if size != len(data):
        raise BenchError("the mask changed what holds no secret")
    return Sample(time.perf_counter() - started, time.process_time() - before, 0)


def _locked(ours: Antsmem) -> Command:
    """A scan on a host whose key is not there."""
    _key(ours, "key").rename(_key(ours, "key").with_suffix(".away"))
    return ours.command("scan")


def _unlock(ours: Antsmem) -> None:
    _key(ours, "away").rename(_key(ours, "away").with_suffix(".key"))


def _key(ours: Antsmem, suffix: str) -> Path:
    """The newest host key of an agent: that of the one that was made last."""
    keys = (ours.keys / "antsmem" / "keys").glob(f"bench-*.{suffix}")
    return max(keys, key=lambda path: path.stat().st_mtime_ns)


def _plant(workspace: Path, values: list[bytes]) -> None:
    """Ten secrets, each in a note: five of the agent's in as many spellings, five of well-known services."""
    drawn = random.Random(12)
    letters = string.ascii_letters + string.digits

    def some(count: int, of: str = letters) -> bytes:
        return "".join(drawn.choices(of, k=count)).encode()

    planted = [
        values[0],
        base64.b64encode(values[1]),
        values[2].hex().encode(),
        values[3][::-1],
        values[4].hex().upper().encode(),
        b"gh" + b"p_" + some(36),
        b"AK" + b"IA" + some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        b"glp" + b"at-" + some(20),
        b"sk-" + b"ant-api03-" + some(93) + b"AA",
        b"-----BEGIN OPENSSH PRIV" + b"ATE KEY-----\n" + b"\n".join(some(70) for _ in range(5)) + b"\n",
    ]
    notes = sorted(workspace.rglob("*.md"))
    for number, secret in enumerate(planted):
        with notes[number * 997].open("ab") as file:
            file.write(b'\nkey: "' + secret + b'"\n')


def _found(command: Command) -> int:
    """How many a scan finds."""
    done = subprocess.run(
        command.words, env=dict(command.environment), cwd=command.folder, capture_output=True, check=False
    )
    if done.returncode != 21:
        raise BenchError(f"the scan of what was planted ended with {done.returncode}: {done.stderr.decode()}")
    return len({each["path"] for each in json.loads(done.stdout)["found"]})
