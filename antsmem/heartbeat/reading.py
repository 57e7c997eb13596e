"""Read HEARTBEAT.md: prose stays prose, and only what says plainly when it happens becomes a task of its own.

Three layers, none required: prose goes to the agent with every tick; a heading that is a cadence gates its
section; a tag gives a heading or an item its own schedule and policies. Nothing is guessed and nothing is
refused: every byte of the file is either prose or belongs to exactly one task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from antsmem.core.errors import ConfigError
from antsmem.core.record import mutable_record, replace
from antsmem.heartbeat.cadence import plain, read_heading, time_like
from antsmem.heartbeat.dialects import ACTIVE, FINISHED, state_of, task_list, without_state
from antsmem.heartbeat.document import WORK, Kind, Line, front_matter, read_document
from antsmem.heartbeat.frontmatter import read_settings
from antsmem.heartbeat.naming import made_id
from antsmem.heartbeat.plan import Plan, Remark, Span, Task, Zone
from antsmem.heartbeat.schedule import DAY, Every, Schedule, Tick
from antsmem.heartbeat.slots import zone_of
from antsmem.heartbeat.tags import PROSE_ID, Options, Tag, split_tag

_PROSE: Final = -1
_MARKUP: Final = " *_`:~#"
MOST_TASKS: Final = 500
"""How many tasks of a file can run: a wake looks at each, and no person writes more."""


@mutable_record
class _Draft:
    """A task on the way; `lines` are those that it owns."""

    line: int
    path: tuple[str, ...]
    title: str
    schedule: Schedule
    source: str
    options: Options
    off: str
    error: str


@mutable_record
class _Section:
    """A heading that is open: its level and title, and whose the lines below it are."""

    level: int
    title: str
    owner: int
    active: bool


def read_plan(data: bytes, zone: Zone) -> Plan:
    """The plan that the file `data` makes where `zone` is the local time, unless the file says another."""
    document = read_document(data)
    settings, errors = read_settings(front_matter(data))
    reader = _Reader(document.lines)
    reader.read()
    if reader.base is not None:
        settings = replace(settings, base_seconds=reader.base)
    here = Zone(settings.tz, "file") if settings.tz else zone
    owned = reader.owned()
    prose = _spans(owned.get(_PROSE, ()))
    made = [reader.task(draft, owned.get(index, ()), here) for index, draft in enumerate(reader.drafts)]
    tasks = _named(made, reader.warnings)
    if reader.asks:
        first = reader.asks[0].number
        tasks.append(Task(PROSE_ID, first, (), "the text of the file", Tick(), here, "prose", prose))
    if settings.quiet is not None and (fault := _zone_fault(here)):
        errors += (Remark(1, f"quiet hours: {fault}"),)
        settings = replace(settings, quiet=None)
    warnings = [Remark(*warning) for warning in document.warnings] + reader.warnings
    return Plan(
        tasks=tuple(sorted(tasks, key=lambda task: task.line)),
        prose=prose,
        settings=settings,
        zone=here,
        errors=errors,
        warnings=tuple(sorted(warnings, key=lambda remark: remark.line)),
        offers=tuple(reader.offers),
    )


class _Reader:
    """Goes through the lines once and says whose each is."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.owners = [_PROSE] * len(lines)
        self.drafts: list[_Draft] = []
        self.warnings: list[Remark] = []
        self.offers: list[Remark] = []
        self.asks: list[Line] = []
        self.base: int | None = None
        self.running = 0
        self.stack: list[_Section] = []
        headings = {plain(line.said) for line in lines if line.kind is Kind.HEADING}
        self.nanobot = bool(headings & ACTIVE)
        self.entries = {entry.first: entry for entry in task_list(lines)}

    def read(self) -> None:
        """Give every line its owner."""
        index = 0
        while index < len(self.lines):
            line = self.lines[index]
            if index in self.entries:
                index = self.entry(index)
            elif line.kind is Kind.HEADING:
                index = self.heading(index)
            elif line.kind is Kind.ITEM:
                index = self.item(index)
            else:
                index = self.other(index)

    def draft(self, line: Line, title: str, tag: Tag | None, source: str) -> _Draft:
        options = tag.options if tag else Options()
        title = without_state(title).strip(_MARKUP) or line.text.strip()
        return _Draft(line.number, self.path, title, Tick(), source, options, "", tag.error if tag else "")

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(section.title for section in self.stack)

    @property
    def owner(self) -> int:
        return self.stack[-1].owner if self.stack else _PROSE

    @property
    def closed(self) -> bool:
        """Whether the place belongs to something that does not run, with all that is in it."""
        return self.owner != _PROSE and bool(self.drafts[self.owner].off)

    def add(self, draft: _Draft) -> int:
        self.drafts.append(draft)
        return len(self.drafts) - 1

    def entry(self, index: int) -> int:
        """An entry of a `tasks:` list."""
        entry = self.entries[index]
        draft = self.draft(self.lines[index], entry.name or entry.prompt, None, "tasks")
        draft.schedule, draft.error = entry.schedule or Tick(), entry.error
        end = entry.last + 1
        self.owners[index:end] = [self.add(draft)] * (end - index)
        return end

    def heading(self, index: int) -> int:
        line = self.lines[index]
        while self.stack and self.stack[-1].level >= line.level:
            self.stack.pop()
        said, tag = split_tag(line.said)
        end = index + 1
        if tag is None and (below := self.directive_below(index)) is not None:
            tag, end = split_tag(self.lines[below].said)[1], below + 1
        owner = self.owner if self.closed else self.gate(line, said, tag)
        own = owner not in {self.owner, _PROSE}
        title = self.drafts[owner].title if own else without_state(said).strip(_MARKUP)
        folded = plain(said)
        inherited = bool(self.stack) and self.stack[-1].active
        active = folded in ACTIVE or (inherited and folded not in FINISHED)
        self.owners[index:end] = [owner] * (end - index)
        self.stack.append(_Section(line.level, title, owner, active))
        return end

    def directive_below(self, index: int) -> int | None:
        """The first line with text below a heading, if that is `@heartbeat …` and nothing else."""
        for place in range(index + 1, len(self.lines)):
            line = self.lines[place]
            if line.kind is not Kind.BLANK:
                alone = line.kind is Kind.TEXT and line.said.startswith("@") and not split_tag(line.said)[0]
                return place if alone else None
        return None

    def gate(self, line: Line, said: str, tag: Tag | None) -> int:
        """The owner of the section below a heading: a new task, the prose, or whose it is anyway."""
        reading = read_heading(said)
        draft = self.draft(line, reading.title if reading else said, tag, "heading")
        draft.off = "done" if self.nanobot and plain(said) in FINISHED else state_of(said)
        if draft.off:
            return self.add(draft)
        if tag is not None:
            draft.schedule = tag.options.schedule or (reading.schedule if reading else self.inherited())
            return self.add(draft)
        if reading is None:
            if time_like(said):
                self.offer(line, said)
            return self.owner
        if isinstance(reading.schedule, Tick):
            return _PROSE
        draft.schedule = reading.schedule
        return self.add(draft)

    def offer(self, line: Line, said: str) -> None:
        self.offers.append(Remark(line.number, f"`{_short(said)}` speaks of times: left to the agent"))

    def inherited(self) -> Schedule:
        """The schedule of the section here."""
        return self.drafts[self.owner].schedule if self.owner != _PROSE else Tick()

    def item(self, index: int) -> int:
        """An item, and what is indented below it if it is a task."""
        end = self.claim(index)
        if end is None:
            self.owners[index] = self.owner
            if self.owner == _PROSE:
                self.asked(self.lines[index])
            return index + 1
        place = index + 1
        while place < end:  # tasks within it; what is below a done one is done with it
            inner = self.claim(place) if self.lines[place].kind is Kind.ITEM else None
            place = inner if inner is not None and self.drafts[-1].off else place + 1
        return end

    def claim(self, index: int) -> int | None:
        """Make the item a task if it has a tag or does not run: behind which line it ends, else None."""
        line = self.lines[index]
        paragraph = index + 1
        while paragraph < len(self.lines) and self.lines[paragraph].kind is Kind.TEXT:
            paragraph += 1
        if self.closed:
            return None
        rest, tag = split_tag(line.said)
        if tag is None and paragraph > index + 1:  # it may stand at the end of an item that is wrapped
            rest, tag = split_tag(" ".join(each.said for each in self.lines[index:paragraph]))
        off = state_of(rest, line.box)
        if tag is None and not off:
            return None
        draft = self.draft(line, rest, tag, "item")
        draft.schedule = draft.options.schedule or self.inherited()
        draft.off = off
        end = self.block(index, paragraph)
        self.owners[index:end] = [self.add(draft)] * (end - index)
        return end

    def block(self, index: int, paragraph: int) -> int:
        """Where the item that starts at `index` ends: before the next line that is not indented deeper."""
        level = self.lines[index].level
        end = paragraph
        for place in range(paragraph, len(self.lines)):
            line = self.lines[place]
            if line.kind in {Kind.BLANK, Kind.COMMENT}:
                continue
            inside = line.kind is Kind.FENCE and end == place and self.lines[place - 1].kind is Kind.FENCE
            if line.kind in {Kind.HEADING, Kind.RULE} or (line.level <= level and not inside):
                break
            end = place + 1
        return end

    def other(self, index: int) -> int:
        line = self.lines[index]
        self.owners[index] = self.owner
        if line.kind is Kind.TEXT:
            rest, tag = split_tag(line.said)
            if tag is not None and not rest and line.said.startswith("@") and not self.stack:
                self.file_directive(line, tag)
                return index + 1
            if tag is not None:
                self.warnings.append(
                    Remark(line.number, "a tag counts behind a heading or an item only: read as text")
                )
        if line.kind is Kind.TABLE and time_like(line.text):
            self.offer(line, line.text.strip())
        if line.kind in WORK and self.owner == _PROSE:
            self.asked(line)
        return index + 1

    def asked(self, line: Line) -> None:
        """Prose that asks for something, unless the file says where such stands."""
        if not self.entries and (not self.nanobot or (self.stack and self.stack[-1].active)):
            self.asks.append(line)

    def file_directive(self, line: Line, tag: Tag) -> None:
        """`@heartbeat every=30m` at the top: the length of a tick."""
        schedule = tag.options.schedule
        if isinstance(schedule, Every) and schedule.seconds <= DAY and not tag.error:
            self.base = schedule.seconds
        else:
            why = tag.error or "only `every` counts here, at most a day"
            self.warnings.append(Remark(line.number, f"not read: {why}"))

    def owned(self) -> dict[int, list[Line]]:
        """The lines of each owner."""
        lines: dict[int, list[Line]] = {}
        for line, owner in zip(self.lines, self.owners, strict=True):
            lines.setdefault(owner, []).append(line)
        return lines

    def task(self, draft: _Draft, owned: Sequence[Line], here: Zone) -> Task:
        """The draft as a task."""
        asks = sum(line.kind in WORK for line in owned)
        off = draft.off or ("" if asks or draft.error else "empty")
        if off == "empty" and draft.options != Options():
            self.warnings.append(Remark(draft.line, "has a tag, and nothing to do below it"))
        zone = Zone(draft.options.tz, "task") if draft.options.tz else here
        error = ""
        if not off:
            self.running += 1
            many = f"is more than {MOST_TASKS} tasks: not run" if self.running > MOST_TASKS else ""
            error = many or draft.error or _fault(draft.schedule, zone)
        return Task(
            id=draft.options.id or made_id(draft.path, draft.title),
            line=draft.line,
            path=draft.path,
            title=draft.title,
            schedule=draft.schedule,
            zone=zone,
            source=draft.source,
            spans=_spans(owned),
            options=draft.options,
            off=off,
            error=error,
        )


