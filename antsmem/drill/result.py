"""What a migration test says: steps, proofs and figures."""

from __future__ import annotations

from typing import Final

from antsmem.core.record import field, record

STEPS: Final = ("back up", "destroy", "new infrastructure", "restore", "start")


@record
class Step:
    """One of the five steps: how long it took, and what was done."""

    name: str
    seconds: float
    what: str


@record
class Proof:
    """A claim, whether it holds (None: it was not looked at), and what was seen."""

    name: str
    claim: str
    holds: bool | None
    evidence: str


@record
class MigrationTest:
    """A test from beginning to end. It passed if every proof that was looked at holds, and all steps were done.

    `rto_seconds`: from the loss until the interrupted work was finished on the new machine. `rpo_seconds` and
    `rpo_entries`: what was written after the backup and is lost, as time and as entries. `unproven`: what this
    test does not show, for people. `old` and `new` are what differs between the machines.
    """

    passed: bool
    agent: str
    target: str
    sabotage: str
    time: str
    version: str
    steps: tuple[Step, ...]
    proofs: tuple[Proof, ...]
    rto_seconds: float | None
    rpo_seconds: float | None
    rpo_entries: int | None
    files: int
    old: dict[str, str] = field(default_factory=dict)
    new: dict[str, str] = field(default_factory=dict)
    unproven: tuple[str, ...] = ()

    @property
    def broken(self) -> tuple[str, ...]:
        """The names of the proofs that do not hold."""
        return tuple(each.name for each in self.proofs if each.holds is False)
