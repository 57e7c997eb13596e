"""What an agent needs to know when it wakes: what to do, what was done, who it is, what it remembers.

In this order, within a budget of tokens: contract and nonce, due tasks, ledger, NOW, SOUL, USER, TOOLS, MEMORY
(its head), today's and yesterday's log (their tails). What does not fit is cut, and says so where it is cut.

Each part stands behind a fence that is drawn from the nonce, so that no file can pretend to be another part.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from antsmem.core.clock import parse_utc, utc_text
from antsmem.core.errors import UsageError, legible
from antsmem.core.record import field, mutable_record, record, replace
from antsmem.heartbeat.contract import contract
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.line import Entry
from antsmem.workspace.humantime import human_time
from antsmem.workspace.layout import Layout

if TYPE_CHECKING:
    from antsmem.identity.scanner import Finding

Scan = Callable[[bytes], "Sequence[Finding]"]

BUDGET_TOKENS: Final = 12_000
LEAST_TOKENS: Final = 1_000
MOST_TOKENS: Final = 1_000_000
MARK: Final = b"[secret]"
"""Stands for a secret that was left out: 8 bytes, which no secret is shorter than."""

_BYTES_A_TOKEN: Final = 3
_OVERLAP_BYTES: Final = 16 << 10
_LEAST_SHOWN_BYTES: Final = 60
_MOST_LEDGER: Final = 2000
_FILES: Final = (("NOW.md", 2), ("SOUL.md", 2), ("USER.md", 1), ("TOOLS.md", 1), ("MEMORY.md", 4))
_TASK_WEIGHT, _LEDGER_WEIGHT, _TODAY_WEIGHT, _YESTERDAY_WEIGHT = 4, 2, 3, 1


@record
class DueText:
    """A task to do now: the key of its slot, its title and its text in HEARTBEAT.md."""

    key: str
    title: str
    text: str


@record
class ContextRequest:
    """What to put together. `root` is the workspace, `entries` what `ledger_entries` gives, `zone` the agent's
    time zone (IANA). Without a `nonce` nobody waits for a report. `preset_note` is what the runner tells the agent
    besides. `scan` finds secrets in bytes; None: nothing is left out."""

    root: Path
    tasks: tuple[DueText, ...]
    entries: Sequence[Entry]
    now_ns: int
    zone: str
    nonce: str = ""
    budget_tokens: int = BUDGET_TOKENS
    preset_note: str = ""
    scan: Scan | None = field(default=None, repr=False)


@record
class Cut:
    """A part of which not all is in the context: a file's path, `ledger`, or the key of a task."""

    path: str
    size_bytes: int
    kept_bytes: int


@record
class Hidden:
    """A secret that was left out: where it stands, and the rule by which it was found."""

    path: str
    rule: str


@record
class WakeContext:
    """The context, what was cut, what was left out because it is secret, which parts could not be read, and how
    many tokens it is by `estimate_tokens`."""

    text: str
    cuts: tuple[Cut, ...]
    hidden: tuple[Hidden, ...]
    unread: tuple[str, ...]
    tokens: int


@mutable_record
class _Part:
    """`data` is what was read of `size` bytes: the beginning, or the end (`tail`)."""

    name: str
    data: bytes
    size: int
    weight: int
    tail: bool = False
    unread: str = ""