def _named(tasks: list[Task], warnings: list[Remark]) -> list[Task]:
    """The tasks, each with an id of its own: a given one that is there twice is an error of the later task, a made
    one gets a number."""
    given = {task.options.id for task in tasks}
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    named = []
    for task in tasks:
        name = task.id
        while name in taken or (name in given and (task.options.id is None or name != task.id)):
            counts[task.id] += 1
            name = f"{task.id}-{counts[task.id] + 1}"
        taken.add(name)
        if name != task.id and task.options.id is not None:
            named.append(replace(task, id=name, error=f"the id `{task.id}` is taken by an earlier task"))
            continue
        if name != task.id and not task.off:
            warnings.append(Remark(task.line, "says the same as an earlier task: give both an id"))
        named.append(replace(task, id=name) if name != task.id else task)
    return named


def _fault(schedule: Schedule, zone: Zone) -> str:
    """What keeps a schedule from being computed."""
    return "" if isinstance(schedule, Tick | Every) else _zone_fault(zone)


def _zone_fault(zone: Zone) -> str:
    if not zone.name:
        return "nobody says which time zone: write it into USER.md, as `Time zone: Europe/Lisbon`"
    try:
        zone_of(zone.name)
    except ConfigError as error:
        return f"{error} ({zone.origin} names it)"
    return ""


def _spans(lines: Sequence[Line]) -> tuple[Span, ...]:
    """The bytes of lines, those that touch as one."""
    spans: list[Span] = []
    for line in lines:
        if spans and spans[-1].end == line.start:
            spans[-1] = Span(spans[-1].start, line.end)
        else:
            spans.append(Span(line.start, line.end))
    return tuple(spans)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
