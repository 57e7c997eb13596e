"""What a HEARTBEAT.md asks for: its tasks, its prose, its settings, and what is wrong with it."""

from __future__ import annotations

from typing import Final

from antsmem.core.record import field, record
from antsmem.heartbeat.schedule import HOUR, MINUTE, Days, Every, Once, Schedule, Tick, schedule_text
from antsmem.heartbeat.tags import Options

BASE_SECONDS: Final = 30 * MINUTE
_LONGEST_GRACE: Final = 12 * HOUR
_CALENDAR_GRACE: Final = 4 * HOUR


@record
class Span:
    """The bytes from `start` to before `end` of the file."""

    start: int
    end: int


@record
class Zone:
    """A time zone by its IANA name, and who said so: `task`, `file`, `USER.md`, `agent.yaml` or `host`."""

    name: str
    origin: str


@record
class Task:
    """One thing to do.

    `source` says how it was found: `prose` (the rest of the file, which is given to the agent), `heading`, `item`
    or `tasks` (an entry of such a list). `off` says why it does not run: `done`, `paused` or `empty`; `error` what
    has to be mended before it does. `path` are the headings above, outermost first.
    """

    id: str
    line: int
    path: tuple[str, ...]
    title: str
    schedule: Schedule
    zone: Zone
    source: str
    spans: tuple[Span, ...]
    options: Options = field(default_factory=Options)
    off: str = ""
    error: str = ""

    @property
    def runs(self) -> bool:
        """Whether it ever becomes due."""
        return not self.off and not self.error


@record
class Settings:
    """The front matter. `quiet` is from and to which minute of the local day nothing runs that is not urgent."""

    tz: str | None = None
    base_seconds: int = BASE_SECONDS
    quiet: tuple[int, int] | None = None


@record
class Remark:
    """Something to look at in a line of the file."""

    line: int
    text: str


@record
class Plan:
    """A HEARTBEAT.md as it was understood.

    `prose` and the spans of all tasks but the prose task are the file, every byte once. Prose without anything to
    do in it makes no task. `errors` are about the whole file; those of a task are in the task. `offers` are lines
    that speak of times and are left to the agent. `zone` is where the file's clock stands.
    """

    tasks: tuple[Task, ...]
    prose: tuple[Span, ...]
    settings: Settings
    zone: Zone
    errors: tuple[Remark, ...] = ()
    warnings: tuple[Remark, ...] = ()
    offers: tuple[Remark, ...] = ()

    @property
    def all_errors(self) -> tuple[Remark, ...]:
        """What has to be mended, by line."""
        found = (*self.errors, *(Remark(task.line, task.error) for task in self.tasks if task.error))
        return tuple(sorted(found, key=lambda remark: remark.line))

    @property
    def reading(self) -> str:
        """How the file was understood, a line a task: when this changes, so has what will happen."""
        return "\n".join(
            f"{task.id} {schedule_text(task.schedule)} {task.zone.name} {task.off or bool(task.error)}"
            for task in self.tasks
        )


def text_of(data: bytes, spans: tuple[Span, ...]) -> str:
    """The text of spans of the file `data`, as it stands there."""
    return b"".join(data[span.start : span.end] for span in spans).decode("utf-8", "replace").lstrip("\ufeff")


def grace_seconds(task: Task, base_seconds: int) -> int | None:
    """How late a slot of the task may still run; None: however late.

    Said in its tag, else: half an interval, at most 12 hours, but never less than two ticks, in which a wake comes
    by; 4 hours for a time of day or cron; a day, week or month for what belongs to the whole of it; for what
    happens once, without end.
    """
    if task.options.grace_seconds is not None:
        return task.options.grace_seconds
    match task.schedule:
        case Every(seconds):
            return max(min(seconds // 2, _LONGEST_GRACE), 2 * base_seconds)
        case Days(minutes=()):
            return task.schedule.span_seconds
        case Once() | Tick():
            return None
        case _:
            return max(_CALENDAR_GRACE, 2 * base_seconds)
