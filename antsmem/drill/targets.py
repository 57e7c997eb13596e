"""Which machine the agent comes back on: a directory, namespaces, a container, or another computer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from antsmem.core.errors import UsageError
from antsmem.core.record import record
from antsmem.drill.machine import Machine, here, surroundings

KINDS: Final = ("process", "namespace", "container:IMAGE", "ssh:HOST")
_IMAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:%\[\]-]{0,254}")


@record
class Target:
    """`kind`: process, namespace, container or ssh; `where`: the image or the host."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.where}" if self.where else self.kind


def parse_target(text: str) -> Target:
    """The target that `text` means; `UsageError` for anything else. A host or an image never begins with `-`."""
    kind, _, where = text.partition(":")
    wanted = {"process": None, "namespace": None, "container": _IMAGE, "ssh": _HOST}
    if kind in wanted:
        form = wanted[kind]
        if (not where and ":" not in text) if form is None else form.fullmatch(where):
            return Target(kind, where)
    raise UsageError(f"`{text}` is no target", hint=f"there are {', '.join(KINDS)}")


def new_process(root: Path, keep: Path, program: tuple[str, ...]) -> Machine:
    """Another home, user name, temporary directory, time zone and language, and an environment that is otherwise
    empty; the host name, the disk and the network are the same."""
    return here("new", root, program, surroundings(str(root), "successor", "Pacific/Chatham", "C"), keep)


def require_target(target: Target, ssh: Sequence[str]) -> None:
    """Return if machines of this kind can be had here, else `UsageError`, `DriverMissingError` or `BackendError`:
    then nothing was tested, which is not the same as failed."""
    if target.kind == "namespace":
        from antsmem.drill.namespace import require_namespaces

        require_namespaces()
    elif target.kind == "container":
        from antsmem.drill.far import require_engine

        require_engine()
    elif target.kind == "ssh":
        from antsmem.drill.far import require_host

        require_host(ssh, target.where)
