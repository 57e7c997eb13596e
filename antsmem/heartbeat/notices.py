"""What a person is told: each trouble once a day, and once more when a task that failed does not any more.

    fact told:SUBJECT   {"day": when it was told last, "what": the trouble}

A trouble that stays is told again the next day; another one of the same subject at once. What a person has mended
himself is over without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from antsmem.core.record import record
from antsmem.heartbeat.backoff import OFF_AFTER, breaker
from antsmem.heartbeat.choice import Choice, open_entries
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import fact_body
from antsmem.heartbeat.plan import Plan

TOLD: Final = "told:"
CONFIG, HUMAN, FAILED = 2, 3, 5
_FAILS: Final = "failed"
_STATES: Final = frozenset({"HELD", "BLOCKED"})


@record
class Trouble:
    """Something that is wrong with `subject`: `what` in a word, `text` for people, `code` the exit code that it
    means. `once`: never told again as long as it stays."""

    subject: str
    what: str
    text: str
    code: int
    hint: str = ""
    once: bool = False


@record
class Question:
    """A key of which a person has to say what became of it, or that an agent cannot go on with."""

    key: str
    task: str
    state: str
    why: str
    note: str


def questions(journal: Journal) -> tuple[Question, ...]:
    """All that a schedule's work asks a person."""
    return tuple(
        Question(entry.key, entry.text("task"), entry.state, entry.text("why"), entry.text("note"))
        for entry in open_entries(journal)
        if entry.state in _STATES
    )


def troubles(journal: Journal, plan: Plan, choice: Choice, asked: Sequence[Question]) -> list[Trouble]:
    """All that is wrong now and waits for somebody, but for what failed and is tried again."""
    found = [
        Trouble(f"line {remark.line}", remark.text, f"HEARTBEAT.md:{remark.line}: {remark.text}", CONFIG)
        for remark in plan.all_errors
    ]
    found += [
        Trouble(each.task, str(each.error), f"HEARTBEAT.md:{each.line}: {each.error}", CONFIG, each.error.hint)
        for each in choice.refused
    ]
    for name in dict.fromkeys(question.task for question in asked):
        mine = [question for question in asked if question.task == name]
        last = mine[-1]
        more = f" (and {len(mine) - 1} more of `{name}`)" if len(mine) > 1 else ""
        said = f": {last.note}" if last.note else ""
        found.append(
            Trouble(
                name, f"{last.state} {last.why}", f"`{last.key}` is {last.state} ({last.why}){said}{more}", HUMAN,
                answer(last.key, last.state),
            )
        )  # fmt: skip
    for task in plan.tasks:
        if task.runs and breaker(journal.mark(task.id).failures) == "off":
            text = f"`{task.id}` failed {OFF_AFTER} times in a row: it is off"
            found.append(
                Trouble(f"{task.id} off", "off", text, HUMAN, f"antsmem heartbeat resume {task.id}", True)
            )
    return found


def answer(key: str, state: str) -> str:
    """What a person types about a key that waits for one."""
    if state == "BLOCKED":
        return f"answer it: antsmem heartbeat resolve {key} redo --note ANSWER"
    return f"find out whether it happened, then: antsmem heartbeat resolve {key} done|redo|drop"


def tell(
    journal: Journal, found: Sequence[Trouble], day: str, plan: Plan, only: str = ""
) -> tuple[list[str], list[Mapping[str, Any]]]:
    """The lines to tell on `day`, and what to record of them. A task of `plan` that failed last is not over,
    though nothing new happened. `only` this task was looked at, if one is named: nothing is over of the others."""
    failures = {task.id: journal.mark(task.id).failures for task in plan.tasks}
    lines: list[str] = []
    facts: list[Mapping[str, Any]] = []
    subjects: set[str] = set()
    for trouble in found:
        if trouble.subject in subjects:
            continue
        subjects.add(trouble.subject)
        told, what = _told(journal, trouble.subject), trouble.what[:200]
        if told.get("what") == what and (trouble.once or told.get("day") == day):
            continue
        lines.append(trouble.text + (f"\n  → {trouble.hint}" if trouble.hint else ""))
        facts.append(fact_body(TOLD + trouble.subject, {"day": day, "what": what}))
    for subject in [name.removeprefix(TOLD) for name in journal.facts if name.startswith(TOLD)]:
        told = _told(journal, subject)
        failed = str(told.get("what")).startswith(_FAILS)
        if not told or subject in subjects or (failed and failures.get(subject)):
            continue
        if only and subject.partition(" ")[0] != only:
            continue
        lines += [f"`{subject}`: recovered"] if failed and subject in failures else []
        facts.append(fact_body(TOLD + subject, None))
    return lines, facts


def _told(journal: Journal, subject: str) -> Mapping[str, Any]:
    """What was told of `subject`; nothing if nothing was."""
    found = journal.fact(TOLD + subject)
    return found if isinstance(found, dict) else {}
