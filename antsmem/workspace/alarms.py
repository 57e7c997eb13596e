"""Verb: look over the files of memory, record what changed, and raise an alarm where one lost much.

The agent's write is never blocked. What was there stays in the history, and an alarm stays open until the file has
its words back or somebody accepts the change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.disk import locked_within, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError
from antsmem.core.record import field, record, replace
from antsmem.workspace.create import is_template
from antsmem.workspace.guard import Damage, judge, kind_of
from antsmem.workspace.history import Recorded, Tree, record_history, why_unsettled

_FILE: Final = "guard.json"
_LIMIT: Final = 64 << 20
_WAIT_SECONDS: Final = 20.0
_OF_TEXT: Final = frozenset({"head-lost", "shrunk", "rewritten"})
_FOLDERS: Final = (b"memory", b"memories")


@record
class Alarm:
    """A file of memory that lost much at `since_ns`, and how. `blob`: what it was before, in the history (empty:
    it was not there)."""

    path: bytes
    damage: Damage
    since_ns: int
    blob: str


@record
class Guarded:
    """What a look found. `raised` and `settled` are new in it; `alarms` are all that are open. `unguarded`: files
    of memory that the history does not take or that could not be read, and why. `young`: changed a moment ago, to
    be judged later."""

    checked: int
    alarms: tuple[Alarm, ...]
    raised: tuple[Alarm, ...]
    settled: tuple[bytes, ...]
    unguarded: tuple[tuple[bytes, str], ...]
    young: tuple[bytes, ...]
    recorded: Recorded = field(repr=False)


@record
class _Standing:
    """What a path is compared with: the `blob` that was last taken for good, and the alarm since."""

    blob: str
    damage: Damage | None = None
    since_ns: int = 0


def guard_workspace(
    tree: Tree, directory: Path, reason: str, now_ns: int, *, memory_only: bool = False, settle_ns: int = 0
) -> Guarded:
    """Record the workspace (`memory_only`: no more than the files of memory) in the history, and judge what
    changed. `directory` is the agent's local state. A file that changed less than `settle_ns` ago is judged later.

    Where nothing changed, only times are looked at. Raises as `record_history` does.
    """
    with _alone(directory):
        standing = _read(directory)
        only = memory_paths(tree.root) | (standing or {}).keys() if memory_only else None
        recorded = record_history(tree, reason, now_ns, only)
        return _judged(tree, directory, standing, recorded, (now_ns, settle_ns))


def accept(tree: Tree, directory: Path, path: bytes, now_ns: int) -> Alarm:
    """Take what is at `path` now for good, and close its alarm: it is returned. `NotFoundError`: it has none."""
    with _alone(directory):
        standing = _read(directory) or {}
        alarm = next((each for each in _open(standing) if each.path == path), None)
        if alarm is None:
            raise NotFoundError(f"there is no alarm about `{os.fsdecode(path)}`", hint="see `antsmem guard`")
        recorded = record_history(tree, "guard accept", now_ns, [path])
        kept = recorded.files.get(path)
        if kept is None and kind_of(path) != "bootstrap":
            del standing[path]
        else:
            standing[path] = _Standing(kept.blob if kept is not None else "")
        _write(directory, standing)
    return alarm


def read_alarms(directory: Path) -> tuple[Alarm, ...]:
    """The alarms that are open, as of the last look; nothing else is read."""
    return tuple(_open(_read(directory) or {}))


def _judged(
    tree: Tree,
    directory: Path,
    before: Mapping[bytes, _Standing] | None,
    recorded: Recorded,
    clock: tuple[int, int],
) -> Guarded:
    now_ns, settle_ns = clock
    files = {path: kept for path, kept in recorded.files.items() if kind_of(path) is not None}
    standing, young = dict(before or {}), []
    for path in sorted(files.keys() | standing.keys()):
        kept, known = files.get(path), standing.get(path)
        if (kept is not None and kept.why) or path in recorded.unsettled:
            continue
        blob = kept.blob if kept is not None else ""
        new = known is None and (before is None or kind_of(path) != "bootstrap")
        if new or (known is not None and known.blob == blob):
            standing[path] = _Standing(blob)
        elif kept is not None and 0 <= now_ns - kept.signature[1] < settle_ns:
            young.append(path)
        elif known is not None and not blob and _is_elsewhere(known.blob, recorded):
            del standing[path]  # moved
        else:
            damage = _damage(tree, path, known, blob)
            if damage is None:
                standing[path] = _Standing(blob)
            elif known is None or known.damage is None:
                standing[path] = _Standing(known.blob if known else "", damage, now_ns)
            else:
                standing[path] = replace(known, damage=damage)
    if standing != before:
        _write(directory, standing)
    were, alarms = {each.path for each in _open(before or {})}, tuple(_open(standing))
    return Guarded(
        checked=len(files),
        alarms=alarms,
        raised=tuple(each for each in alarms if each.path not in were),
        settled=tuple(sorted(were - {each.path for each in alarms})),
        unguarded=(
            *((path, kept.why) for path, kept in sorted(files.items()) if kept.why),
            *((path, why_unsettled(tree.root, path)) for path in recorded.unsettled if kind_of(path) is not None),
        ),
        young=tuple(young),
        recorded=recorded,
    )


def _is_elsewhere(blob: str, recorded: Recorded) -> bool:
    """Whether another file has these bytes now."""
    return any(kept.blob == blob for kept in recorded.files.values())


def _damage(tree: Tree, path: bytes, known: _Standing | None, blob: str) -> Damage | None:
    kind = kind_of(path)
    assert kind is not None
    before = tree.store.blob(known.blob) if known is not None and known.blob else None
    damage = judge(kind, before, tree.store.blob(blob) if blob else None)
    if damage is not None and damage.loss in _OF_TEXT and is_template(os.fsdecode(path), before or b""):
        return None  # what a new agent begins with is there to be replaced
    return damage


def _open(standing: Mapping[bytes, _Standing]) -> Iterator[Alarm]:
    for path, known in sorted(standing.items()):
        if known.damage is not None:
            yield Alarm(path, known.damage, known.since_ns, known.blob)


def memory_paths(root: Path) -> set[bytes]:
    """The files of the workspace at `root` that the guard looks at, by their names; nothing is opened."""
    found, top = set[bytes](), os.fsencode(root)
    stack = [b"", *_FOLDERS]
    while stack:
        folder = stack.pop()
        with suppress(OSError), os.scandir(top + b"/" + folder if folder else top) as entries:
            for entry in entries:
                path = folder + b"/" + entry.name if folder else entry.name
                if folder and entry.is_dir(follow_symlinks=False):
                    stack.append(path)
                elif kind_of(path) is not None:
                    found.add(path)
    return found


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Be the only one who judges; `LockedError` after 20 s."""
    with locked_within(_WAIT_SECONDS, directory / "guard.lock", "another antsmem looks over the memory"):
        yield


