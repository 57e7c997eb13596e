"""The machine that will be lost: a copy of the agent lives there and is backed up in the middle of its work."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.core.clock import now_ns, utc_text
from antsmem.core.disk import disk_error, write_file
from antsmem.core.errors import NotFoundError
from antsmem.core.record import field, record
from antsmem.drill.machine import Machine, Ran, kill_group
from antsmem.drill.tree import Tree, look
from antsmem.drill.work import (
    CONFIGURATION,
    DONE,
    FOLDER,
    HAPPENED,
    HEARTBEAT,
    HELD,
    PENDING,
    World,
    once,
    write_scripts,
)
from antsmem.workspace.classes import Classifier
from antsmem.workspace.layout import HOME

OBJECTIVE: Final = "Objective: finish the migration test."
DECISION: Final = "Decision: go on with the second post when the machine is back."
LIVING: Final = "drill-token"
REVOKED: Final = "drill-revoked"
_PATIENCE_SECONDS: Final = 30.0
_HOME: Final = HOME.encode()
_OWN: Final = (b".antsmem/identity", b".antsmem/keystore", b".antsmem/cache", b".antsmem/replaced")
_ASIDE: Final = ".not-used-in-the-drill"


class LostError(Exception):
    """The copy could not be brought so far that it can be lost: the test says why, and has failed."""


@record
class Lost:
    """What the agent was when its machine was lost."""

    did: str
    scid: str
    host: str
    before: Tree = field(repr=False)
    """Its workspace, as it was backed up."""
    secrets: tuple[tuple[str, bytes], ...] = field(repr=False)
    """Names and values of what may stand nowhere."""
    accepted: bool
    """Whether the relay took a message that it signed."""
    snapshot_ns: int
    lost_ns: int
    lost_entries: int
    """What was written after the backup."""


def copy_agent(source: Path, target: Path, classifier: Classifier) -> int:
    """Copy what a backup would take from `source`, bytes, modes, times and links; how many files. The source is
    only read. No key, no secret and no identity is copied."""
    top, into = os.fsencode(source), os.fsencode(target)
    target.mkdir(mode=0o700)
    files, folders, stack = 0, [b""], [b""]
    while stack:
        folder = stack.pop()
        for entry in _listed(top + b"/" + folder):
            path = folder + b"/" + entry.name if folder else entry.name
            if path in _OWN or (path.startswith(_HOME) and entry.is_symlink()):
                continue  # antsmem's own files are written to: a link among them leads to the living agent's
            if entry.is_dir(follow_symlinks=False):
                if classifier.classify_dir(entry.name, path) is None:
                    os.mkdir(into + b"/" + path, 0o700)
                    stack.append(path)
                    folders.append(path)
            elif classifier.classify_file(entry.name, path) is None:
                files += _copied(entry, into + b"/" + path)
    for folder in reversed(folders):
        with suppress(FileNotFoundError):
            shutil.copystat(top + b"/" + folder, into + b"/" + folder)
    os.chmod(into, 0o700)
    return files


def _listed(folder: bytes) -> list[os.DirEntry[bytes]]:
    """What is in a directory of the agent; nothing, if it removed that meanwhile."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise disk_error("list", os.fsdecode(folder), error) from error