def estimate_tokens(text: str) -> int:
    """One token for three bytes of UTF-8, rounded up: a third too many for English, about right for Chinese and
    Japanese, so that a budget holds whichever model reads it."""
    return -(-len(text.encode()) // _BYTES_A_TOKEN)


def build_context(request: ContextRequest) -> WakeContext:
    """The context for one wake; the same for the same request and files, never more than its budget.

    Raises `UsageError` for a budget that is not between 1000 and 1,000,000 tokens, or that the rules and the keys
    of the tasks alone would break.
    """
    if not LEAST_TOKENS <= request.budget_tokens <= MOST_TOKENS:
        raise UsageError(f"a context has {LEAST_TOKENS} to {MOST_TOKENS} tokens, not {request.budget_tokens}")
    room = request.budget_tokens * _BYTES_A_TOKEN
    hidden: list[Hidden] = []
    parts = [_clean(part, request.scan, hidden) for part in _parts(request, room)]
    fence = hashlib.sha256(f"{request.nonce} {request.now_ns}".encode()).hexdigest()[:12]
    head = contract(request.now_ns, request.zone, request.nonce, [task.key for task in request.tasks], fence)
    head += f"{_plain(request.preset_note)}\n" if request.preset_note else ""
    frames = [_frame(part, fence) for part in parts]
    left = room - len(head.encode()) - sum(len(frame) for frame in frames)
    if left < 0:
        raise UsageError(
            f"{len(request.tasks)} tasks do not fit into a context of {request.budget_tokens} tokens",
            hint="give a larger budget",
        )
    text, cuts = [head], []
    shares = share_out([len(part.data) for part in parts], [part.weight for part in parts], left)
    for part, share in zip(parts, shares, strict=True):
        body = _fitting(part, share)
        if len(body) < part.size:
            cuts.append(Cut(part.name, part.size, len(body)))
        text.append(_shown(part, body, fence))
    whole = "".join(text)
    unread = tuple(part.name for part in parts if part.unread)
    return WakeContext(whole, tuple(cuts), tuple(hidden), unread, estimate_tokens(whole))


def ledger_entries(journal: Journal, now_ns: int, zone: str) -> list[Entry]:
    """What the context says of the journal: the last record of every key that is open, then what was settled on
    the agent's day, in their order."""
    found = [entry for key in sorted(journal.open) if (entry := journal.last(key)) is not None]
    day = human_time(now_ns, zone).day
    since = utc_text(now_ns - 26 * 3_600_000_000_000)  # no day is longer, and most records are older
    for entry in journal.entries():
        if entry.state == "DONE" and entry.at >= since and human_time(_instant(entry.at), zone).day == day:
            found.append(entry)
    return found


def share_out(needs: Sequence[int], weights: Sequence[int], total: int) -> list[int]:
    """Share `total` among parts by weight; none gets more than it needs, and what one leaves the others get."""
    got, waiting, left = [0] * len(needs), list(range(len(needs))), total
    while waiting:
        weight = sum(weights[at] for at in waiting)
        served = [at for at in waiting if needs[at] * weight <= left * weights[at]]
        for at in served or waiting:
            got[at] = needs[at] if served else left * weights[at] // weight
        if not served:
            break
        left -= sum(needs[at] for at in served)
        waiting = [at for at in waiting if at not in served]
    return got


def _parts(request: ContextRequest, room: int) -> Iterator[_Part]:
    limit = room + _OVERLAP_BYTES
    for task in request.tasks:
        data = f"{_plain(task.title)}\n\n{task.text.strip()}".encode("utf-8", "replace")
        yield _Part(task.key, data, len(data), _TASK_WEIGHT)
    lines = [_ledger_line(entry, request.zone) for entry in request.entries[:_MOST_LEDGER]]
    ledger = "\n".join(lines or ["nothing today"]).encode("utf-8", "replace")
    yield _Part("ledger", ledger, len(ledger), _LEDGER_WEIGHT)
    layout = Layout(request.root)
    for name, weight in _FILES:
        yield from _read(layout.root / name, name, weight, limit, tail=False)
    today = human_time(request.now_ns, request.zone).day
    yesterday = (date.fromisoformat(today) - timedelta(days=1)).isoformat()
    for day, weight in ((today, _TODAY_WEIGHT), (yesterday, _YESTERDAY_WEIGHT)):
        path = layout.daily_log(day)
        yield from _read(path, path.relative_to(layout.root).as_posix(), weight, limit, tail=True)


def _read(path: Path, name: str, weight: int, limit: int, *, tail: bool) -> Iterator[_Part]:
    """The beginning or the end of a regular file, at most `limit` bytes. One that is not there is no part."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                yield _Part(name, b"", 0, weight, unread="not a regular file")
                return
            size = status.st_size
            data = os.pread(fd, limit, max(0, size - limit) if tail else 0)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield _Part(name, b"", 0, weight, unread=(error.strerror or "no reason given").lower())
        return
    yield _Part(name, data, size, weight, tail)


def _clean(part: _Part, scan: Scan | None, hidden: list[Hidden]) -> _Part:
    """The part as UTF-8, without secrets. What is left out is told of in `hidden`."""
    whole = len(part.data) == part.size
    data = part.data.decode("utf-8", "replace").lstrip("\ufeff").strip("\n").encode()
    found = scan(data) if scan is not None else ()
    if not whole:
        data, found = _without_border(data, found, tail=part.tail)
    while found:
        hidden += [Hidden(part.name, each.rule) for each in found]
        before, data = data, _without(data, found)
        found = scan(data) if scan is not None and data != before else ()
    part.data = data
    part.size = len(data) if whole else part.size
    return part


def without_secrets(text: str, scan: Scan) -> str:
    """`text` with each secret that `scan` finds replaced by a mark."""
    part = _Part("", text.encode("utf-8", "replace"), 0, 1)
    part.size = len(part.data)
    return _clean(part, scan, []).data.decode()


def _without_border(data: bytes, found: Sequence[Finding], *, tail: bool) -> tuple[bytes, Sequence[Finding]]:
    """Drop the end that was read only to see whole what reaches over it: there a secret may be cut in two."""
    if tail:
        border = max([_OVERLAP_BYTES, *(each.end for each in found if each.start < _OVERLAP_BYTES)])
        rest = [replace(each, start=each.start - border, end=each.end - border) for each in found]
        return data[border:], [each for each in rest if each.start >= 0]
    border = max(len(data) - _OVERLAP_BYTES, 0)
    border = min([border, *(each.start for each in found if each.end > border)])
    return data[:border], [each for each in found if each.end <= border]


def _without(data: bytes, found: Sequence[Finding]) -> bytes:
    kept, place = [], 0
    for each in found:
        if each.end > place:
            kept += [data[place : max(place, each.start)], MARK[: each.end - max(place, each.start)]]
            place = each.end
    return b"".join([*kept, data[place:]])


def _fitting(part: _Part, share: int) -> bytes:
    """As much of the part as fits into `share` bytes, whole lines where there are some."""
    if len(part.data) <= share:
        return part.data
    if share < _LEAST_SHOWN_BYTES:
        return b""
    if part.tail:
        kept = part.data[len(part.data) - share :]
        kept = kept[kept.find(b"\n") + 1 :] if b"\n" in kept[:-1] else kept
    else:
        kept = part.data[:share]
        kept = kept[: kept.rfind(b"\n")] if b"\n" in kept[1:] else kept
    return kept.decode("utf-8", "ignore").encode()


def _frame(part: _Part, fence: str) -> bytes:
    """All that may stand around a part, at its longest."""
    return _shown(part, b"", fence).encode() + b"0" * 24


def _shown(part: _Part, body: bytes, fence: str) -> str:
    lines = [f"--- {fence} {_plain(part.name)}"]
    if part.unread:
        lines.append(f"[{_plain(part.name)} cannot be read: {part.unread}]")
    cut = f"[cut: {_plain(part.name)} has {part.size} bytes, {len(body)} of them are shown]"
    if part.tail and len(body) < part.size:
        lines.append(cut)
    if body:
        lines.append(body.decode())
    if not part.tail and len(body) < part.size:
        lines.append(cut)
    return "\n".join(lines) + "\n\n"


def _ledger_line(entry: Entry, zone: str) -> str:
    clock = human_time(_instant(entry.at), zone)
    said = entry.text("note") or entry.text("why")
    run = f" (runs/{os.path.basename(entry.text('run'))})" if entry.text("run") and entry.state == "DONE" else ""
    who = "a person says: " if entry.text("how") == "person" and entry.text("note") else ""
    tail = f": {who}{said}" if said else ""
    return _plain(f"{entry.state} {entry.key} {clock.day} {clock.clock[:5]}{run}{tail}")


def _instant(at: str) -> int:
    try:
        return parse_utc(at)
    except ValueError:
        return 0


def _plain(text: str) -> str:
    """One line."""
    return legible(" ".join(text.split()))


__all__ = [
    "BUDGET_TOKENS",
    "ContextRequest",
    "Cut",
    "DueText",
    "Hidden",
    "WakeContext",
    "build_context",
    "estimate_tokens",
    "ledger_entries",
    "without_secrets",
]