def _read(directory: Path) -> dict[bytes, _Standing] | None:
    """What was last taken for good; None where nothing was looked at yet."""
    place = directory / _FILE
    try:
        rows = canonical.loads(read_file(place, _LIMIT), _LIMIT)["paths"]
        return {bytes.fromhex(path): _standing(row) for path, row in rows.items()}
    except NotFoundError:
        return None
    except (IntegrityError, AttributeError, KeyError, TypeError, ValueError):
        raise IntegrityError(
            f"`{place}` is damaged",
            hint=f"look at `antsmem history`, then remove `{place}`: the guard begins anew",
        ) from None


def _standing(row: Any) -> _Standing:
    damage = Damage(str(row["loss"]), int(row["lost"]) / 1000) if row["loss"] else None  # type: ignore[arg-type]
    return _Standing(str(row["blob"]), damage, int(row["since_ms"]) * 1_000_000)


def _write(directory: Path, standing: Mapping[bytes, _Standing]) -> None:
    rows = {
        path.hex(): {
            "blob": known.blob,
            "loss": known.damage.loss if known.damage else "",
            "lost": round(known.damage.lost * 1000) if known.damage else 0,
            "since_ms": known.since_ns // 1_000_000,
        }
        for path, known in standing.items()
    }
    write_file(directory / _FILE, [canonical.dumps({"paths": rows})])
