"""Run an effect once: find out what became of it before, start it if it may be started, record what came of it.

The order that makes it safe: hold the key's run lock (so nothing of it runs), look at the journal under its own
lock, append STARTED and wait for the disk, only then start the action, and hand it the run lock.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from antsmem.core.clock import utc_text
from antsmem.core.errors import BusyError, UsageError
from antsmem.core.record import field, record, replace, shown
from antsmem.heartbeat.action import Action, Mask, Output, run_action, survivors
from antsmem.heartbeat.backoff import delay_seconds
from antsmem.heartbeat.fold import SETTLED
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry
from antsmem.heartbeat.locks import remove_lock, run_lock
from antsmem.heartbeat.runs import Run, replayed
from antsmem.heartbeat.states import TOLD, Ended, Kind, answered, next_step, outcome
from antsmem.heartbeat.verdict import NONCE, Judge, Verdict, nonce_hash

MAX_KEY: Final = 200
VERIFY_SECONDS: Final = 60.0
_MARGIN_SECONDS: Final = 11.0
_NS: Final = 1_000_000_000
_BLANK: Final = re.compile(r"\s+")


@record
class Effect:
    """What is to happen once. `key` names it; `verify` is the command that tells whether it happened.

    `task` and `slot` say whose it is, where a schedule asks for it. `environment` is what actions get, `prompt`
    what the action reads. With a `judge`, exit code 0 is not enough: it says what a run came to; `nonce` is what
    only this run knows.
    """

    key: str
    argv: tuple[str, ...]
    kind: Kind = "hold"
    verify: tuple[str, ...] = ()
    timeout_seconds: float = 600.0
    task: str = ""
    slot: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    stdin: int | None = None
    prompt: bytes = field(default=b"", repr=False)
    judge: Judge | None = field(default=None, repr=False)
    nonce: str = field(default="", repr=False)


@record
class Host:
    """Where and when the work is done: `now_ns` tells the time, `draw` gives numbers in [0, 1).

    `enter` is asked before each start of a kind: the epoch that this host holds, or `RetiredError`. `started` is
    called when it is recorded. `patient`: obey back-off, as a wake does.
    """

    now_ns: Callable[[], int]
    draw: Callable[[], float]
    enter: Callable[[Kind], int] = lambda _kind: 0
    started: Callable[[], None] = lambda: None
    patient: bool = False
    mask: Callable[[], Mask] | None = None


@record
class OnceResult:
    """What is known of a key now.

    `ran`: by this call. `exit_code` is the action's own, None if it has none; `stdout` what it printed when it
    ran, `stdout_whole` whether that is all of it and as it was; `stderr` of this call's run. `why` and `retry_at`
    say more of a state that is not DONE; `survivors` are processes that the action left.
    """

    key: str
    state: str
    ran: bool
    exit_code: int | None
    stdout: bytes = field(repr=False)
    stdout_whole: bool = True
    stderr: bytes = field(default=b"", repr=False)
    why: str = ""
    retry_at: str = ""
    survivors: tuple[int, ...] = ()
    same_command: bool = True


def clean_key(text: str) -> str:
    """`text` as a key: NFC, 1 to 200 characters, none of them blank or a control, else `UsageError`."""
    key = unicodedata.normalize("NFC", text)
    if not 0 < len(key) <= MAX_KEY or not key.isprintable() or " " in key:
        raise UsageError(f"a key is 1 to {MAX_KEY} printable characters without blanks: nothing started")
    return key


def content_key(destination: str, content: bytes) -> str:
    """The key of sending `content` to `destination`: equal for texts that differ only in blanks and form."""
    import hashlib

    text = unicodedata.normalize("NFC", content.decode("utf-8", "surrogateescape"))
    text = _BLANK.sub(" ", text).strip()
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return clean_key(f"{destination}:{digest[:32]}")


def once(journal: Journal, effect: Effect, host: Host) -> OnceResult:
    """See that `effect` happens once, and tell what became of it.

    Settled keys are replayed, without a lock and without a write. `BusyError` if the key is being worked on, or if
    it is a task's, was planned, and is over since an earlier month.
    `DiskError` where the journal cannot be written: before the action, nothing was started; after it, the key is
    as if the process had been killed, and the next call finds out.
    """
    last = journal.last(effect.key)
    if last is not None and last.state in SETTLED:
        return _replay(journal, effect, last)
    with run_lock(journal.places.locks, effect.key) as lock:
        result = _Work(journal, effect, host, lock).result()
        if result.state in SETTLED and not result.survivors:
            remove_lock(journal.places.locks, effect.key)
    return result


def _replay(journal: Journal, effect: Effect, last: Entry) -> OnceResult:
    stdout, whole = replayed(journal.places.runs, last)
    code = last.count("exit") if last.state == "DONE" else None
    same = last.text("command") in {"", command_hash(effect.argv)}
    whole = whole and not last.body.get("cut")
    return OnceResult(effect.key, last.state, False, code, stdout, whole, why=last.text("why"), same_command=same)


def command_hash(argv: tuple[str, ...]) -> str:
    """SHA-256 (hex) of a command line: its words, each ended by a zero byte."""
    import hashlib

    return hashlib.sha256(b"".join(os.fsencode(word) + b"\0" for word in argv)).hexdigest()


class _Work:
    """One call of `once` that holds the run lock."""

    def __init__(self, journal: Journal, effect: Effect, host: Host, lock: int) -> None:
        self.journal, self.effect, self.host, self.lock = journal, effect, host, lock

    def result(self) -> OnceResult:
        """Take steps until there is something to tell."""
        asked = False
        while True:
            with self.journal.deciding(self.host.now_ns()):
                last = self.journal.last(self.effect.key)
                if last is None:
                    self._require_planned()
                step = self._next(last)
                if step in {"ask", "hold", "start"}:
                    self._require_gone(last)
                    if last is not None and (verdict := self._reported(last)) is not None:
                        return self._told(self._append(verdict.state, last, **_said(verdict)))
                if step == "start":
                    entry, run = self._started(last)
                elif step == "ask" and not asked:
                    entry = self._recorded_unknown(last)
                elif step == "hold":
                    return self._told(self._append("HELD", last, why=self._why(last)))
                else:
                    assert last is not None
                    if step == "settled":
                        return _replay(self.journal, self.effect, last)
                    return self._told(last)
            if step == "start":
                return self._run(entry, run)
            asked = True
            self._ask(entry)

    def _next(self, last: Entry | None) -> str:
        hidden = bool(self.journal.hides(self.effect.key))
        if last is None and self.effect.kind == "verify":  # cheap to ask, and another host may have done it
            hidden = hidden or self.journal.doubt
        now_ns, patient = self.host.now_ns(), self.host.patient
        return next_step(last, self.effect.kind, hidden=hidden, now_ns=now_ns, patient=patient)

    def _require_planned(self) -> None:
        """A wake plans what it starts. If nobody knows of that any more, a month has begun since, and the key was
        settled before: by another wake, or by a person."""
        if self.effect.task and not self.journal.hides(self.effect.key):
            raise BusyError(f"`{self.effect.key}` was settled in the meantime: not started")

    def _require_gone(self, last: Entry | None) -> None:
        """A run that was cut off may have left processes that gave its lock away."""
        run = last.text("run") if last is not None and last.state in {"STARTED", "UNKNOWN"} else ""
        left = survivors(run) if run else ()
        if left:
            pids = ", ".join(map(str, left))
            raise BusyError(f"`{self.effect.key}` is still being done, by process {pids}: not started")

    def _reported(self, last: Entry) -> Verdict | None:
        """What a run that was cut off had reported before. Where the world can be asked, it is asked instead."""
        if self.effect.judge is None or self.effect.verify or last.state not in {"STARTED", "UNKNOWN"}:
            return None
        run = os.path.basename(last.text("run"))
        verdict = self.effect.judge(self.journal.places.runs / run, None) if run else Verdict()
        return verdict if verdict.state else None

    def _why(self, last: Entry | None) -> str:
        if last is None and not self.journal.hides(self.effect.key):
            return "take-over"
        if last is None or last.state in {"PLANNED", "FAILED"}:
            tried = last is not None and last.count("attempt")
            return self.journal.hides(self.effect.key) or ("attempts" if tried else "damage")
        return "died" if last.state == "STARTED" else last.text("why") or "unknown"

    def _recorded_unknown(self, last: Entry | None) -> Entry:
        if last is not None and last.state in {"UNKNOWN", "HELD"}:
            return last
        return self._append("UNKNOWN", last, why=self._why(last))

    def _started(self, last: Entry | None) -> tuple[Entry, Run]:
        epoch = self.host.enter(self.effect.kind)
        # First: where there is no room for its output, nothing is started.
        run = Run(self.journal.places.runs, self.effect.prompt)
        now_ns = self.host.now_ns()
        lease_ns = int((self.effect.timeout_seconds + _MARGIN_SECONDS) * _NS)
        started = {
            "attempt": (last.count("attempt") if last is not None else 0) + 1,
            "command": command_hash(self.effect.argv),
            "effect": self.effect.kind,
            "epoch": epoch,
            "lease": utc_text(now_ns + lease_ns),
            "run": run.name,
            **({"nonce": nonce_hash(self.effect.nonce)} if self.effect.nonce else {}),
            **this_process(),
        }
        # Two records for a key that is new: one that is damaged cannot hide that it was started (see `fold.py`).
        first = [self._body("PLANNED")] if last is None else []
        try:
            entry = self.journal.append(now_ns, *first, self._body("STARTED", **started))
            self.host.started()
        except BaseException:
            run.close()
            raise
        return entry, run

    def _run(self, entry: Entry, run: Run) -> OnceResult:
        effect = self.effect
        environment = {
            **effect.environment,
            "ANTSMEM_KEY": effect.key,
            "ANTSMEM_FENCE": str(fence(entry.count("epoch"), entry.number)),
            **({NONCE: effect.nonce} if effect.nonce else {}),
        }
        action = Action(
            effect.argv, environment, run.name, effect.timeout_seconds, self.lock,
            effect.stdin if run.stdin is None else run.stdin, effect.folder, self.host.mask,
        )  # fmt: skip
        with run:
            ended, output = run_action(action, run.stdout, run.stderr)
            verdict = self._verdict(run.folder, ended)
            state = verdict.state or outcome(ended, effect.kind)
            kept = run.keep() if state == "DONE" else ""
            printed, told = run.printed()
        came = self._came(ended, output, kept, entry) | _said(verdict)
        if state == "DONE":
            came.pop("retry_at", None)
        elif "retry_at" not in came:
            came["retry_at"] = self._retry_at(came["attempt"])
        with self.journal.deciding(self.host.now_ns()):
            last = self._append(state, entry, **came)
        if state == "UNKNOWN":
            last = self._settled_unknown(last)
        return replace(
            self._told(last),
            ran=True, exit_code=ended.code, stdout=printed, stdout_whole=not output.cut, stderr=told,
            survivors=ended.survivors,
        )  # fmt: skip

    def _verdict(self, folder: Path, ended: Ended) -> Verdict:
        """What the judge says. Where the world can be asked, nobody's word is enough."""
        verdict = self.effect.judge(folder, ended) if self.effect.judge is not None else Verdict()
        if verdict.state == "DONE" and self.effect.verify:
            return replace(verdict, state="UNKNOWN", why="unverified")
        return verdict

    def _settled_unknown(self, last: Entry) -> Entry:
        """Right after a run of which nobody knows what it did: ask, or hold, where it must not run again."""
        with self.journal.deciding(self.host.now_ns()):
            step = self._next(last)
            if step == "hold":
                return self._append("HELD", last, why=self._why(last))
        return self._ask(last) if step == "ask" and not survivors(last.text("run")) else last

    def _came(self, ended: Ended, output: Output, kept: str, entry: Entry) -> dict[str, Any]:
        members: dict[str, Any] = {"attempt": entry.count("attempt"), "run": entry.text("run")}
        if not ended.started:
            members |= {"why": "not-started", "exit": ended.code}
        elif ended.late:
            members |= {"why": "timeout"}
        elif ended.code is None:
            members |= {"why": f"signal-{ended.signal}"}
        else:
            members |= {"exit": ended.code, "command": entry.text("command")}
            members |= {"why": "exit"} if ended.code else {"how": "exit", "stdout": kept, "cut": output.cut}
        if ended.survivors:
            members["survivors"] = list(ended.survivors[:32])
        if ended.code != 0 or ended.late:
            members["retry_at"] = self._retry_at(members["attempt"])
        return members

    def _retry_at(self, attempt: int) -> str:
        return utc_text(self.host.now_ns() + int(delay_seconds(attempt, self.host.draw) * _NS))

    def _ask(self, last: Entry) -> Entry:
        """Ask the world whether it happened, and record the answer."""
        run = Run(self.journal.places.runs)
        environment = {**self.effect.environment, "ANTSMEM_KEY": self.effect.key}
        action = Action(
            self.effect.verify, environment, run.name, VERIFY_SECONDS, self.lock, folder=self.effect.folder,
            mask=self.host.mask,
        )  # fmt: skip
        with run:
            ended, _ = run_action(action, run.stdout, run.stderr)
        code = ended.code if ended.started and not ended.late and not ended.survivors else None
        state = answered(code)
        with self.journal.deciding(self.host.now_ns()):
            if state == "HELD" and last.state == "HELD":
                return last
            members = {"how": "verify"} if state != "HELD" else {"why": "verify-says-nothing"}
            return self._append(state, last, verify=run.name, **members)

    def _append(self, state: str, last: Entry | None, **members: Any) -> Entry:
        if last is not None:
            kept = ("attempt", "run", "effect")
            members = {name: last.body[name] for name in kept if name in last.body} | members
        return self.journal.append(self.host.now_ns(), self._body(state, **members))

    def _body(self, state: str, **members: Any) -> dict[str, Any]:
        whose: dict[str, Any] = {}
        if self.effect.task:
            whose = {"task": self.effect.task, "slot": self.effect.slot}
            if state in TOLD:
                whose["tell"] = utc_text(self.host.now_ns())
            if state == "DONE" and (failures := self.journal.mark(self.effect.task).failures):
                whose["failures"] = failures
        return {"kind": "state", "key": self.effect.key, "state": state, **whose, **members}

    def _told(self, last: Entry) -> OnceResult:
        code = last.count("exit") if "exit" in last.body else None
        return OnceResult(
            self.effect.key, last.state, False, code, b"", why=last.text("why"), retry_at=last.text("retry_at")
        )


def _said(verdict: Verdict) -> dict[str, Any]:
    """What to record of a verdict: nothing where nothing was said."""
    return {name: value for name, value in shown(verdict).items() if value and name != "state"}


def fence(epoch: int, number: int) -> int:
    """The fencing token of a start: larger than that of any start before, on any host that came before."""
    return (epoch << 40) | number


def this_process() -> dict[str, Any]:
    """Who starts something: enough to tell this process from a later one with the same number."""
    boot = since = ""
    if sys.platform == "linux":
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as line:
                boot = line.read().strip()
            with open("/proc/self/stat", "rb") as stat:
                since = stat.read().rpartition(b") ")[2].split()[19].decode()
        except OSError:
            pass
    return {"pid": os.getpid(), "pid_since": since, "boot": boot}
