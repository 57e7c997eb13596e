"""A workspace in which wakes happen: with a clock that is set, a HEARTBEAT.md that is written, and an agent.

The agent is a real program that reads its context on standard input and does what the world's `mood` says: it does
the work and says so, forgets to say so, lies, hangs, dies, fails, asks. Its work is a line in `world`.
"""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

from antsmem.core.record import replace
from antsmem.core.wakeconfig import WakeConfig
from antsmem.heartbeat.agents import AgentCommand
from antsmem.heartbeat.journal import Journal, Places
from antsmem.heartbeat.once import Host
from antsmem.heartbeat.plan import Zone
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.turn import Means
from antsmem.heartbeat.wake import WakeRequest, WakeResult, wake
from antsmem.workspace.layout import Layout

FRIDAY = 1_795_188_600  # 2026-11-20T15:30:00Z
MINUTE, HOUR, DAY = 60, 3600, 86400

AGENT = r"""#!/bin/sh
# $1 is the world's folder.
told=$(cat)
nonce=$(printf '%s\n' "$told" | sed -n 's/^ *HEARTBEAT_OK \([0-9a-f]\{32\}\)$/\1/p' | head -n 1)
mood=$(head -n 1 "$1/moods")
sed 1d "$1/moods" > "$1/moods.new" && mv "$1/moods.new" "$1/moods"
work() { echo "$ANTSMEM_KEY" >> "$1/world"; }
case "${mood:-good}" in
    good) work "$1"; echo "Did it."; echo "HEARTBEAT_OK $nonce" ;;
    forgets) work "$1"; echo "I think I did it." ;;
    lies) echo "All done!"; echo "HEARTBEAT_OK 0123456789abcdef0123456789abcdef" ;;
    hangs) work "$1"; exec sleep 600 ;;
    dies) work "$1"; kill -9 $$ ;;
    fails) exit 1 ;;
    later) exit 75 ;;
esac
"""


class WakeWorld:
    """Everything below `root`. `now` is the clock, in seconds."""

    def __init__(self, root: Path, config: WakeConfig | None = None) -> None:
        self.root = root
        self.layout = Layout(root / "agent")
        self.layout.journal.parent.mkdir(parents=True)
        self.places = Places(self.layout.journal.parent, root / "index")
        self.file = root / "agent" / "HEARTBEAT.md"
        self.now = FRIDAY
        self.rng = random.Random(7)
        self.config = config or WakeConfig(allow=(("*",),))
        (root / "world").touch()
        (root / "agent.sh").write_text(AGENT)
        (root / "agent.sh").chmod(0o700)
        self.environment = {"PATH": os.environ["PATH"], "WORLD": str(root / "world")}
        self.agent: AgentCommand | None = AgentCommand(
            "shell", (str(root / "agent.sh"), str(root)), self.environment, timeout_seconds=300
        )
        self.moods()

    def write(self, text: str) -> None:
        """HEARTBEAT.md."""
        self.file.write_text(text)

    def moods(self, *moods: str) -> None:
        """How the agent's next turns go; after that, well."""
        (self.root / "moods").write_text("".join(f"{mood}\n" for mood in moods))

    def request(self, **changes: Any) -> WakeRequest:
        """What a wake now gets."""
        data = self.file.read_bytes() if self.file.exists() else b""
        means = Means(self.layout.root, self.config, self.environment, self.agent)
        host = Host(lambda: self.now * 1_000_000_000, self.rng.random)
        plan = read_plan(data, Zone("UTC", "file"))
        return replace(WakeRequest(Journal(self.places), data, plan, host, means), **changes)

    def wake(self, after: int = 0, **changes: Any) -> WakeResult:
        """A wake, `after` so many seconds."""
        self.now += after
        return wake(self.request(**changes))

    @property
    def journal(self) -> Journal:
        return Journal(self.places)

    @property
    def did(self) -> list[str]:
        """The keys whose work was done, in order."""
        return (self.root / "world").read_text().split()

    def states(self, key: str) -> list[str]:
        """What the journal says of a key."""
        return [entry.state for entry in self.journal.entries(key) if entry.kind == "state"]