def _copied(entry: os.DirEntry[bytes], target: bytes) -> bool:
    """Copy a file or a link; False for anything else, and for what the agent removed meanwhile."""
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            return False
        shutil.copy2(entry.path, target, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise disk_error("copy", os.fsdecode(entry.path), error) from error
    return True


class OldMachine:
    """The copy's machine, step by step. `relay` is the URL of the relay where the agent is found."""

    def __init__(self, machine: Machine, keep: Path, relay: str) -> None:
        self.machine = machine
        self.keep = keep
        self.world = World(keep / "world")
        self._agent = Path(machine.agent)
        self._relay = relay
        self._running: list[subprocess.Popen[bytes]] = []
        self._values: list[tuple[str, bytes]] = []

    def must(self, *words: str, code: int = 0, stdin: bytes = b"") -> Ran:
        """Run the program; `LostError` if it does not end with `code`."""
        ran = self.machine.antsmem(*words, stdin=stdin)
        if ran.code != code:
            raise LostError(f"`antsmem {' '.join(words[:2])}` exited with {ran.code}: {reason(ran)}")
        return ran

    def settle(self, name: str, waived: Sequence[str]) -> None:
        """Give the copy an identity, a repository, a relay, secrets and work of its own: stand-ins, so that no key
        of the living agent is needed, and none can be lost. What stands at the places `waived` may stay there."""
        self.world.make()
        self._make_room()
        write_scripts(self._agent)
        kit, repository = self.keep / "kit.txt", self.keep / "repository"
        words = ("--adopt", "--name", name, "--recovery-out", str(kit), "--repository", str(repository))
        self.must("init", self.machine.agent, *words)
        self.must("identity", "move", "--relay", self._relay, "--kit", str(kit))
        configure(self.machine, self._relay)
        self.must("heartbeat", "take-over", "--old-host-off")
        for place in waived:
            ran = self.machine.antsmem("waive", place, "--reason", "the agent's own ledger permits it")
            if ran.code not in {0, NotFoundError.exit_code}:  # a secret of the agent's own is none of the copy's
                raise LostError(f"`antsmem waive` exited with {ran.code}: {reason(ran)}")
        self._secrets()

    def _make_room(self) -> None:
        """Put aside the agent's own HEARTBEAT.md, whose effects are real ones, and what stands where the test
        writes: a link there leads to the living agent's memory."""
        own, now, memory = (self._agent / name for name in ("HEARTBEAT.md", "NOW.md", "memory"))
        fits = [each for each, kind in ((now, os.path.isfile), (memory, os.path.isdir)) if kind(each)]
        for place in (own, now, memory, self._agent / FOLDER):
            if os.path.lexists(place) and (place not in fits or place.is_symlink()):
                place.rename(place.with_name(place.name + _ASIDE))
        write_file(own, [HEARTBEAT], mode=0o644, durable=False)
        text = now.read_bytes() if now.is_file() else b"# Now\n"
        write_file(now, [text.rstrip(b"\n") + f"\n\n{OBJECTIVE}\n".encode()], mode=0o644, durable=False)

    def _secrets(self) -> None:
        """Two secrets: one lives on; the other is in the escrow that is kept, and revoked afterwards."""
        for name in (LIVING, REVOKED):
            value = f"drill-{os.urandom(18).hex()}".encode()
            self._values.append((name, value))
            self.must("secret", "set", name, stdin=value)
        folder = next(self._agent_data().glob("escrow"))
        for what in ("secrets-escrow.age", "keystore-escrow.age"):
            newest = max(folder.glob(f"*Z-{what}"))
            shutil.copyfile(newest, self.keep / what)
        self.must("secret", "revoke", REVOKED, "--reason", "the migration test")

    def _agent_data(self) -> Path:
        (found,) = (Path(self.machine.home) / ".local/share/antsmem").glob("*/")
        return found

    def work(self) -> bool:
        """Do some work, be asked a question, and get stuck in the middle of two effects; whether the relay took a
        signed message before."""
        scid = self.must("identity", "show").document["scid"]
        accepted = self.machine.antsmem("relay", "send", scid, "still me, before")
        self.must("log", DECISION)
        self.must(*once(DONE, "now"))
        self.must(*once(HELD, ""), code=3)
        for key, words in ((HAPPENED, ["heartbeat"]), (PENDING, once(PENDING, "wait-before"))):
            self._running.append(self.machine.start(self.machine.call(*words)))
            self.world.wait_for(key, _PATIENCE_SECONDS)
        return accepted.code == 0

    def back_up(self) -> int:
        """Back up while the effects are under way; when that was."""
        moment = now_ns()
        ran = self.machine.antsmem("backup")
        if ran.code:
            raise LostError(f"the backup exited with {ran.code}: {reason(ran)}")
        return moment

    def lose(self, aside: Path, accepted: bool, snapshot_ns: int) -> Lost:
        """Write what no backup has, cut the power, and take the machine away. It is put `aside`, to come back
        later and claim that it is still the agent."""
        shown = self.must("identity", "show").document
        before = look(self._agent)
        self.must("log", f"Written after the backup, at {utc_text(now_ns())}: lost with the machine.")
        values = self._private_values(shown["scid"])
        self.stop()
        os.rename(self.machine.root, aside)
        return Lost(
            did=shown["did"],
            scid=shown["scid"],
            host=shown["hosts"][0]["host"],
            before=before,
            secrets=tuple(values),
            accepted=accepted,
            snapshot_ns=snapshot_ns,
            lost_ns=now_ns(),
            lost_entries=1,
        )

    def stop(self) -> None:
        """SIGKILL to the runners and to what they run."""
        for process in self._running:
            kill_group(process)
        self._running.clear()
        self.world.kill()

    def _private_values(self, scid: str) -> list[tuple[str, bytes]]:
        """Every private key and secret of this machine and of the kit."""
        from antsmem.identity.recovery import RecoveryKit

        kit = RecoveryKit.parse((self.keep / "kit.txt").read_text())
        own = private_values(Path(self.machine.home), self._agent, "old host")
        return [*own, ("recovery key", kit.identity.secret().encode()), *self._values]


def configure(machine: Machine, relay: str) -> None:
    """Say what the operator of a machine says there."""
    text = CONFIGURATION.format(relay=relay)
    machine.run(
        [
            "sh",
            "-c",
            'umask 077; mkdir -p "$HOME/.config/antsmem"; printf %s "$0" >"$HOME/.config/antsmem/config.yaml"',
            text,
        ]
    )


def private_values(home: Path, agent: Path, whose: str) -> list[tuple[str, bytes]]:
    """The private keys and secrets that a machine holds, by the key file in its home directory."""
    from antsmem.core.age import X25519Identity
    from antsmem.core.age.keys import parse_identity_file
    from antsmem.identity.keystore import known_values, open_keystore

    found: list[tuple[str, bytes]] = []
    for path in (home / ".config/antsmem/keys").glob("*.key"):
        for identity in parse_identity_file(path.read_text()):
            if not isinstance(identity, X25519Identity):
                continue
            found.append((f"{whose}: host key", identity.secret().encode()))
            keystore = open_keystore(agent / ".antsmem/keystore/keystore.age", [identity])
            found += [(f"{whose}: {name}", value) for name, value in known_values(keystore)]
    return found


def reason(ran: Ran) -> str:
    """Why a command failed, in its own words."""
    import json

    try:
        return str(json.loads(ran.err.splitlines()[-1])["message"])
    except (ValueError, IndexError, KeyError, TypeError):
        return ran.said or "it said nothing"
