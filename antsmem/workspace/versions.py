"""Verbs: list the versions that the history holds, compare them, and bring one back, exactly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from antsmem.core.clock import file_stamp
from antsmem.core.disk import disk_error, make_private_dir, write_file
from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.workspace.gitstore import REF, GitStore
from antsmem.workspace.history import FILES, MODES, Tree, load_known, mode_in, record_history, why_unsettled
from antsmem.workspace.layout import Layout

_LONGEST_DIFF: Final = 4 << 20


@record
class _Commit:
    """A commit of the history."""

    revision: str
    time_ns: int
    reason: str


@record
class Version:
    """A path as a revision left it. `blob` is empty where it was deleted; `time_ns` to the second."""

    revision: str
    time_ns: int
    reason: str
    path: bytes
    blob: str
    mode: int
    size_bytes: int


@record
class Revision:
    """A commit of the history and the paths that it changed."""

    revision: str
    time_ns: int
    reason: str
    paths: tuple[bytes, ...]


@record
class Undone:
    """What `undo` did: `path` is as `version` says; what stood there is `replaced`, a revision of the history, or
    a file beside the workspace's own (a secret stands in it), or nothing."""

    path: bytes
    version: Version
    replaced: str


def versions_of(store: GitStore, path: bytes, limit: int) -> list[Version]:
    """The last `limit` versions of the file `path`, newest first."""
    _require(store)
    return [_version(store, commit, path) for commit in _log(store, REF, limit, path)]


def revisions(store: GitStore, limit: int) -> list[Revision]:
    """The last `limit` commits, newest first."""
    _require(store)
    found = []
    for commit in _log(store, REF, limit):
        listed = store.said("diff-tree", "--root", "--no-commit-id", "--name-only", "-r", "-z", commit.revision)
        names = (name[len(FILES) :] for name in listed.split(b"\0") if name.startswith(FILES))
        found.append(Revision(commit.revision, commit.time_ns, commit.reason, tuple(names)))
    return found


def version_at(store: GitStore, path: bytes, wanted: str) -> Version:
    """The file `path` as the revision `wanted` (an id or a part of one, `HEAD~2`, …) has it. `NotFoundError` where
    there is no such revision, or no such file in it."""
    version = _version(store, next(iter(_log(store, _commit(store, wanted), 1))), path)
    if not version.blob:
        shown = os.fsdecode(path)
        raise NotFoundError(f"`{shown}` is not in revision `{wanted}`", hint=f"see `antsmem history {shown}`")
    return version


def difference(tree: Tree, path: bytes | None, since: str, now_ns: int) -> bytes:
    """The unified diff from the revision `since` (empty: the one before the newest, of `path` if given) to what is
    there now, which is recorded first. `NotFoundError` as in `version_at`."""
    store = tree.store
    record_history(tree, "diff", now_ns)
    _require(store)
    if since:
        base = _commit(store, since)
    else:
        newest = _log(store, REF, 1, path)
        if not newest:
            shown = os.fsdecode(path or b"")
            raise NotFoundError(f"the history has no `{shown}`", hint="see `antsmem history`")
        code, before, _ = store.run(["rev-parse", "--verify", "--quiet", f"{newest[0].revision}^"])
        if code:
            return b""
        base = before.decode().strip()
    where = FILES + path if path is not None else FILES
    answer = store.said(
        "diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--src-prefix=before/",
        "--dst-prefix=now/", f"--relative={FILES.decode()}", base, REF, "--", os.fsdecode(where),
    )  # fmt: skip
    return answer[:_LONGEST_DIFF]


def undo(tree: Tree, path: bytes, wanted: str, now_ns: int, standing: str = "") -> Undone:
    """Bring the file `path` back as the revision `wanted` has it, bytes and mode. Without one: as the blob
    `standing` says, else as it was before the version that is there now. What stands there is committed first.

    `NotFoundError` where the history has no such version, `UsageError` where something else than a file is there
    or a link leads out of the workspace, and what `record_history` raises.
    """
    store, shown = tree.store, os.fsdecode(path)
    recorded = record_history(tree, f"before undo {_printable(path)}", now_ns, [path])
    if path in recorded.unsettled:
        why = why_unsettled(tree.root, path)
        hint = "look at its owner and mode" if why.startswith("cannot") else "try again"
        raise UsageError(f"`{shown}` {why}: nothing undone", hint=hint)
    version = version_at(store, path, wanted) if wanted else _former(store, path, standing)
    data = store.blob(version.blob)
    target = _place(tree.root, path)
    kept = recorded.files.get(path)
    replaced = (recorded.revision or store.head()) if kept is not None and kept.blob else ""
    if not replaced and os.path.lexists(target):  # what holds a secret, a link, a pipe
        replaced = _put_aside(tree.root, path, target, now_ns)
    write_file(target, [data])
    os.chmod(target, version.mode)
    record_history(tree, f"undo {_printable(path)}", now_ns, [path])
    return Undone(path, version, replaced)


