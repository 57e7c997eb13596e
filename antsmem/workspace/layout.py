"""Where things are in a workspace, and how a workspace is found from somewhere below it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from antsmem.core.disk import disk_error
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record

HOME: Final = ".antsmem"
"""The directory of antsmem's own files in a workspace."""

SETTINGS: Final = "agent.yaml"


@record
class Layout:
    """The paths of the workspace at `root`. Nothing is looked up: a path may not exist yet."""

    root: Path

    @property
    def home(self) -> Path:
        """`.antsmem`: everything below is antsmem's own."""
        return self.root / HOME

    @property
    def settings(self) -> Path:
        """`agent.yaml`: travels with the agent, not trusted."""
        return self.home / SETTINGS

    @property
    def identity_log(self) -> Path:
        """The public identity log."""
        return self.home / "identity" / "did.jsonl"

    @property
    def keystore(self) -> Path:
        """The directory of sealed keys and secrets: never in a backup."""
        return self.home / "keystore"

    @property
    def journal(self) -> Path:
        """The directory of what the heartbeat started and did."""
        return self.home / "heartbeat" / "journal"

    @property
    def events(self) -> Path:
        """The directory of this device's signed event log."""
        return self.home / "events"

    @property
    def cache(self) -> Path:
        """Derived, safe to delete."""
        return self.home / "cache"

    @property
    def replaced(self) -> Path:
        """What a restore in place took away, until the next prune."""
        return self.home / "replaced"

    @property
    def restoring(self) -> Path:
        """Where an in-place restore is staged; it is there only while one is under way or was cut off."""
        return self.home / "restoring"

    @property
    def memory(self) -> Path:
        """The directory of the daily logs."""
        return self.root / "memory"

    def daily_log(self, day: str) -> Path:
        """The log of `day` (`YYYY-MM-DD`)."""
        return self.memory / f"{day}.md"


def find_workspace(start: Path) -> Path:
    """The nearest directory at or above `start` that holds `.antsmem/agent.yaml`, as an absolute path.

    Raises `NotFoundError` if there is none, or if that file of it is lost. A workspace found *above* `start` must
    belong to this user (root may use any): what another user put into a shared parent such as `/tmp` is refused
    with `UsageError`.
    """
    top = os.path.abspath(start)
    place = top
    while True:
        try:
            owner = os.stat(os.path.join(place, HOME, SETTINGS)).st_uid
        except OSError as error:
            if error.errno == errno.EIO:
                raise disk_error("look for a workspace in", place, error) from error
            # not here, or not ours to see: look further up
        else:
            if place != top and os.geteuid() not in {0, owner}:
                raise UsageError(
                    f"the workspace `{place}` belongs to another user: not used",
                    hint=f"name it to use it all the same: `antsmem -C {place}`",
                )
            return Path(place)
        if os.path.lexists(Layout(Path(place)).identity_log):
            raise settings_lost(Path(place))
        above = os.path.dirname(place)
        if above == place:
            raise NotFoundError(
                f"no workspace at or above `{top}`",
                hint="make one with `antsmem init`, or name one with `antsmem -C PATH`",
            )
        place = above


def settings_lost(root: Path) -> NotFoundError:
    """The error for a workspace at `root` without its `agent.yaml`, of which a name is enough."""
    path = Layout(root).settings
    return NotFoundError(
        f"the workspace `{root}` has lost its `{HOME}/{SETTINGS}`",
        hint=f"put it back from a backup, or begin it anew: echo 'name: NAME' > {path}",
    )
