"""The work that is interrupted: effects in a world that counts them, and the programs that make them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import write_file
from antsmem.core.errors import BackendError
from antsmem.core.record import record

FOLDER: Final = "antsmem-drill"
"""In the copied workspace: what the test adds to it."""

DONE: Final = "drill-done"
"""Done before the backup."""
HELD: Final = "drill-held"
"""Nobody knows whether it happened: a person is asked."""
HAPPENED: Final = "drill-happened"
"""Its wake is killed behind the effect, before anybody heard of it."""
QUEUED: Final = "drill-queued"
"""What that wake would have done next."""
PENDING: Final = "drill-pending"
"""Called by the agent itself, killed before the effect."""
WANTED: Final[Mapping[str, int]] = {DONE: 1, HELD: 0, HAPPENED: 1, QUEUED: 1, PENDING: 1}
"""Key → how often its effect is to have happened when all is over."""

HEARTBEAT: Final = b"""# Heartbeat

- A post {id=drill-happened once verify="antsmem-drill/has-post drill-happened"}
  run: antsmem-drill/post drill-happened wait-after
- Another post {id=drill-queued once verify="antsmem-drill/has-post drill-queued"}
  run: antsmem-drill/post drill-queued now
"""
CONFIGURATION: Final = """heartbeat:
  allow: ["antsmem-drill/post *", "antsmem-drill/has-post *"]
  witness: "{relay}"
"""
"""What the operator of both machines says: what may run, and who knows which host works."""

HALF_WRITTEN: Final = "memory/antsmem-drill-half-written.md"

# An effect is a line in the world. Where it is to be killed in the middle, it waits there until the world is calm.
_POST: Final = b"""#!/bin/sh
# post KEY now|wait-before|wait-after: an effect in the world of the migration test.
world="$HOME/world"
wait_here() {
  echo $$ >"$world/reached-$1"
  while [ ! -e "$world/calm" ]; do sleep 0.1; [ -d "$world" ] || exit 1; done
}
[ "$2" = wait-before ] && wait_here "$1"
echo "$1" >>"$world/effects"
if [ "$2" = wait-after ]; then printf 'half of a th' >"HALF"; wait_here "$1"; fi
echo "posted $1"
"""
_HAS_POST: Final = b"""#!/bin/sh
# has-post KEY: 0 if the effect happened, 1 if it did not.
grep -qxF "$1" "$HOME/world/effects"
"""


@record
class World:
    """A directory that outlives machines: a line in `effects` for each effect that happened."""

    root: Path

    def make(self) -> None:
        """An empty world."""
        self.root.mkdir(mode=0o700)
        write_file(self.root / "effects", [b""], durable=False)

    def counts(self) -> dict[str, int]:
        """Key → how often its effect happened."""
        found: dict[str, int] = {}
        for line in (self.root / "effects").read_text(errors="replace").splitlines():
            found[line] = found.get(line, 0) + 1
        return found

    def wait_for(self, key: str, seconds: float) -> None:
        """Return when the effect `key` has reached the middle; `BackendError` if it does not in `seconds`."""
        until = time.monotonic() + seconds
        while not (self.root / f"reached-{key}").exists():
            if time.monotonic() > until:
                raise BackendError(f"the effect `{key}` did not start", hint="run it again with -v")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill what waits in the middle of an effect, as a machine that loses its power does."""
        for path in self.root.glob("reached-*"):
            with suppress(ProcessLookupError, PermissionError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)


def write_scripts(agent: Path) -> None:
    """Put the programs of the effects into a workspace: they travel with it."""
    folder = agent / FOLDER
    folder.mkdir(mode=0o755)
    for name, text in (("post", _POST.replace(b"HALF", HALF_WRITTEN.encode())), ("has-post", _HAS_POST)):
        write_file(folder / name, [text], mode=0o755, durable=False)
    os.makedirs(agent / "memory", exist_ok=True)


def once(key: str, how: str) -> list[str]:
    """The words of `antsmem` that see to the effect `key`."""
    script = f"{FOLDER}/post"
    if key == HELD:
        return ["once", key, "--", "sh", "-c", "exit 1"]
    return ["once", key, "--verify", f"{FOLDER}/has-post {key}", "--", script, key, how]
