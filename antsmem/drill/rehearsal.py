"""Verb: the migration test (back up, destroy, new infrastructure, restore, start), on a copy, and proven."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from antsmem import __version__
from antsmem.core.clock import now_ns, utc_text
from antsmem.core.disk import disk_error
from antsmem.core.errors import AntsmemError
from antsmem.core.record import mutable_record, record
from antsmem.drill import proofs
from antsmem.drill.canaries import Canaries
from antsmem.drill.machine import Machine, Watch, here, surroundings
from antsmem.drill.new import bring_back, come_back, recover, sabotage, seen_there, start
from antsmem.drill.old import Lost, LostError, OldMachine, copy_agent, private_values
from antsmem.drill.result import STEPS, MigrationTest, Proof, Step
from antsmem.drill.targets import Target, new_process
from antsmem.workspace.classes import Classifier

UNPROVEN: Final = (
    "the copy has an identity, a kit and secrets made for this test: that your own kit opens your own backups is "
    "what `antsmem recovery drill` shows",
    "the copy is backed up to a repository made for this test: `antsmem check --read-data` reads your own",
    "hard links and holes become ordinary files in the copy, and are not compared",
    "the agent's own HEARTBEAT.md is carried over but not run: its effects are real ones",
)


class RelayHost(Protocol):
    """A relay that the test started, and what was sent to it and from it."""

    url: str
    port: int
    """On this machine's loopback; 0: it is elsewhere."""

    def also(self, listener: socket.socket) -> None:
        """Answer at `listener` too."""
        ...

    def traffic(self) -> bytes | None:
        """All bytes that travelled until now; None where they were not seen."""
        ...


@record
class Wanted:
    """What to test: the agent in `workspace`, judged by `classifier`; everything happens below `place`. `program`
    starts antsmem on this machine, `ssh` reaches others. A new machine in namespaces does not see the directories
    `hidden`. `watch` is that of the machines. `waived` gives the places in the copy
    (`PATH:LINE`) whose secrets may stay in a backup."""

    workspace: Path
    name: str
    classifier: Classifier
    place: Path
    program: tuple[str, ...]
    relay: RelayHost
    target: Target
    sabotage: str = ""
    hidden: tuple[Path, ...] = ()
    ssh: tuple[str, ...] = ("ssh",)
    watch: Watch = lambda _group, _lives: None
    waived: Callable[[Path], Sequence[str]] = lambda _copy: ()


@mutable_record
class _Progress:
    """What a test found until now."""

    steps: list[Step]
    proofs: list[Proof]
    began: float
    files: int = 0
    rto_seconds: float | None = None
    lost: Lost | None = None
    new: Machine | None = None
    facts: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def step(self, what: str) -> None:
        """The next of the five steps is done."""
        now = time.monotonic()
        self.steps.append(Step(STEPS[len(self.steps)], round(now - self.began, 2), what))
        self.began = now


def run_migration_test(wanted: Wanted, progress: Callable[[str], None] = lambda _what: None) -> MigrationTest:
    """Take a copy of the agent through the loss of its machine. The agent itself is only read.

    What goes wrong on the way is a proof that does not hold, not an error.
    """
    keep = wanted.place / "keep"
    keep.mkdir(mode=0o700)
    at = _Progress([], [], time.monotonic())
    root = wanted.place / "machine"
    machine = here("old", root, wanted.program, surroundings(str(root), "agent", "UTC", "C.UTF-8"), keep)
    machine.watch = wanted.watch
    old = OldMachine(machine, keep, wanted.relay.url)
    try:
        _run(wanted, at, old, progress)
    except (LostError, AntsmemError, OSError) as error:
        name = STEPS[min(len(at.steps), len(STEPS) - 1)]
        if isinstance(error, OSError):
            error = disk_error("use", os.fsdecode(error.filename or os.fspath(wanted.place)), error)
        at.proofs.append(Proof(name.replace(" ", "-"), f"the step `{name}` is done", False, str(error)))
    finally:
        old.stop()
        if at.new is not None:
            at.new.end()
    return _result(wanted, at)


