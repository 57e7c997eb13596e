"""A world without processes in which hosts wake, act, die, are copied and cut off, and effects are counted.

Everything is the program's own but for what touches the world: `run_action` is a method of `World`, the journal's
`append_file` may fail or die half-way, the clock is a number. A kill is an exception that nothing catches.

A step is one thing that happens: a wake, a call of `once`, a person's word, a jump of the clock, an edit, damage,
a copy, a cut; and within those every action that starts, every question to the world, every write to a journal.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machines import DAY, HOUR, MINUTE, ZONES, Died, Disk, Item, Line, Machine, Shelf, jumped, new_item, skew_ns
from made_journals import FRIDAY, month_of, places

from antsmem.core.errors import AntsmemError, BackendError, BusyError, DiskError, RetiredError
from antsmem.core.wakeconfig import WakeConfig
from antsmem.heartbeat.action import Action, Output
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.once import Effect, Host, once
from antsmem.heartbeat.plan import Plan, Zone
from antsmem.heartbeat.progress import stand
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import KINDS, Ended, Kind
from antsmem.heartbeat.takeover import doubts
from antsmem.heartbeat.turn import Means
from antsmem.heartbeat.wake import WakeRequest, wake
from antsmem.heartbeat.witness import Gate

NOTHING = Output(0, 0, False)
QUESTIONS = frozenset({"HELD", "UNKNOWN", "BLOCKED", "STARTED"})


class World:
    """See above."""

    plans: dict[bytes, Plan] = {}  # noqa: RUF012 - reading a file again gives the same

    def __init__(self, root: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.root, self.now_ns, self.happened = root, FRIDAY, 0
        self.did: Counter[str] = Counter()
        self.kinds: dict[str, Kind] = {}
        self.asked: list[Kind] = ["hold"]  # by an item's number, also when it is in no file any more
        self.disk = Disk(self.rng)
        self.depth = self.fence = self.made = 0
        self.zone = Zone(self.rng.choice(ZONES), "host")
        self.shelf = Shelf() if self.rng.random() < 0.7 else None
        self.owner = self.machine("a")
        self.machines = [self.owner]
        for _ in range(3):
            self.owner.items.append(self.item())
        if self.shelf is not None:
            self.take(self.owner)

    def machine(self, name: str) -> Machine:
        line = None if self.shelf is None else Line(self.shelf)
        return Machine(name, self.root, skew_ns(self.rng), line)

    def item(self) -> Item:
        made = new_item(self.rng, len(self.asked))
        self.asked.append(made.kind)
        return made

    @property
    def steps(self) -> int:
        """How many there were."""
        return self.happened + self.disk.writes

    # What may happen.

    def step(self) -> None:
        """Something happens."""
        happenings: tuple[tuple[float, Callable[[], None]], ...] = (
            (30, self.tick), (38, self.call), (5, self.person), (5, self.jump), (6, self.edit), (4, self.tear),
            (4, self.fail), (1, self.forget), (2, self.cut), (1.5, self.move), (1.5, self.roll_back),
        )  # fmt: skip
        chosen = self.rng.choices(happenings, [weight for weight, _ in happenings])[0][1]
        self.happened += 1
        chosen()

    def tick(self) -> None:
        """Time goes by, and whoever is alive wakes."""
        self.now_ns += self.rng.choice((1, 5, 5, 5, 15, 60, 240)) * MINUTE
        for machine in self.rng.sample(self.machines, len(self.machines)):
            self.wake(machine)

    def wake(self, machine: Machine) -> None:
        """One wake there."""
        data = machine.data
        if (plan := self.plans.get(data + self.zone.name.encode())) is None:
            plan = self.plans[data + self.zone.name.encode()] = read_plan(data, self.zone)
        journal = self.opened(machine)
        gate = Gate(machine.post, machine.line, lambda: self.now(machine))
        means = Means(machine.workspace, WakeConfig(allow=(("*",),)), {"HOST": machine.name})
        asked = None if machine.line is None else lambda: gate.require_all(journal)
        try:
            request = WakeRequest(
                journal, data, plan, self.host(machine, journal), means, lambda: gate.post.require_active(journal),
                witness=asked, layout=machine.layout,
            )  # fmt: skip
            result = wake(request)
            assert result.code in {0, 2, 3, 5}, result
            for skip in result.skipped:
                assert machine.knows(skip.key), f"nothing is recorded of {skip}"
        except (Died, DiskError):
            machine.kept = None
        except (BusyError, RetiredError, BackendError):
            return

    def call(self) -> None:
        """Somebody calls `once`."""
        machine = self.rng.choice(self.machines)
        if machine.keys and self.rng.random() < 0.75:
            key = self.rng.choice(machine.keys[-12:])
        else:
            self.made += 1
            key = f"k{self.made}"
            machine.keys.append(key)
        self.call_key(machine, key)

    def call_key(self, machine: Machine, key: str) -> None:
        """Somebody calls `once` with that key."""
        kind = self.kinds.setdefault(key, self.rng.choice(KINDS))
        verify = ("ask", "0") if kind == "verify" else ()
        journal = self.opened(machine)
        host = self.host(machine, journal)
        effect = Effect(key, ("act", "0"), kind, verify, environment={"HOST": machine.name})
        try:
            result = once(journal, effect, host)
        except (Died, DiskError):
            machine.kept = None
            return
        except (BusyError, RetiredError, BackendError):
            return
        if machine.told.get(key) in {"DONE", "SKIPPED"}:
            assert result.state == machine.told[key], f"{key} was {machine.told[key]} and is {result.state}"
        machine.told[key] = result.state
        if result.state == "DONE":
            assert self.did[key], f"{key} is DONE and never happened"

    def person(self) -> None:
        """Somebody settles what waits for it, truthfully."""
        machine = self.owner
        if keys := [key for key, state in machine.journal().open.items() if state in QUESTIONS]:
            self.settle(machine, self.rng.choice(keys))

    def settle(self, machine: Machine, key: str) -> None:
        word: Any = "done" if self.did[key] else self.rng.choice(("redo", "redo", "drop"))
        try:
            own = Journal(places(machine.workspace))  # a process of the person's
            state = resolve_effect(own, key, word, self.now(machine)).state
        except (Died, DiskError):
            machine.kept = None
            return
        except BusyError:
            return
        if "@" not in key:
            machine.told[key] = state
            if self.rng.random() < 0.5:
                self.call_key(machine, key)

    def jump(self) -> None:
        """The clock is changed, or the machine slept, or clocks are changed for the season."""
        self.now_ns = jumped(self.rng, self.now_ns)

    def edit(self) -> None:
        """HEARTBEAT.md is edited."""
        machine = self.rng.choice(self.machines)
        items = machine.items
        roll = self.rng.random()
        if roll < 0.45 or not items:
            self.add(machine)
            return
        item = self.rng.choice(items)
        if roll < 0.6:
            item.paused = not item.paused
        elif roll < 0.8:
            item.words = item.words.replace(item.words[0], "x", 1)
        else:
            self.rng.shuffle(items)

    def add(self, machine: Machine) -> None:
        """A task is added; there are never many."""
        if len(machine.items) > 5:
            machine.items.pop(self.rng.randrange(len(machine.items)))
        machine.items.append(self.item())

    def tear(self) -> None:
        """A process died while it wrote."""
        machine = self.rng.choice(self.machines)
        if (machine.workspace / "journal").exists():
            with open(month_of(machine.workspace), "ab") as lines:
                lines.write(b'01234567 {"at":"2026'[: self.rng.randrange(1, 20)])

    def fail(self) -> None:
        """One of the next writes fails."""
        self.disk.fails_in = self.rng.randrange(1, 6)

    def forget(self) -> None:
        """The cache is lost."""
        places(self.rng.choice(self.machines).workspace).index.unlink(missing_ok=True)

    def cut(self) -> None:
        """A machine is cut off from the witness, or is not any more."""
        line = self.rng.choice(self.machines).line
        if line is not None:
            line.cut = not line.cut and self.rng.random() < 0.4

    def move(self) -> None:
        """Another host gets a copy and takes over; the one before goes on as long as it may."""
        old = self.owner
        if self.shelf is None:  # nobody could keep the old one from going on
            try:
                old.post.retire(old.journal(), self.now(old))
            except (Died, AntsmemError):
                self.take(old)
                return
        self.add(old)
        self.made += 1
        new = self.copied(old, f"h{self.made}")
        if old.line is not None:  # who is cut off is a reason to move
            old.line.cut = old.line.cut or self.rng.random() < 0.5
            for _ in range(self.rng.randrange(4)):
                self.now_ns += self.rng.choice((5, 15, 60, 240)) * MINUTE
                self.wake(old)
        self.machines = [old, new]
        self.wake(new)
        self.take(new)
        self.wake(old)
        self.wake(new)

    def roll_back(self) -> None:
        """An older copy of the workspace is put back."""
        machine = self.owner
        saved = self.root / "saved"
        if not machine.workspace.exists():
            return
        self.add(machine)
        shutil.copytree(machine.workspace, saved)
        items = list(machine.items)
        for _ in range(3):
            self.now_ns += self.rng.choice((5, 60, 240)) * MINUTE
            self.wake(machine)
        shutil.rmtree(machine.workspace)
        saved.rename(machine.workspace)
        machine.items = items
        self.lost(machine)
        self.wake(machine)
        self.take(machine)
        self.wake(machine)

    # How it is done.

    def copied(self, old: Machine, name: str) -> Machine:
        new = self.machine(name)
        if old.workspace.exists():
            shutil.copytree(old.workspace, new.workspace)
        new.items = [Item(**vars(item)) for item in old.items]
        self.lost(new)
        return new

    def take(self, machine: Machine) -> None:
        """A person lets `machine` take over, and tries again where that fails."""
        for _ in range(50):
            journal, now_ns = machine.journal(), self.now(machine)
            self.happened += 1
            try:
                unsure: list[Any] = []
                if machine.post.standing(journal)[0] != "active":
                    plan = read_plan(machine.data, self.zone)
                    unsure += doubts(stand(journal, plan, machine.data, now_ns).plan, journal, now_ns)
                machine.post.take(journal, machine.claim, now_ns, unsure)
                self.owner = machine
                return
            except (Died, DiskError):
                machine.kept = None
            except BackendError:
                return
        raise AssertionError("never taken over")

    def opened(self, machine: Machine) -> Journal:
        """A process that goes on may not have looked for a while; one that comes in between opens its own."""
        new = machine.kept is None or self.depth > 0 or self.rng.random() < 0.3
        return machine.journal(new=True) if new or machine.kept is None else machine.kept

    def lost(self, machine: Machine) -> None:
        """The files there are others than before: what was said of a key may not have been written yet in them."""
        machine.kept = None
        known = {entry.key for entry in machine.journal().entries()}
        machine.keys = [
            key for key, kind in self.kinds.items() if "@" not in key and (key in known or kind == "verify")
        ]
        machine.told.clear()

    def now(self, machine: Machine) -> int:
        return self.now_ns + machine.skew_ns

    def host(self, machine: Machine, journal: Journal) -> Host:
        gate = Gate(machine.post, machine.line, lambda: self.now(machine))
        return Host(
            lambda: self.now(machine), self.rng.random, lambda kind: gate.enter(journal, kind),
            lambda: machine.post.saw(journal), patient=self.rng.random() < 0.3,
        )  # fmt: skip

    def act(self, what: Action, *_: Any) -> tuple[Ended, Output]:
        """The place of `run_action`."""
        self.happened += 1
        assert what.argv, "something was started that no file asks for"
        key, number = what.environment["ANTSMEM_KEY"], int(what.argv[1])
        if what.argv[0] == "ask":
            return (Ended(2) if self.rng.random() < 0.25 else Ended(0 if self.did[key] else 1)), NOTHING
        kind = self.kinds.setdefault(key, self.asked[number])
        fence = int(what.environment["ANTSMEM_FENCE"])
        if kind != "pure":
            assert what.environment["HOST"] == self.owner.name, f"{key} was started by a host that is fenced off"
            assert fence > self.fence, "the fence did not grow"
            self.fence = fence
        how = self.rng.choice(
            ["good"] * 4 + ["unstarted", "fails", "temporary", "late", "killed", "dies-before", "dies-after"]
        )
        happens = how in {"good", "dies-after"} or (how in {"fails", "late", "killed"} and self.rng.random() < 0.5)
        if self.rng.random() < 0.15:
            self.meanwhile()
        if happens and not (kind == "idempotent" and self.did[key]):
            self.did[key] += 1
        if how.startswith("dies"):
            raise Died
        return {
            "good": Ended(0), "unstarted": Ended(127, started=False), "fails": Ended(1), "temporary": Ended(75),
            "late": Ended(None, 15, True), "killed": Ended(None, 9),
        }[how], NOTHING  # fmt: skip

    def meanwhile(self) -> None:
        """While an action runs, others wake and call, the machine sleeps, the file is edited."""
        if self.depth < 2:
            self.depth += 1
            self.rng.choice((self.tick, self.call, self.edit, self.month_ends, self.month_ends))()
            self.depth -= 1

    def month_ends(self) -> None:
        """Others wake before and after it."""
        self.tick()
        self.now_ns += 33 * DAY
        self.tick()

    def write(self, path: Path, data: bytes) -> None:
        """The place of `append_file`."""
        self.disk.write(path, data)

    # What must hold.

    def check(self) -> None:
        """Nothing happened twice that must not."""
        for key, count in self.did.items():
            assert count == 1 or self.kinds[key] in {"pure", "retry"}, f"{key} ({self.kinds[key]}) {count} times"

    def finish(self) -> None:
        """Everything comes to an end, and nothing is lost."""
        self.disk.fails_in = 0
        if self.rng.random() < 0.5:  # a clock that was far ahead is set right
            self.now_ns -= 40 * DAY
        owner = self.owner
        if owner.line is not None:
            owner.line.cut = False
        if owner.post.standing(owner.journal())[0] != "active":  # its witness was cut off when it was to take over
            self.take(owner)
        self.machines = [owner]
        owner.items = [item for item in owner.items if item.when.endswith("once")]
        for item in owner.items:
            item.paused = False
        for _ in range(60):
            if not (open_keys := dict(owner.journal().open)):
                break
            self.now_ns += 7 * HOUR
            self.wake(owner)
            for key in open_keys:
                if "@" not in key:
                    self.call_key(owner, key)
                if owner.journal().open.get(key) in QUESTIONS:
                    self.settle(owner, key)
        assert not owner.journal().open, f"{dict(owner.journal().open)} never ends"
        for key in owner.keys:  # what is over stays so
            self.call_key(owner, key)
        self.check()
        assert not (wrong := owner.told_wrongly()), wrong
        last = {entry.key: entry for entry in owner.journal().entries() if entry.kind == "state"}
        for key, entry in last.items():
            if entry.state == "DONE":
                assert self.did[key], f"{key} is DONE and never happened"
