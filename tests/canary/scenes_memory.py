"""What is run of the shared memory: the workspace has canaries, the embedded backend beside it may show none."""

from __future__ import annotations

from made_homes import Home
from staging import Scene


def _backend(home: Home) -> None:
    home.must("backend", "add", "embedded", str(home.root / "shared"))
    home.must("backend", "init")


def _synced(home: Home) -> None:
    _backend(home)
    home.must("sync")


MEMORY: dict[str, list[Scene]] = {
    "sync push": [Scene(("sync", "push"), prepare=_backend), Scene(("sync",), prepare=_backend), Scene(("sync",))],
    "sync pull": [Scene(("sync", "pull"), prepare=_synced)],
    "sync status": [Scene(("sync", "status"), prepare=_synced)],
    "sync conflicts": [Scene(("sync", "conflicts"), prepare=_synced)],
    "sync resolve": [Scene(("sync", "resolve", "MEMORY.md"), 10, prepare=_synced)],
    "backend add": [Scene(("backend", "add", "embedded", "shared"))],
    "backend list": [Scene(("backend", "list"), prepare=_backend)],
    "backend init": [Scene(("backend", "init"), prepare=_backend)],
    "backend test": [Scene(("backend", "test"), prepare=_backend)],
    "backend status": [Scene(("backend", "status"), prepare=_synced)],
    "backend rebuild": [Scene(("backend", "rebuild"), prepare=_synced)],
    "events tail": [Scene(("events", "tail"), prepare=_synced)],
    "events replay": [
        Scene(
            ("events", "replay", "--until", "0m", "--into", "then"),
            prepare=_synced,
            shows=dict.fromkeys(("memory", "daily log"), ("then/*",)),
        )
    ],
    "events verify": [Scene(("events", "verify"), prepare=_synced)],
    "events redact": [Scene(("events", "redact", "01JD3QZ4X8M6V0C2N9T5B7K1RA"), 10, prepare=_synced)],
}