def _run(wanted: Wanted, at: _Progress, old: OldMachine, progress: Callable[[str], None]) -> None:
    keep, aside, scratch = (wanted.place / name for name in ("keep", "aside", "scratch"))
    scratch.mkdir(mode=0o700)
    progress("backing up a copy")
    at.files = copy_agent(wanted.workspace, Path(old.machine.agent), wanted.classifier)
    waived = wanted.waived(Path(old.machine.agent))
    old.settle(wanted.name, waived)
    accepted = old.work()
    snapshot_ns = old.back_up()
    permitted = f"; lines with a waived secret: {len(waived)}" if waived else ""
    at.step(f"{at.files} files and the keys' escrow, while two effects are under way{permitted}")
    at.facts = (old.machine.facts(), {})
    lost = at.lost = old.lose(aside, accepted, snapshot_ns)
    gone = time.monotonic()
    at.step("SIGKILL; workspace, home, state and keys are gone")
    progress("bringing it back")
    new = at.new = _new_machine(wanted)
    new.watch = wanted.watch
    at.facts = (at.facts[0], new.facts())
    at.step(f"target {wanted.target}: nothing of the old machine is there")
    recovered = recover(new, lost)
    sabotage(new, wanted.sabotage, _victim(lost) if wanted.sabotage == "drop-memory" else "")
    after = seen_there(new, scratch)
    at.step(f"identity version {recovered.version}, {len(after)} paths verified")
    progress("starting it")
    started = start(new, lost, wanted.relay.url)
    at.rto_seconds = round(time.monotonic() - gone, 2)
    at.step("take-over, relays told, interrupted work finished")
    packed = bring_back(new, keep, scratch)
    progress("looking for what leaked")
    returned = come_back(old.machine, aside, lost)
    at.proofs += [
        proofs.same_identity(lost, recovered, started),
        proofs.old_key_refused(returned),
        proofs.same_memory(lost, after, recovered.left_out),
        proofs.remembers(started),
        proofs.resumes(started),
        proofs.effects(old.world.counts()),
        proofs.fenced(returned),
        proofs.stays_revoked(lost, started),
        _leaks(wanted, (old.machine, new), lost, packed),
    ]


def _new_machine(wanted: Wanted) -> Machine:
    """The machine of the target, empty."""
    place, relay = wanted.place, wanted.relay
    if wanted.target.kind == "process":
        return new_process(place / "elsewhere", place / "keep", wanted.program)
    if wanted.target.kind == "namespace":
        from antsmem.drill.namespace import new_namespace

        hidden = (*wanted.hidden, wanted.workspace, place / "aside")
        listen = (relay.port, relay.also) if relay.port else None
        return new_namespace(place / "elsewhere", place / "keep", wanted.program, hidden, listen)
    from antsmem.drill import far

    if wanted.target.kind == "container":
        return far.new_container(far.require_engine(), wanted.target.where, place / "keep")
    return far.new_over_ssh(wanted.ssh, wanted.target.where, place / "keep", relay.port)


def _victim(lost: Lost) -> str:
    """A file of the agent's memory: what `drop-memory` drops."""
    files = [path for path, seen in lost.before.items() if seen.kind == "file" and path.startswith(b"memory/")]
    if not files:
        raise LostError("there is no file below `memory/` to drop")
    return os.fsdecode(max(files))


def _leaks(wanted: Wanted, machines: tuple[Machine, Machine], lost: Lost, packed: Path | None) -> Proof:
    """Look for every private key and secret in all that is left of the test, but where it has to lie."""
    new, own = machines[1], list[tuple[str, bytes]]()
    root = Path(new.root) if new.near else wanted.place / "scratch"
    with suppress(AntsmemError):  # it may have lost its keys
        own = private_values(root / "home", root / "agent", "new host")
    canaries = Canaries([*lost.secrets, *own])
    allowed = {wanted.place / "keep" / "kit.txt"}
    if packed is not None:
        canaries.look_at(packed, f"{new.name} machine")
    for machine in machines:
        if machine.near:
            allowed |= set((Path(machine.home) / ".config/antsmem/keys").glob("*.key"))
            canaries.look_below(Path(machine.root), f"{machine.name} machine", allowed)
        for ran in machine.history:
            shown = f"output of `antsmem {' '.join(ran.words[-2:])}`"
            canaries.look(ran.out, shown)
            canaries.look(ran.err, shown)
    canaries.look_below(wanted.place / "keep", "what outlives machines", allowed)
    if (wanted.place / "relay").is_dir():
        canaries.look_below(wanted.place / "relay", "the relay")
    traffic = wanted.relay.traffic()
    if traffic is not None:
        canaries.look(traffic, "the relay's traffic")
    return proofs.nothing_leaked(canaries.searched, heard=traffic is not None, known=bool(own))


def _result(wanted: Wanted, at: _Progress) -> MigrationTest:
    lost = at.lost
    done = len(at.steps) == len(STEPS)
    return MigrationTest(
        passed=done and all(each.holds is not False for each in at.proofs),
        agent=wanted.name,
        target=str(wanted.target),
        sabotage=wanted.sabotage,
        time=utc_text(now_ns()),
        version=__version__,
        steps=tuple(at.steps),
        proofs=tuple(at.proofs),
        rto_seconds=at.rto_seconds,
        rpo_seconds=round((lost.lost_ns - lost.snapshot_ns) / 1e9, 2) if lost else None,
        rpo_entries=lost.lost_entries if lost else None,
        files=at.files,
        old=at.facts[0],
        new=at.facts[1],
        unproven=UNPROVEN,
    )
