"""Snapshots and archives as a hostile host could sign them: any manifest, any objects, any tar members."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3

from antsmem.backup import repository as repo
from antsmem.backup import tarstream
from antsmem.backup.cold import MANIFEST, PREFIX, SNAPSHOT
from antsmem.backup.manifest import Entry, line, object_list, segments
from antsmem.backup.packer import Kind, Packer
from antsmem.backup.repository import Repository
from antsmem.backup.snapshot import COLD, HOT, Head, new_id, pack_lines
from antsmem.core import age, canonical, clock
from antsmem.core.record import replace
from antsmem.identity.statement import sign_statement

ROOT = Entry(b"d", 0o755, (0, 0), 0, 0, b"", b"", b".")


def entry(kind: bytes, path: bytes, **more: Any) -> Entry:
    """A manifest entry; `data` gives it digest and size."""
    data = more.pop("data", None)
    made = Entry(kind, 0o644 if kind != b"d" else 0o755, (0, 0), 0, 0, b"", b"", path)
    if data is not None:
        made = made._replace(digest=blake3(data).digest(), size_bytes=len(data))
    return made._replace(**more)


def lines_of(entries: Iterable[Entry]) -> bytes:
    return b"".join(map(line, entries))


def head_of(repository: Repository, tier: str, root: bytes, entries: int) -> Head:
    keys, state = repository.keys, repo.read_state(repository, None)
    return Head(
        id=new_id(clock.now_ns()),
        repository=repository.id,
        agent=keys.scid,
        host=keys.host,
        tier=tier,
        sequence=state.next_sequence,
        parent=state.ids[-1] if state.ids else "",
        time_ns=clock.now_ns(),
        epoch="x",
        identity_version=1,
        root=root,
        entries=entries,
        files=0,
        size_bytes=0,
        left_out={},
        warnings=0,
    )


def plant_hot(repository: Repository, manifest: bytes, objects: Sequence[bytes] = ()) -> str:
    """Commit a hot snapshot of this manifest and these objects, signed by the agent's own key."""
    state = repo.read_state(repository, None)
    with Packer(repository.store, [repository.keys.sealing[HOT][1]]) as packer:
        seen = set()

        def put(data: bytes) -> bytes:
            digest = blake3(data).digest()
            if digest not in seen:
                seen.add(digest)
                packer.put(Kind.META, digest, data)
            return digest

        for data in objects:
            put(data)
        rows = manifest.splitlines(keepends=True)
        root = put(object_list([put(part) for part in segments((b"%d" % n, row) for n, row in enumerate(rows))]))
        packs = [written.name for written in packer.finish()]
    head = head_of(repository, HOT, root, len(rows))
    sealed = {**state.anchor.sealed, head.id: repo.write_head(repository, head, pack_lines(packs))}
    listed = {"snapshots": (*state.ids, head.id), "sealed": sealed}
    repo.write_anchor(
        repository, replace(state.anchor, sequence=head.sequence, head=head.id, **listed), state.token
    )
    return head.id


def member(name: bytes, data: bytes = b"", kind: bytes = tarstream.FILE, link: bytes = b"") -> bytes:
    """A tar member of any name."""
    made = tarstream.Member(name, kind, size_bytes=len(data), link=link)
    return tarstream.headers(made) + data + tarstream.padding(len(data))


def plant_cold(repository: Repository, members: bytes, manifest: bytes) -> str:
    """Commit a cold archive of these members and this manifest, signed by the agent's own key."""
    head = head_of(repository, COLD, blake3(manifest).digest(), manifest.count(b"\n"))
    tar = members + member(MANIFEST, manifest) + member(SNAPSHOT, canonical.dumps(head.as_json())) + tarstream.END
    return plant_archive(repository, head, zstandard.compress(tar))


def plant_archive(repository: Repository, head: Head, compressed: bytes) -> str:
    """Commit anything as a cold archive."""
    state = repo.read_state(repository, None)
    sealed = b"".join(age.seal([compressed], [repository.keys.sealing[COLD][1]]))
    repository.store.put(f"cold/{head.id}{repo.COLD_SUFFIX}", [sealed])
    digest = hashlib.sha256(sealed).hexdigest()
    signed = sign_statement(repo.signed_part(head, digest), repository.keys.must_sign())
    repository.store.put(f"cold/{head.id}.sig", [signed])
    cold = tuple(dict.fromkeys((*state.anchor.cold, head.id)))
    anchor = replace(state.anchor, cold=cold, sealed={**state.anchor.sealed, head.id: digest})
    repo.write_anchor(repository, anchor, state.token)
    return head.id


def bomb(size: int) -> bytes:
    """A few kilobytes that zstd makes `size` zeros of, in a frame that does not say so."""
    compressor = zstandard.ZstdCompressor(level=1, write_content_size=False).compressobj()
    zeros, parts = bytes(1 << 20), []
    for _ in range(size >> 20):
        parts.append(compressor.compress(zeros))
    return b"".join([*parts, compressor.flush()])


def workspace(path: bytes) -> bytes:
    """A path as it stands in a cold archive."""
    return PREFIX + path


def folders_above(target: Path) -> list[str]:
    """What stands beside a target and above it: nothing may be added there."""
    return sorted(str(path) for place in (target.parent, target.parent.parent) for path in place.iterdir())
