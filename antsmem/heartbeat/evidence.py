"""Whether an agent's turn did what it was asked: the agent must say so with the nonce of this very run.

An exit code says only that a program ended. A nonce is drawn for each run, stands in the context of that run and
nowhere else, and comes back in one of two ways:

    antsmem report KEY done|nothing|blocked --note …     while the run lasts; kept in runs/<run>/report.json
    HEARTBEAT_OK <nonce>                                  as the last line of what the agent says
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, TypeAlias

from antsmem.core import canonical
from antsmem.core.disk import read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError, legible
from antsmem.core.record import record, replace
from antsmem.heartbeat.action import STDOUT_BYTES
from antsmem.heartbeat.agents import Preset, last_words
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.states import Ended
from antsmem.heartbeat.verdict import NONCE, Judge, Verdict, nonce_hash

Word: TypeAlias = Literal["done", "nothing", "blocked"]
WORDS: Final[tuple[Word, ...]] = ("done", "nothing", "blocked")

OK: Final = "HEARTBEAT_OK"
"""What the last line begins with, before the nonce."""

REPORT: Final = "report.json"
MAX_NOTE: Final = 500
_REPORT_BYTES: Final = 16 << 10


@record
class Report:
    """What the agent reported about `key` in the run whose nonce it had."""

    key: str
    word: Word
    note: str = ""


def judge(ended: Ended | None, last_words: str, nonce: str, report: Report | None) -> Verdict:
    """What a run came to. A report counts however the run ended; the last line counts only after exit code 0, and
    exit code 0 without either is UNKNOWN."""
    if report is not None:
        if report.word == "blocked":
            return Verdict("BLOCKED", "blocked", "report", report.note)
        return Verdict("DONE", "", "report", report.note or ("nothing to do" if report.word == "nothing" else ""))
    if ended is None or not ended.started or ended.late or ended.code != 0:
        return Verdict()
    said = next((line.strip() for line in reversed(last_words.split("\n")) if line.strip()), "")
    if nonce and said == f"{OK} {nonce}":
        return Verdict("DONE", "", "nonce")
    return Verdict("UNKNOWN", "no-report")


def agent_judge(preset: Preset, key: str, nonce: str) -> Judge:
    """The judge of one turn of an agent that was given `nonce` and asked to do `key`.

    Where the program says that the turn failed before the model said a word (no key, no network), nothing was done
    and it may be tried again.
    """

    def judged(folder: Path, ended: Ended | None) -> Verdict:
        said = last_words(preset, _read(folder / "stdout"), _read(folder / "stderr"))
        verdict = judge(ended, said.text, nonce, read_report(folder, key))
        if said.failed and verdict.how != "report":
            verdict = Verdict("FAILED", "no-answer") if said.silent else Verdict("UNKNOWN", "no-report")
        return replace(
            verdict,
            cost_microusd=round((said.cost_usd or 0) * 1_000_000),
            input_tokens=said.input_tokens or 0,
            output_tokens=said.output_tokens or 0,
        )

    return judged


def keep_report(journal: Journal, key: str, word: Word, note: str, nonce: str) -> Report:
    """Keep a report beside the run that it is about; a later one replaces it. Durable when this returns.

    `UsageError` unless a run of `key` with this very `nonce` is under way: what another run says does not count.
    Also for a question without words.
    """
    note = legible(" ".join(note.split()))
    if len(note) > MAX_NOTE:
        note = note[: MAX_NOTE - 1] + "…"
    if word == "blocked" and not note:
        raise UsageError(
            "blocked by what? a question needs a note: nothing reported", hint='--note "the question"'
        )
    last = journal.last(key)
    under_way = last is not None and last.state == "STARTED" and bool(last.text("nonce"))
    if last is None or not under_way or not nonce or nonce_hash(nonce) != last.text("nonce"):
        raise UsageError(
            f"no turn for `{key}` is under way here: nothing reported",
            hint=f"only the agent that `antsmem heartbeat` started for it may report, with its ${NONCE}",
        )
    folder = journal.places.runs / os.path.basename(last.text("run"))
    write_file(folder / REPORT, [canonical.dumps({"key": key, "word": word, "note": note})])
    return Report(key, word, note)


def read_report(folder: Path, key: str) -> Report | None:
    """What was reported about `key` in the run with this folder."""
    try:
        found = canonical.loads(read_file(folder / REPORT, _REPORT_BYTES), _REPORT_BYTES)
    except (NotFoundError, UsageError, IntegrityError):
        return None
    if not isinstance(found, dict):
        return None
    word = next((known for known in WORDS if known == found.get("word")), None)
    note = found.get("note")
    if found.get("key") != key or word is None or not isinstance(note, str):
        return None
    return Report(key, word, note)


def _read(path: Path) -> bytes:
    try:
        return read_file(path, STDOUT_BYTES)
    except (NotFoundError, UsageError):
        return b""
