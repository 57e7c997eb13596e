"""The new machine: the agent is recovered there, starts, and finishes what was interrupted."""

from __future__ import annotations

import os
import shlex
import tarfile
from pathlib import Path
from typing import Final

from antsmem.core.record import field, record
from antsmem.drill.machine import Machine, Ran
from antsmem.drill.old import LIVING, REVOKED, Lost, LostError, configure, reason
from antsmem.drill.place import remove_tree
from antsmem.drill.tree import Tree, look, look_into
from antsmem.drill.work import DONE, HAPPENED, HELD, PENDING, once


@record
class Recovered:
    """What a recovery said. `left_out`: paths that the backup never held."""

    did: str
    version: int
    left_out: tuple[str, ...]


@record
class Started:
    """What was seen when the agent started: exit codes, texts and states, by what was asked."""

    accepted: Ran
    as_copy: Ran
    taken_over: Ran
    context: Ran = field(repr=False)
    woken: Ran
    called: Ran
    asked_again: Ran
    replayed: Ran
    living: Ran = field(repr=False)
    revoked: Ran = field(repr=False)
    states: dict[str, str]


@record
class Returned:
    """What the old machine was told when it came back and went on as if nothing had happened."""

    sent: Ran
    backed_up: Ran
    woken: Ran


def recover(machine: Machine, lost: Lost) -> Recovered:
    """Make the new machine a host of the agent, from what outlived the old one; `LostError` if it does not become
    one. The kit goes in on standard input. The escrow of secrets is older than the revocation of one of them."""
    keep = machine.keep
    kit = machine.run(["cat", f"{keep}/kit.txt"])
    machine.history.pop()
    ran = machine.antsmem(
        "recover", machine.agent, "--repository", f"{keep}/repository", "--host", lost.host, "--kit", "-",
        "--escrow", f"{keep}/keystore-escrow.age", "--secrets", f"{keep}/secrets-escrow.age", stdin=kit.out,
    )  # fmt: skip
    if ran.code not in {0, 3}:
        raise LostError(f"`antsmem recover` exited with {ran.code}: {reason(ran)}")
    told = ran.document
    left_out = [str(path) for path, _why in told.get("restored", {}).get("left_out", ())]
    return Recovered(
        did=str(told.get("did", "")),
        version=int(told.get("identity_version", 0)),
        left_out=tuple(left_out),
    )


def seen_there(machine: Machine, scratch: Path) -> Tree:
    """The workspace on the machine, as it is. From afar it is fetched into the directory `scratch`."""
    if machine.near:
        return look(Path(machine.agent))
    packed = scratch / "agent.tar"
    machine.pack(packed, ["agent"])
    with tarfile.open(packed, "r:") as archive:
        found = look_into(archive)
    packed.unlink()
    return found


def bring_back(machine: Machine, keep: Path, scratch: Path) -> Path | None:
    """What outlives machines, as the new one left it, back in `keep`. From afar also the machine's keys, into
    `scratch`, and all else that it holds in one archive, which is returned: to be searched."""
    if machine.near:
        return None
    packed, everything = scratch / "kept.tar", scratch / "machine.tar"
    machine.pack(packed, ["keep", "home/.config", "agent/.antsmem/keystore"])
    with tarfile.open(packed, "r:") as archive:
        archive.extractall(scratch, filter="tar")
    packed.unlink()
    remove_tree(keep)
    (scratch / "keep").rename(keep)
    machine.pack(everything, ["."], ["./home/.config/antsmem/keys", "./keep"])
    return everything


def start(machine: Machine, lost: Lost, relay: str) -> Started:
    """Start the agent: its relays are told who is host now, the machine takes the work over, and the next wake
    finishes what was interrupted. Nobody is asked anything."""
    configure(machine, relay)
    as_copy = machine.antsmem("heartbeat")
    registered = machine.antsmem("relay", "register")
    taken_over = machine.antsmem("heartbeat", "take-over", "--old-host-off")
    context = machine.run(machine.plainly("wake"))
    accepted = (
        machine.antsmem("relay", "send", lost.scid, "still me, after") if not registered.code else registered
    )
    machine.shell("touch home/world/calm")
    woken = machine.antsmem("heartbeat")
    called = machine.antsmem(*once(PENDING, "now"))
    asked_again, replayed = machine.antsmem(*once(HELD, "")), machine.antsmem(*once(DONE, "now"))
    listed = machine.antsmem("secret", "list").document.get("secrets", ())
    living, revoked = (machine.run(machine.plainly("secret", "get", name)) for name in (LIVING, REVOKED))
    del machine.history[-2:]  # a value is what `secret get` is for
    return Started(
        accepted=accepted,
        as_copy=as_copy,
        taken_over=taken_over,
        context=context,
        woken=woken,
        called=called,
        asked_again=asked_again,
        replayed=replayed,
        living=living,
        revoked=revoked,
        states={str(each["name"]): str(each["state"]) for each in listed},
    )


def come_back(old: Machine, aside: Path, lost: Lost) -> Returned:
    """The old machine is switched on again, with all its keys, and goes on."""
    os.rename(aside, old.root)
    sent = old.antsmem("relay", "send", lost.scid, "still me, says the old host")
    return Returned(sent, old.antsmem("backup"), old.antsmem("heartbeat"))


def sabotage(machine: Machine, kind: str, victim: str) -> None:
    """Break the recovered agent on purpose: the test must see it. `victim` is a file of its memory."""
    keep, quoted = shlex.quote(machine.keep), shlex.quote(victim)
    scripts = {
        "lose-keys": "rm -f home/.config/antsmem/keys/*",
        "drop-memory": f"rm -f agent/{quoted}",
        "forget-intents": "rm -rf agent/.antsmem/heartbeat/journal",
        "leak-key": f"grep -h AGE-SECRET-KEY home/.config/antsmem/keys/* | tr -d '\\n' | base64 | tr -d '\\n' "
        f">{keep}/repository/notes.txt",
        "double-run": f"cd agent && HOME={shlex.quote(machine.home)} antsmem-drill/post {HAPPENED} now",
    }
    if kind:
        machine.shell(scripts[kind])


SABOTAGES: Final = ("lose-keys", "drop-memory", "forget-intents", "leak-key", "double-run")
