"""The reliability level of an agent, earned by evidence: what was seen here, and not too long ago.

L0 ephemeral · L1 file-backed · L2 backed up · L3 identity portable · L4 distributed. A level is held when all that
it asks for, and all below it, was seen. What is configured counts for nothing, what is not seen is not claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from antsmem.core.record import record, replace
from antsmem.workspace.evidence import Evidence

NAMES: Final = ("ephemeral", "file-backed", "backed up", "identity portable", "distributed")
"""What the levels from 0 on are called."""

RESTORE_DAYS: Final = 30
DRILL_DAYS: Final = 180
MIGRATION_DAYS: Final = 30
BACKEND_DAYS: Final = 30
RESUMED_DAYS: Final = 180

_DAY_NS: Final = 86_400 * 10**9
_SKEW_NS: Final = 60 * 10**9


@record
class Copy:
    """A repository as it is now. `host`: what it would go down with; empty for a place on this host. `newest_ns`:
    of the newest hot snapshot in it (None: none); `problem`: why it could not be read, and what `helps`."""

    name: str
    url: str
    host: str
    newest_ns: int | None
    interval_seconds: int
    problem: str = ""
    helps: str = ""

    def is_fresh(self, now_ns: int) -> bool:
        """Whether the newest snapshot is not older than twice its interval. What lies in the future is not."""
        if self.newest_ns is None or self.newest_ns > now_ns + _SKEW_NS:
            return False
        return (now_ns - self.newest_ns) / 1e9 <= 2 * self.interval_seconds


@record
class Facts:
    """What is known of the agent. `memory_files`: files of the workspace in which memory is; `evidence`: what
    this host saw proven; `fault`: why the identity cannot be used here (empty: it can), and what `helps`."""

    memory_files: int
    copies: tuple[Copy, ...]
    evidence: tuple[Evidence, ...]
    fault: str = ""
    helps: str = ""


@record
class Step:
    """One thing that a level asks for. `seen`: the evidence for it, empty if there is none; `age_seconds` of that;
    `missing`: why it does not count, with the `command` that gets it."""

    level: int
    what: str
    seen: str
    age_seconds: float | None
    missing: str
    command: str

    @property
    def held(self) -> bool:
        """Whether it counts."""
        return not self.missing


@record
class Assessment:
    """The level that is held, what was looked at for each, and the first thing that is missing (None: nothing)."""

    level: int
    steps: tuple[Step, ...]
    next: Step | None


def assess(facts: Facts, now_ns: int) -> Assessment:
    """The level that `facts` earn at `now_ns`, nanoseconds since 1970 UTC."""
    steps = tuple(_Judge(facts, now_ns).steps())
    missing = next((step for step in steps if not step.held), None)
    return Assessment(len(NAMES) - 1 if missing is None else missing.level - 1, steps, missing)


class _Judge:
    def __init__(self, facts: Facts, now_ns: int) -> None:
        self.facts = facts
        self.now_ns = now_ns
        self.away = [copy for copy in facts.copies if copy.host]

    def steps(self) -> Iterator[Step]:
        """All that is asked for, lowest level first."""
        yield self.files()
        yield self.identity()
        yield self.snapshot()
        yield self.restore()
        yield self.drill()
        yield self.backends()
        yield self.migration()
        yield self.resumed()

    def files(self) -> Step:
        count = self.facts.memory_files
        seen = f"{count} files of memory" if count else ""
        return Step(
            1,
            "memory is in files",
            seen,
            None,
            "" if count else "no file of memory is here",
            "antsmem init --adopt",
        )

    def identity(self) -> Step:
        fault = self.facts.fault
        seen = "" if fault else "identity log and keystore"
        return Step(1, "an identity in files", seen, None, fault, self.facts.helps)

    def snapshot(self) -> Step:
        empty = Step(2, "a fresh backup off this host", "", None, "", "antsmem backup")
        if not self.away:
            why = "every repository is on this host" if self.facts.copies else "there is no repository"
            return replace(empty, missing=why, command="antsmem repository add NAME sftp://HOST/PATH")
        best = max(self.away, key=lambda copy: copy.newest_ns or 0)
        if best.newest_ns is None:
            return replace(empty, missing=f"`{best.name}`: {best.problem or 'holds no snapshot'}")
        step = replace(empty, seen=f"`{best.name}` on {best.host}", age_seconds=self._age(best.newest_ns))
        if any(copy.is_fresh(self.now_ns) for copy in self.away):
            return step
        return replace(step, missing="the newest snapshot is older than twice its interval")

    def restore(self) -> Step:
        step = Step(2, "a restore proven", "", None, "", "antsmem restore --to DIR")
        urls = {copy.url: copy.name for copy in self.away}
        found = self._newest("restore-proven", lambda one: one.details.get("repository") in urls)
        if found is None:
            return replace(step, missing="never seen from a repository off this host")
        return self._aged(step, found, RESTORE_DAYS, lambda one: f"from `{urls[str(one.details['repository'])]}`")

    def drill(self) -> Step:
        step = Step(
            3,
            "two ways back, in two hands, drilled",
            "",
            None,
            "",
            "antsmem recovery drill --kit KIT --guardian KEY",
        )
        ways: dict[str, Evidence] = {}
        for one in self._all("recovery-drill"):
            listed = one.details.get("ways")
            ways |= {str(way): one for way in listed} if isinstance(listed, list) else {}
        fresh = {way: one for way, one in ways.items() if self._age(one.time_ns) <= DRILL_DAYS * 86_400}
        seen = ", ".join(sorted(fresh))
        oldest = max((self._age(one.time_ns) for one in fresh.values()), default=None)
        if {"kit", "guardians"} <= fresh.keys():
            return replace(step, seen=seen, age_seconds=oldest)
        if "guardians" not in ways:
            command = "antsmem recovery add-guardian KEY --kit KIT, then antsmem recovery drill"
            return replace(
                step, seen=seen, age_seconds=oldest, missing="guardians never opened it", command=command
            )
        return replace(step, seen=seen, age_seconds=oldest, missing=f"not both within {DRILL_DAYS} days")

    def backends(self) -> Step:
        step = Step(4, "state on two independent backends, read back", "", None, "", "antsmem check --read-data")
        proven: dict[str, float] = {}
        for copy in self.away:
            found = self._newest("backend-verified", partial(_is_of, copy.url))
            if (
                found is not None
                and copy.is_fresh(self.now_ns)
                and self._age(found.time_ns) <= BACKEND_DAYS * 86_400
            ):
                proven[copy.host] = min(proven.get(copy.host, 1e18), self._age(found.time_ns))
        step = replace(step, seen=", ".join(sorted(proven)), age_seconds=max(proven.values(), default=None))
        if len(proven) >= 2:
            return step
        if len({copy.host for copy in self.away}) < 2:
            why = "fewer than two other hosts hold a repository"
            return replace(step, missing=why, command="antsmem repository add NAME URL on another host")
        return replace(step, missing=f"fewer than two are fresh and were read back within {BACKEND_DAYS} days")

    def migration(self) -> Step:
        step = Step(4, "a migration test passed", "", None, "", "antsmem migrate-test")
        found = self._newest("migration-test", lambda _one: True)
        return self._aged(
            step, found, MIGRATION_DAYS, lambda one: f"target {one.details.get('target', 'unknown')}"
        )

    def resumed(self) -> Step:
        step = Step(4, "work resumed without a person after a move", "", None, "", "antsmem migrate-test")
        here, tested = (
            self._newest("autonomy-resumed", lambda _one: True),
            self._newest("migration-test", _resumed),
        )
        found = max((one for one in (here, tested) if one is not None), key=lambda one: one.time_ns, default=None)
        return self._aged(
            step, found, RESUMED_DAYS, lambda one: str(one.details.get("host", "in a migration test"))
        )

    def _aged(self, step: Step, found: Evidence | None, days: int, told: Callable[[Evidence], str]) -> Step:
        """`step` with the evidence `found`, which counts for `days`."""
        if found is None:
            return replace(step, missing="never seen")
        age = self._age(found.time_ns)
        step = replace(step, seen=told(found), age_seconds=age)
        return step if age <= days * 86_400 else replace(step, missing=f"older than {days} days")

    def _all(self, kind: str) -> Sequence[Evidence]:
        """The evidence of a kind, oldest first. What lies in the future was never seen: the clock was set back."""
        found = [one for one in self.facts.evidence if one.kind == kind and one.time_ns <= self.now_ns + _SKEW_NS]
        return sorted(found, key=lambda one: one.time_ns)

    def _newest(self, kind: str, counts: Callable[[Evidence], bool]) -> Evidence | None:
        return next((one for one in reversed(self._all(kind)) if counts(one)), None)

    def _age(self, time_ns: int) -> float:
        return max(self.now_ns - time_ns, 0) / 1e9


def _is_of(url: str, one: Evidence) -> bool:
    """Whether `one` was seen of the repository at `url`."""
    return one.details.get("repository") == url


def _resumed(one: Evidence) -> bool:
    """Whether a migration test saw the heartbeat finish what was interrupted."""
    proofs = one.details.get("proofs")
    return isinstance(proofs, list) and "resumes" in proofs
