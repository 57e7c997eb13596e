"""Verbs: list the versions that the history holds, compare them, and bring one back, exactly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from antsmem.core.clock import file_stamp
from antsmem.core.disk import disk_error, make_private_dir, write_file
from antsmem.core.errors import DriverMissingError, NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.workspace.gitstore import REF, GitStore
from antsmem.workspace.history import FILES, MODES, Tree, load_known, mode_in, record_history
from antsmem.workspace.layout import Layout

if TYPE_CHECKING:
    from git import Commit, Repo

_LONGEST_DIFF: Final = 4 << 20


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
    found = []
    with _reading(store) as repo:
        for commit in repo.iter_commits(REF, paths=[os.fsdecode(FILES + path)], max_count=limit):
            found.append(_version(store, commit, path))
    return found


def revisions(store: GitStore, limit: int) -> list[Revision]:
    """The last `limit` commits, newest first."""
    found = []
    with _reading(store) as repo:
        for commit in repo.iter_commits(REF, max_count=limit):
            listed = repo.git.execute(
                ["git", "diff-tree", "--root", "--no-commit-id", "--name-only", "-r", "-z", commit.hexsha],
                stdout_as_string=False, strip_newline_in_stdout=False,
            )  # fmt: skip
            names = [name[len(FILES) :] for name in listed.split(b"\0") if name.startswith(FILES)]
            found.append(Revision(commit.hexsha, commit.committed_date * 10**9, _reason(commit), tuple(names)))
    return found


def version_at(store: GitStore, path: bytes, wanted: str) -> Version:
    """The file `path` as the revision `wanted` (an id or a part of one, `HEAD~2`, …) has it. `NotFoundError` where
    there is no such revision, or no such file in it."""
    with _reading(store, f"the history has no revision `{wanted}`") as repo:
        if not wanted or wanted.startswith("-"):
            raise NotFoundError(f"`{wanted}` is no revision", hint="see `antsmem history`")
        version = _version(store, repo.commit(wanted), path)
    if not version.blob:
        shown = os.fsdecode(path)
        raise NotFoundError(f"`{shown}` is not in revision `{wanted}`", hint=f"see `antsmem history {shown}`")
    return version


def difference(tree: Tree, path: bytes | None, since: str, now_ns: int) -> bytes:
    """The unified diff from the revision `since` (empty: the one before the newest, of `path` if given) to what is
    there now, which is recorded first. `NotFoundError` as in `version_at`."""
    store = tree.store
    record_history(tree, "diff", now_ns)
    with _reading(store, f"the history has no revision `{since}`") as repo:
        if since.startswith("-"):
            raise NotFoundError(f"`{since}` is no revision", hint="see `antsmem history`")
        base = repo.commit(since).hexsha if since else ""
        if not base:
            chosen = os.fsdecode(FILES + path) if path is not None else ""
            newest = next(repo.iter_commits(REF, max_count=1, paths=chosen), None)
            if newest is None:
                shown = os.fsdecode(path or b"")
                raise NotFoundError(f"the history has no `{shown}`", hint="see `antsmem history`")
            if not newest.parents:
                return b""
            base = newest.parents[0].hexsha
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
        raise UsageError(f"`{shown}` is being written or cannot be read: nothing undone", hint="try again")
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
    for version in found:
        if version.blob and (version.blob == standing if standing else kept is None or version.blob != kept.blob):
            return version
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


def _version(store: GitStore, commit: Commit, path: bytes) -> Version:
    """By git itself: GitPython takes no path for one that might be another name of `.git` somewhere."""
    moment, name = commit.committed_date * 10**9, commit.hexsha
    row = store.said("ls-tree", "-l", "-z", "--full-tree", name, "--", os.fsdecode(FILES + path))
    words = row.partition(b"\t")[0].split()
    if len(words) != 4 or words[1] != b"blob":
        return Version(name, moment, _reason(commit), path, "", 0, 0)
    code, modes, _ = store.run(["cat-file", "blob", f"{name}:{MODES}"])
    mode = mode_in(b"" if code else modes, path)
    return Version(name, moment, _reason(commit), path, words[2].decode(), mode, int(words[3]))


def _reason(commit: Commit) -> str:
    text = commit.message if isinstance(commit.message, str) else commit.message.decode("utf-8", "replace")
    return text.strip()


def _printable(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")[:200]


@contextmanager
def _reading(store: GitStore, unknown: str = "") -> Iterator[Repo]:
    """The repository as GitPython reads it; its errors as ours. `unknown`: what a wrong name means."""
    try:
        import git
        from gitdb.exc import BadName, BadObject, ODBError
    except ImportError:  # GitPython looks for the program when it is imported
        raise DriverMissingError("the program `git` is not installed", hint="apt install git") from None
    if not store.exists() or not store.head():
        raise NotFoundError(
            "there is no history yet", hint="`antsmem watch` keeps one; `antsmem guard` records now"
        )
    try:
        repo = git.Repo(store.path, expand_vars=False)
        repo.git.update_environment(**store.environment())
        try:
            yield repo
        finally:
            repo.close()
    except (BadName, BadObject, ValueError, IndexError) as error:
        if unknown and not isinstance(error, UnicodeError):
            raise NotFoundError(unknown, hint="see `antsmem history`") from None
        raise store.damaged() from None
    except (git.GitError, ODBError, OSError, EOFError, AttributeError):
        raise store.damaged() from None
