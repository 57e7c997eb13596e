"""Goal: lists of objects may be longer than an object. Method: put one where a draft is nearly full."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3

from antsmem.backup.pack import OBJECT_BYTES, PACK_BYTES, open_pack
from antsmem.backup.packer import Kind, Packer
from antsmem.core.age import X25519Identity
from antsmem.drivers.file import FileStore


def test_a_list_longer_than_an_object_finds_room_behind_a_nearly_full_draft(tmp_path: Path) -> None:
    (tmp_path / "packs").mkdir()
    store, identity = FileStore.open(str(tmp_path), {}), X25519Identity.generate()
    pieces = [bytes([number]) * (OBJECT_BYTES - 1024) for number in range(PACK_BYTES // OBJECT_BYTES)]
    pieces += [b"o/" + bytes(OBJECT_BYTES + 200_000)]
    with Packer(store, [identity.recipient]) as packer:
        for piece in pieces:
            packer.put(Kind.META, blake3(piece).digest(), piece)
        written = packer.finish()
    found = {}
    for pack in written:
        sealed = store.get(f"packs/{pack.name}.age")
        found.update({digest: bytes(data) for digest, data in open_pack(sealed, [identity], pack.name)})
    assert found == {blake3(piece).digest(): piece for piece in pieces}
