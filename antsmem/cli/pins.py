"""Pins: what this host last saw of each repository, kept where no repository can reach."""

from __future__ import annotations

from pathlib import Path

from antsmem.backup.repository import Pin
from antsmem.core import canonical
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError

_LIMIT = 4096


def read_pin(path: Path) -> Pin | None:
    """The pin at `path`; None where nothing was seen yet. A damaged one is an `IntegrityError`: it guards."""
    try:
        found = canonical.loads(read_file(path, _LIMIT), _LIMIT)
        return Pin(int(found["sequence"]), str(found["head"]), int(found.get("identity_version", 0)))
    except NotFoundError:
        return None
    except (IntegrityError, AttributeError, KeyError, TypeError, ValueError):
        raise IntegrityError(
            f"`{path}` is damaged", hint=f"compare `antsmem snapshots` with what you expect, then remove `{path}`"
        ) from None


def write_pin(path: Path, pin: Pin) -> None:
    """Replace the pin at `path`."""
    make_private_dir(path.parent)
    content = {"sequence": pin.sequence, "head": pin.head, "identity_version": pin.identity_version or 0}
    write_file(path, [canonical.dumps(content)])
