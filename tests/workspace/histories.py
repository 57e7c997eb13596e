"""A workspace with its history, made for a test, and what is done with both."""

from __future__ import annotations

import os
import time
from pathlib import Path

from antsmem.identity.scanner import KEY_BYTES, Scanner
from antsmem.workspace.classes import Classifier
from antsmem.workspace.gitstore import GitStore
from antsmem.workspace.history import Recorded, Tree, record_history
from antsmem.workspace.versions import versions_of


def tree_at(place: Path) -> Tree:
    scanner = Scanner(fingerprint_key=bytes(KEY_BYTES))
    store = GitStore(place / "history.git", os.environ["PATH"])
    return Tree(place / "agent", store, Classifier({}), lambda: scanner)


def put(tree: Tree, name: str | bytes, data: bytes, mode: int = 0o644) -> Path:
    path = tree.root / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def note(tree: Tree, reason: str = "test") -> Recorded:
    return record_history(tree, reason, time.time_ns())


def held(tree: Tree, name: bytes) -> list[bytes]:
    """The bytes of all versions of a file, newest first."""
    return [tree.store.blob(each.blob) if each.blob else b"" for each in versions_of(tree.store, name, 100)]
