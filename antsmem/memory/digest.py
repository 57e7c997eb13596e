"""One line for the state of a workspace: equal on two devices exactly when all their synchronised files are."""

from __future__ import annotations

import hashlib

from antsmem.memory.index import Index


def state_digest(index: Index) -> str:
    """SHA-256 (hex) of one line for each file, `<its SHA-256>  <path>` as `sha256sum` writes it, in the order of
    the paths' UTF-8 bytes: what the workspace held when it was last arranged, versions beside files included."""
    known = sorted(index.known().values(), key=lambda item: item.path.encode())
    text = "".join(f"{item.sha256}  {item.path}\n" for item in known)
    return hashlib.sha256(text.encode()).hexdigest()
