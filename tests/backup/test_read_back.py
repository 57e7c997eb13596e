"""Goal: a store that loses or changes what it was given is found while the original is still there.

Method: stores that lie in ways of their own, behind the wrapper that reads back; and without it, where the lie
must pass for a success: the control.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_backups import Place, write

from antsmem.backup.verified import VerifiedStore
from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.drivers.file import FileStore


@pytest.fixture
def stored(place: Place) -> Place:
    """A repository with one hot and one cold snapshot."""
    write(place.workspace / "SOUL.md", "honest\n")
    place.back_up()
    place.back_up("cold")
    return place


class Lossy(FileStore):
    """Says that it wrote, and lost a byte of each pack and archive; or everything."""

    drops_all = False

    def put(self, name: str, parts: Sequence[Buffer], **how: Any) -> None:
        if name.startswith("packs/") and self.drops_all:
            return
        data = b"".join(parts)
        super().put(name, [data[:-1] if name.startswith("packs/") else data], **how)

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        super().upload(name, iter([b"".join(chunks)[:-1]]))


class Rotten(Lossy):
    """Keeps the size and changes the bytes."""

    def put(self, name: str, parts: Sequence[Buffer], **how: Any) -> None:
        data = b"".join(parts)
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        FileStore.put(self, name, [flipped if name.startswith("packs/") else data], **how)


@pytest.mark.parametrize(("kind", "how"), [(Lossy, "hash"), (Lossy, "read"), (Rotten, "read")])
def test_a_store_that_does_not_keep_what_was_written_is_caught_at_once(
    stored: Place, tmp_path: Path, kind: type[Lossy], how: str
) -> None:
    for tier in ("hot", "cold") if kind is Lossy else ("hot",):
        write(stored.workspace / "SOUL.md", f"changed for {tier}\n")
        before = stored.state()
        with pytest.raises(IntegrityError, match="did not keep"):
            stored.back_up(tier, store=VerifiedStore(kind(str(stored.folder)), how))
        assert stored.state() == before, "nothing was committed"
    vanishing = Lossy(str(stored.folder))
    vanishing.drops_all = True
    with pytest.raises(IntegrityError, match="did not keep"):
        stored.back_up(store=VerifiedStore(vanishing, how))
    lost = stored.back_up(store=kind(str(stored.folder)))  # the control: without reading back it is a success
    assert lost.complete
    with pytest.raises(IntegrityError):
        stored.restore(lost.snapshot, tmp_path / "back")


def test_a_verified_store_is_silent_about_a_store_that_keeps_its_word(place: Place) -> None:
    write(place.workspace / "a.md")
    for how in ("hash", "read"):
        for tier in ("hot", "cold"):
            assert place.back_up(tier, store=VerifiedStore(place.store(), how)).snapshot
    with pytest.raises(UsageError):
        VerifiedStore.open("file:///x", {})