def _former(store: GitStore, path: bytes, standing: str) -> Version:
    kept = load_known(store).get(path)
    found = versions_of(store, path, 1000)
    for newer, version in zip(["HEAD", *(f"{each.revision}^" for each in found)], found, strict=False):
        if version.blob and (version.blob == standing if standing else kept is None or version.blob != kept.blob):
            try:
                return version_at(store, path, newer)  # the mode may have changed since, and the bytes not
            except NotFoundError:
                return version  # the history begins there
    shown = os.fsdecode(path)
    what = "has no other version of" if found else "has never seen"
    raise NotFoundError(
        f"the history {what} `{shown}`", hint="see `antsmem history`; `antsmem find` looks in backups"
    )


def _place(root: Path, path: bytes) -> Path:
    """Where `path` is, inside of the workspace and no directory; missing directories are made."""
    target = root / os.fsdecode(path)
    top = os.path.realpath(root)
    parent = os.path.realpath(target.parent)
    if parent != top and not parent.startswith(top + os.sep):
        raise UsageError(f"a link on the way to `{os.fsdecode(path)}` leads out of the workspace: nothing undone")
    if target.is_dir() and not target.is_symlink():
        raise UsageError(f"`{os.fsdecode(path)}` is a directory: nothing undone", hint="move it away")
    make_private_dir(target.parent)
    return target


def _put_aside(root: Path, path: bytes, target: Path, now_ns: int) -> str:
    """Keep what the history may not hold where a restore keeps what it replaces; where that is."""
    place = Layout(root).replaced / file_stamp(now_ns) / os.fsdecode(path)
    make_private_dir(place.parent)
    try:
        os.link(target, place, follow_symlinks=False)
    except OSError as error:
        raise disk_error("keep", target, error) from error
    return os.fspath(place)


def _version(store: GitStore, commit: _Commit, path: bytes) -> Version:
    name = commit.revision
    row = store.said("ls-tree", "-l", "-z", "--full-tree", name, "--", os.fsdecode(FILES + path))
    words = row.partition(b"\t")[0].split()
    if len(words) != 4 or words[1] != b"blob":
        return Version(name, commit.time_ns, commit.reason, path, "", 0, 0)
    code, modes, _ = store.run(["cat-file", "blob", f"{name}:{MODES}"])
    mode = mode_in(b"" if code else modes, path)
    return Version(name, commit.time_ns, commit.reason, path, words[2].decode(), mode, int(words[3]))


def _log(store: GitStore, start: str, limit: int, path: bytes | None = None) -> list[_Commit]:
    """The last `limit` commits from `start` back, newest first; of those that changed `path`, if given."""
    only = ["--", os.fsdecode(FILES + path)] if path is not None else []
    rows = store.said(
        "log", "-z", "--no-show-signature", "--format=%H %ct %s", f"--max-count={limit}", start, *only
    )
    found = []
    for row in rows.split(b"\0"):
        if row:
            name, moment, reason = [*row.split(b" ", 2), b""][:3]
            found.append(_Commit(name.decode(), int(moment) * 10**9, reason.decode("utf-8", "replace").strip()))
    return found


def _commit(store: GitStore, wanted: str) -> str:
    """The id of the commit that a person means by `wanted`."""
    _require(store)
    code, name, _ = store.run(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}"])
    if code or not wanted or wanted.startswith("-"):
        raise NotFoundError(f"the history has no revision `{wanted}`", hint="see `antsmem history`")
    return name.decode().split()[-1]


def _require(store: GitStore) -> None:
    if not store.exists() or not store.head():
        raise NotFoundError(
            "there is no history yet", hint="`antsmem watch` keeps one; `antsmem guard` records now"
        )


def _printable(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")[:200]
