"""Do one piece of work and tell the daily log of it, for a fault test: all is imported before the marker call.

    python daily_launcher.py NOW_NS [--advance THREAD:CALL:COUNT] [--break NAME] ROOT

`turn` is what is under test: begin with what is owed, do the work, tell what came of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from launcher import MARKER, prepare

from antsmem.heartbeat import daily
from antsmem.heartbeat.choice import state_body
from antsmem.heartbeat.daily import tell_daily
from antsmem.heartbeat.journal import Journal, Places
from antsmem.heartbeat.once import Effect, Host, once
from antsmem.workspace.dailylog import append_line
from antsmem.workspace.layout import Layout

MODULES = ("hashlib", "json", "selectors", "subprocess", "unicodedata", "_posixsubprocess", "datetime")
KEY = "work@2026-11-20T15:00:00Z"


def told_first(layout: Layout, journal: Journal, now_ns: int, _zone: str) -> None:
    """A teller that keeps its books before it writes."""
    for entry in journal.untold():
        with journal.deciding(now_ns):
            journal.append(now_ns, {"kind": "told", "key": entry.key, "told": entry.number})
        append_line(layout, "2026-11-20", daily.SECTION, daily.daily_line(entry), daily.mark_of(entry))


def not_looked_for(layout: Layout, journal: Journal, now_ns: int, _zone: str) -> None:
    """A teller that writes without looking."""
    for entry in journal.untold():
        with open(layout.daily_log("2026-11-20"), "a") as log:
            log.write(f"- {daily.daily_line(entry)} <!-- {daily.mark_of(entry)} -->\n")
        with journal.deciding(now_ns):
            journal.append(now_ns, {"kind": "told", "key": entry.key, "told": entry.number})


TELLERS: dict[str, Callable[[Layout, Journal, int, str], object]] = {
    "": tell_daily,
    "told-first": told_first,
    "not-looked-for": not_looked_for,
}


def turn(root: Path, now_ns: int, teller: str = "") -> str:
    """One wake, as far as the daily log is concerned; the state of the work."""
    layout, tell = Layout(root), TELLERS[teller]
    home = layout.home / "heartbeat"
    journal = Journal(Places(home, home / "index"))
    tell(layout, journal, now_ns, "UTC")
    slot = KEY.partition("@")[2]
    with journal.deciding(now_ns):
        if journal.last(KEY) is None:
            journal.append(now_ns, state_body(KEY, "PLANNED", "work", slot))
    environment = {"PATH": os.environ["PATH"], "WORLD": str(root / "world")}
    act, ask = 'echo "$ANTSMEM_KEY" >> "$WORLD"', 'grep -qxF "$ANTSMEM_KEY" "$WORLD"'
    effect = Effect(KEY, ("sh", "-c", act), "verify", ("sh", "-c", ask), 60.0, "work", slot, environment)
    state = once(journal, effect, Host(lambda: now_ns, lambda: 0.5)).state
    tell(layout, journal, now_ns, "UTC")
    return state


def start(words: list[str]) -> None:
    now_ns = int(words.pop(0))
    prepare(words, MODULES)
    teller = ""
    if words[0] == "--break":
        teller = words[1]
        del words[:2]
    with suppress(OSError):
        os.rmdir(MARKER)
    turn(Path(words[0]), now_ns, teller)


if __name__ == "__main__":
    start(sys.argv[1:])
