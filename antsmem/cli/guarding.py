"""The workspace with its history, for commands that guard it and for those that only look on the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from antsmem.cli.context import Context
from antsmem.core import clock
from antsmem.core.errors import AntsmemError, CannotUnlockError, NotFoundError, RetiredError, UsageError

if TYPE_CHECKING:
    from antsmem.identity.fingerprints import Fingerprints
    from antsmem.identity.scanner import Scanner
    from antsmem.identity.waivers import Waivers
    from antsmem.workspace.alarms import Alarm
    from antsmem.workspace.gitstore import GitStore
    from antsmem.workspace.history import Tree


_CLOSED = (CannotUnlockError, NotFoundError, RetiredError)
"""Why a keystore tells nothing."""


def store_of(ctx: Context) -> GitStore:
    """Where the history of the agent's workspace is on this host."""
    from antsmem.workspace.gitstore import GitStore

    return GitStore(_folder(ctx), ctx.environment.get("PATH", os.defpath))


def _folder(ctx: Context) -> Path:
    return ctx.data_dir / ctx.log.scid / "history.git"


def tree_of(ctx: Context) -> Tree:
    """The workspace with its history. Keys are asked for when there is something to read; where the keystore is
    locked, or the host has retired, a file is looked at for what anybody's secrets look like."""
    from antsmem.workspace.classes import Classifier
    from antsmem.workspace.history import Tree

    return Tree(
        root=ctx.layout.root,
        store=store_of(ctx),
        classifier=Classifier(ctx.settings.classes),
        scanner=_fresh(ctx),
        waivers=cache(lambda: _waivers(ctx)),
    )


def _fresh(ctx: Context) -> Callable[[], Scanner]:
    """Gives the scanner; another one when the keystore was changed, for a command that runs on."""
    made: dict[tuple[int, ...], Scanner] = {}

    def scanner() -> Scanner:
        try:
            status = os.stat(ctx.identity_files.keystore)
            when = (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError:
            when = (0, 0, 0)
        if when not in made:
            if made:
                ctx.forget_identity()
            made.clear()
            made[when] = _scanner(ctx)
        return made[when]

    return scanner


def _waivers(ctx: Context) -> Waivers:
    from antsmem.identity.waivers import NONE

    try:
        return ctx.waivers()
    except _CLOSED:
        kept = _fingerprints(ctx)
        return kept.waivers if kept else NONE


def _scanner(ctx: Context) -> Scanner:
    from antsmem.identity.scanner import KEY_BYTES, Scanner

    try:
        return ctx.scanner()
    except _CLOSED:
        kept = _fingerprints(ctx)
        return Scanner(fingerprint_key=kept.key if kept else os.urandom(KEY_BYTES), prints=kept)


def _fingerprints(ctx: Context) -> Fingerprints | None:
    """What `scan --remember` kept for when the keystore is locked."""
    from antsmem.identity.fingerprints import read_fingerprints

    try:
        return read_fingerprints(ctx.agent_state / "fingerprints.json", ctx.now_ns)
    except NotFoundError:
        return None


def look(ctx: Context, reason: str) -> None:
    """Look over the memory on the way, where a history is kept, and warn of losses. Nothing of it stops the
    command that looks."""
    try:
        kept = (_folder(ctx) / "HEAD").exists()
    except NotFoundError:  # no identity here
        return
    if not kept:
        return
    from antsmem.workspace.alarms import guard_workspace

    try:
        found = guard_workspace(tree_of(ctx), ctx.agent_state, reason, clock.now_ns(), memory_only=True)
    except AntsmemError as error:
        ctx.output.warn(f"the memory was not guarded: {error}")
        return
    for alarm in found.raised:
        ctx.output.warn(alarm_text(alarm))


def alarm_text(alarm: Alarm) -> str:
    """An alarm with the commands that answer it, on one line."""
    from antsmem.backup.manifest import word

    typed = word(alarm.path)
    back = f"`antsmem undo {typed}` brings it back, " if alarm.blob else ""
    return f"`{shown(alarm.path)}` {alarm.damage.told}; {back}`antsmem guard accept {typed}` keeps it"


def shown(path: bytes) -> str:
    """A path for people."""
    from antsmem.backup.manifest import shown as escaped

    return escaped(path)


def inside(ctx: Context, text: str) -> bytes:
    """The path that a person means, relative to the workspace: from its top, from where they are, or whole."""
    top = os.path.realpath(ctx.layout.root)
    found = []
    for start in (top, os.getcwd()):
        whole = os.path.normpath(os.path.join(start, text))
        place = os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
        if place.startswith(top + os.sep):
            found.append(place)
    chosen = next((place for place in found if os.path.lexists(place)), found[0] if found else None)
    if chosen is None:
        raise UsageError(f"`{text}` is no file of the workspace `{ctx.layout.root}`")
    return os.fsencode(chosen[len(top) + 1 :])
