"""Change several files of an identity in one step: after a crash all are old or all are new.

What the files shall hold is first written to one file, `change.json` beside the keystore: that is the commit. Then
each is put in its place, and `change.json` goes. Whoever finds it there later finishes. Nothing in it is readable
that is not sealed or public already.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from antsmem.core import canonical
from antsmem.core.age import X25519Identity
from antsmem.core.disk import disk_error, fsync_dir, locked, make_private_dir, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.files import CHANGE, IdentityFiles
from antsmem.identity.keystore import Keystore, successor

_SCHEMA: Final = "antsmem.change/1"
_LIMIT: Final = 64 << 20


def save_change(
    files: IdentityFiles, keystore: Keystore, host: X25519Identity, changed: Mapping[str, bytes | None]
) -> Keystore:
    """Save `keystore` as `save_keystore` does, together with `changed`: name → bytes, None to remove it.

    A name is `log`, `destroyed`, `retired`, or `epochs/`, `guardians/`, `escrow/` with a file's name behind it. If
    the disk fails once the change is committed, `DiskError` is raised all the same and the next `finish_change`
    completes it.
    """
    with _held(files):
        _finish(files)
        saved, data = successor(files.keystore, keystore, host)
        whole = {**changed, "keystore": data}
        for name in whole:
            _place(files, name)
        body = {
            "schema": _SCHEMA,
            "written": [{"name": n, "data": to_base64(part)} for n, part in whole.items() if part is not None],
            "removed": [name for name, part in whole.items() if part is None],
        }
        write_file(_journal(files), [canonical.dumps(body)])
        _finish(files)
    return saved


def is_unfinished(files: IdentityFiles) -> bool:
    """Whether a change was cut off after its commit."""
    return os.path.lexists(_journal(files))


def finish_change(files: IdentityFiles) -> bool:
    """Complete a change that was cut off; whether there was one. `LockedError` while another process is at it."""
    with _held(files):
        return _finish(files)


def _held(files: IdentityFiles) -> AbstractContextManager[int]:
    busy = f"keystore `{files.keystore}` is being saved by another process"
    return locked(files.keystore.with_suffix(".lock"), busy)


def _finish(files: IdentityFiles) -> bool:
    journal = _journal(files)
    try:
        rows = _parse(read_file(journal, _LIMIT))
    except NotFoundError:
        return False
    for name, data in rows.items():
        path = _place(files, name)
        if data is not None:
            make_private_dir(path.parent)
            write_file(path, [data])
            continue
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                fsync_dir(path.parent)
        except OSError as error:
            raise disk_error("remove", path, error) from error
    try:
        journal.unlink()
        fsync_dir(journal.parent)
    except OSError as error:
        raise disk_error("remove", journal, error) from error
    return True


def _parse(data: bytes) -> dict[str, bytes | None]:
    fields = Fields(canonical.loads(data, _LIMIT), f"`{CHANGE}`")
    fields.choice("schema", (_SCHEMA,))
    rows: dict[str, bytes | None] = dict.fromkeys(fields.texts("removed"))
    for item in fields.items("written"):
        row = Fields(item, f"a file in `{CHANGE}`")
        rows[row.text("name")] = row.data("data")
        row.end()
    fields.end()
    return rows


def _journal(files: IdentityFiles) -> Path:
    return files.keystore.with_name(CHANGE)


def _place(files: IdentityFiles, name: str) -> Path:
    """Where the file called `name` lies; `IntegrityError` for anything that is none of an identity's."""
    single = {"log": files.log, "keystore": files.keystore, "destroyed": files.destroyed, "retired": files.retired}
    if name in single:
        return single[name]
    folder, _, file_name = name.partition("/")
    places = {"epochs": files.epochs, "guardians": files.guardians, "escrow": files.escrow}
    place = places.get(folder)
    if place is None or not file_name or "/" in file_name or file_name.startswith("."):
        raise IntegrityError(f"a change of an identity names `{name[:80]}`, which is no file of it")
    return place / file_name
