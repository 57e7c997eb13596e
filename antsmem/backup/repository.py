"""A repository: one agent's snapshots in a store, and what must be true of them before they are believed.

repository.json   signed: format, id, agent's SCID      packs/     sealed objects
snapshots/        hot snapshots (snapshot.py)           cold/      self-contained archives (cold.py)
index/            object → pack, derived (index.py)     anchors/   what there must be; the lease
keys/             sealed epoch keys, the identity log   README     recovery without antsmem
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from antsmem.backup.pack import compress, decompress
from antsmem.backup.snapshot import HOT, Head, ids_in
from antsmem.core import canonical
from antsmem.core.errors import (
    CannotUnlockError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    RollbackError,
    UsageError,
)
from antsmem.core.record import field, record
from antsmem.identity.multikey import parse_multikey
from antsmem.identity.statement import Signer, open_statement, sign_statement

if TYPE_CHECKING:
    from antsmem.backup.store import Store
    from antsmem.core.age import Identity, Recipient

ANCHOR: Final = "anchors/snapshots.json"
NEXT: Final = "anchors/next.json"
"""The list of snapshots as a changed identity log will have it, until it is the list (carry.py)."""
GARBAGE: Final = "anchors/garbage.json"
IDENTITY_LOG: Final = "keys/identity.jsonl"
COLD_SUFFIX: Final = ".tar.zst.age"
_ANCHOR_SCHEMA: Final = "antsmem.anchor/1"


@record
class Keyring:
    """What the engine is lent. Writing needs `signer` and `sealing` only; reading needs `identities`.

    `trusted` are the agent's operational public keys, revoked ones too, `current` those that speak today (None:
    all of `trusted`); None believes any (bytes are checked, authorship is not). `carried` are public or sealed
    files that travel in `keys/`. `sealing` is the current epoch of each tier: (its name, its recipient).
    """

    scid: str
    host: str
    identity_version: int
    trusted: Collection[bytes] | None
    signer: Signer | None = None
    sealing: Mapping[str, tuple[str, Recipient]] = field(default_factory=dict)
    identities: Sequence[Identity] = ()
    carried: Mapping[str, bytes] = field(default_factory=dict)
    current: Collection[bytes] | None = None

    def signers(self, *, former: bool) -> Collection[bytes] | None:
        """The keys whose word counts: those that speak today, with `former` the revoked ones too."""
        return self.trusted if former or self.current is None else self.current

    def must_sign(self) -> Signer:
        """The op key, for a verb that writes."""
        if self.signer is None:
            raise UsageError("this repository is open for reading only")
        return self.signer


@record
class Repository:
    """An opened repository: its store, its id, the keys lent for this run, and what its anchor says of each
    snapshot (id → SHA-256 of the sealed head or archive), once that was read."""

    store: Store
    id: str
    keys: Keyring
    sealed: dict[str, str] = field(default_factory=dict, repr=False)
    doomed: set[str] = field(default_factory=set, repr=False)
    """Names that go once a new anchor is there: of `keys/`, those that it no longer lists."""


@record
class Anchor:
    """The newest signed list of what must be there. `sealed` maps each snapshot to the SHA-256 of its sealed head
    or archive, so that a key that was revoked since cannot replace what it once signed; `files` maps the
    README and the files in `keys/` to theirs."""

    sequence: int
    head: str
    snapshots: tuple[str, ...]
    cold: tuple[str, ...]
    sealed: dict[str, str]
    files: dict[str, str]


@record
class Pin:
    """What this host last saw of a repository, kept outside of it: how a rolled-back store is noticed. Under
    version `identity_version` of the identity log it last signed the anchor there."""

    sequence: int
    head: str
    identity_version: int | None = None

    def missing(self, ids: Collection[str], sequence: int) -> bool:
        """Whether a repository with the snapshots `ids` whose newest number is `sequence` is older than this. A
        head that is gone was forgotten by a prune if the number is not older and other snapshots are left."""
        return sequence < self.sequence or bool(self.head and not ids)


def statement_of(repository_id: str, keys: Keyring, now_ns: int) -> bytes:
    """What `repository.json` says."""
    statement = {
        "schema": "antsmem.repository/1",
        "id": repository_id,
        "agent": keys.scid,
        "created_ns": str(now_ns),
    }
    return sign_statement(statement, keys.must_sign())


def is_bare(store: Store) -> bool:
    """Whether nothing was ever stored here."""
    try:
        return not any(store.names(folder) for folder in ("packs", "snapshots", "cold", "index"))
    except NotFoundError:  # there is not even a place
        return True


def open_repository(store: Store, keys: Keyring) -> Repository:
    """Open what is at `store`. Raises `NotFoundError` (nothing there), `UsageError` (another agent's, or a
    newer format), `IntegrityError` (damaged or forged)."""
    try:
        data = store.get("repository.json")
    except NotFoundError:
        raise NotFoundError(
            f"no repository at `{store.url}`", hint="antsmem repository init NAME makes one; is it mounted?"
        ) from None
    statement = _named_statement(data, None)
    if keys.scid and statement.get("agent") != keys.scid:
        raise UsageError(
            f"the repository at `{store.url}` belongs to another agent, `{str(statement.get('agent'))[:60]}`",
            hint="see `antsmem repository list`",
        )
    _named_statement(data, keys.trusted)
    return Repository(store, str(statement.get("id")), keys)


def _named_statement(data: bytes, trusted: Collection[bytes] | None) -> dict[str, Any]:
    """What `repository.json` says: without it nothing of the repository is believed."""
    try:
        return open_statement(data, "antsmem.repository/1", trusted, "repository.json")
    except IntegrityError as error:
        hint = "antsmem check --repair makes it anew, on the agent's host"
        raise IntegrityError(str(error), hint=hint) from None


def list_ids(repository: Repository, tier: str = HOT) -> list[str]:
    """The ids of the committed snapshots of a tier, oldest first: names only, nothing is opened."""
    folder, suffix = ("snapshots", ".age") if tier == HOT else ("cold", ".sig")
    return ids_in(repository.store.names(folder), folder, suffix)


def write_head(repository: Repository, head: Head, pack_list: bytes) -> str:
    """Commit a hot snapshot: packs list, signature, then the sealed head, whose name is the commit. The SHA-256
    of the sealed head."""
    from antsmem.core import age

    keys, store = repository.keys, repository.store
    _, recipient = keys.sealing[HOT]
    sealed = b"".join(age.seal([compress(canonical.dumps(head.as_json()), 3)], [recipient]))
    digest = hashlib.sha256(sealed).hexdigest()
    signature = sign_statement(signed_part(head, digest), keys.must_sign())
    store.put(f"snapshots/{head.id}.packs", [pack_list])
    store.put(f"snapshots/{head.id}.sig", [signature])
    store.put(f"snapshots/{head.id}.age", [sealed])
    return digest


def signed_part(head: Head, sealed_sha256: str) -> dict[str, Any]:
    """What a snapshot's `.sig` says in plain: enough to check the chain with no key at all."""
    return {
        "schema": "antsmem.signature/1",
        "snapshot": head.id,
        "repository": head.repository,
        "agent": head.agent,
        "tier": head.tier,
        "sequence": head.sequence,
        "parent": head.parent,
        "sealed_sha256": sealed_sha256,
    }


def read_signature(
    repository: Repository, snapshot_id: str, tier: str = HOT, *, former: bool = False
) -> dict[str, Any]:
    """The verified signed part of a snapshot: as the anchor names it, or, where the anchor does not know it (yet),
    by a key that speaks today (with `former` also by one that was revoked). `NotFoundError`, `IntegrityError`."""
    name = f"{'snapshots' if tier == HOT else 'cold'}/{snapshot_id}.sig"
    try:
        data = repository.store.get(name)
    except NotFoundError:
        raise IntegrityError(f"snapshot `{snapshot_id}` has no signature") from None
    statement = open_statement(data, "antsmem.signature/1", repository.keys.trusted, name)
    if (statement.get("snapshot"), statement.get("repository"), statement.get("tier")) != (
        snapshot_id, repository.id, tier,
    ):  # fmt: skip
        raise IntegrityError(f"the signature of snapshot `{snapshot_id}` was made for something else")
    if not isinstance(statement.get("sequence"), int) or not isinstance(statement.get("parent"), str):
        raise IntegrityError(f"the signature of snapshot `{snapshot_id}` is malformed")
    known, signers = repository.sealed.get(snapshot_id), repository.keys.signers(former=former)
    if known is not None and statement.get("sealed_sha256") != known:
        raise IntegrityError(f"snapshot `{snapshot_id}` is not the one that the repository's list names")
    if known is None and signers is not None and parse_multikey(statement["key"]) not in signers:
        raise IntegrityError(f"snapshot `{snapshot_id}` is signed by a revoked key and in no list: forged")
    return statement


def read_head(repository: Repository, snapshot_id: str) -> Head:
    """The head of a hot snapshot, believed before it is opened: the anchor, which is signed, names its bytes;
    where it does not know them (yet), the snapshot's own signature does."""
    from antsmem.core import age

    sealed = repository.store.get(f"snapshots/{snapshot_id}.age")
    digest = hashlib.sha256(sealed).hexdigest()
    known, statement = repository.sealed.get(snapshot_id), None
    if known is not None and digest != known:
        raise IntegrityError(f"snapshot `{snapshot_id}` is not the one that the repository's list names")
    if known is None:
        statement = read_signature(repository, snapshot_id)
        if digest != statement["sealed_sha256"]:
            raise IntegrityError(f"the head of snapshot `{snapshot_id}` is not the one that was signed")
    try:
        plain = age.unseal(sealed, repository.keys.identities)
    except CannotUnlockError:
        raise CannotUnlockError(
            f"no key at hand opens snapshot `{snapshot_id}`",
            hint="its epoch key is not on this host; the recovery kit opens it: --kit KIT --repository URL",
        ) from None
    head = Head.from_json(canonical.loads(decompress(plain, 1 << 20), 1 << 20))
    if (head.id, head.repository, head.tier) != (snapshot_id, repository.id, HOT):
        raise IntegrityError(f"the head of snapshot `{snapshot_id}` was made for something else")
    if statement is not None and signed_part(head, digest) != {k: v for k, v in statement.items() if k != "key"}:
        raise IntegrityError(f"the head of snapshot `{snapshot_id}` contradicts its signature")
    return head


def read_anchor(repository: Repository, *, former: bool = False) -> tuple[Anchor, str] | None:
    """The anchor, signed by a key that speaks today (with `former` also by one that was revoked), and its version
    token; None where there is none (yet). Where its key was revoked since, what it says is what the list says that
    was put beside it for this case, and is not older."""
    found = repository.store.read(ANCHOR)
    if found is None:
        return None
    try:
        anchor = _believed(repository, ANCHOR, found[0], former)
    except IntegrityError:
        beside = None if former else repository.store.read(NEXT)
        if beside is None:
            raise
        before = _believed(repository, ANCHOR, found[0], former=True)
        anchor = _believed(repository, NEXT, beside[0], former=False)
        if anchor.sequence < before.sequence:
            raise
    repository.sealed.clear()
    repository.sealed.update(anchor.sealed)
    return anchor, found[1]


def _believed(repository: Repository, name: str, data: bytes, former: bool) -> Anchor:
    statement = open_statement(data, _ANCHOR_SCHEMA, repository.keys.signers(former=former), name)
    if statement.get("repository") != repository.id:
        raise IntegrityError("the anchor was made for another repository")
    try:
        anchor = Anchor(
            sequence=int(statement["sequence"]),
            head=str(statement["head"]),
            snapshots=tuple(map(str, statement["snapshots"])),
            cold=tuple(map(str, statement["cold"])),
            sealed=dict(statement["sealed"]),
            files=dict(statement["files"]),
        )
    except (KeyError, TypeError, ValueError):
        raise IntegrityError("the anchor is malformed") from None
    if anchor.sealed.keys() != {*anchor.snapshots, *anchor.cold}:
        raise IntegrityError("the anchor is malformed")
    return anchor


def write_anchor(repository: Repository, anchor: Anchor, expected: str | None) -> None:
    """Publish `anchor` in place of the one with version token `expected` (None: it is the first); `ConflictError`
    if it changed."""
    repository.store.swap(ANCHOR, sign_anchor(repository, anchor), expected)
    with suppress(RefusedError):  # a store that only appends
        for name in sorted(repository.doomed):
            repository.store.delete(name)
    repository.doomed.clear()


def sign_anchor(repository: Repository, anchor: Anchor) -> bytes:
    """The bytes of `anchor`, signed by this host."""
    statement = {
        "schema": _ANCHOR_SCHEMA,
        "repository": repository.id,
        "sequence": anchor.sequence,
        "head": anchor.head,
        "snapshots": list(anchor.snapshots),
        "cold": list(anchor.cold),
        "sealed": anchor.sealed,
        "files": anchor.files,
    }
    return sign_statement(statement, repository.keys.must_sign())


@record
class State:
    """What a repository holds, believed: its anchor, the anchor's version token (None: it has none yet), the live
    snapshots' ids (oldest first, those committed after the anchor too) and the sequence number that is free."""

    anchor: Anchor
    token: str | None
    ids: tuple[str, ...]
    next_sequence: int


def read_state(repository: Repository, pin: Pin | None) -> State:
    """The state of `repository`, refused (`RollbackError`) where it is older than `pin` or lacks what its own
    anchor names. A snapshot whose run died between commit and anchor counts; one that was forgotten does not.

    At its first contact with a repository (no `pin`), and the first after the identity log changed, a host also
    believes keys that were revoked since: it may be the first to sign here after that."""
    keys = repository.keys
    under = keys.identity_version if pin is None or pin.identity_version is None else pin.identity_version
    former = keys.signer is not None and (pin is None or under < keys.identity_version)
    found = read_anchor(repository, former=former)
    if found is None and pin is None and is_bare(repository.store):
        return State(Anchor(0, "", (), (), {}, {}), None, (), 1)  # whoever made it was killed over it
    if found is None:
        raise IntegrityError(
            f"the repository at `{repository.store.url}` has lost its list of snapshots",
            hint="antsmem check --repair makes it anew from what is there",
        )
    for _look in range(3):  # again where another host's prune came between the list and the look
        anchor, token = found
        there = set(repository.store.names("snapshots"))
        missing = [each for each in anchor.snapshots if f"snapshots/{each}.age" not in there]
        if not missing or (found := read_anchor(repository, former=former) or found)[1] == token:
            break
    if missing:
        raise RollbackError(
            f"{len(missing)} snapshots that the repository's own list names are gone, `{missing[0]}` first",
            hint="antsmem check says what is left; another repository may hold them",
        )
    newer = [name for name in there if name > f"snapshots/{anchor.head}"]
    late = [snapshot_id for snapshot_id in ids_in(newer, "snapshots", ".age") if snapshot_id > anchor.head]
    ids, newest = (*anchor.snapshots, *late), anchor.sequence
    for snapshot_id in late:
        statement = read_signature(repository, snapshot_id, former=former)
        repository.sealed[snapshot_id], newest = statement["sealed_sha256"], statement["sequence"]
    if pin is not None and pin.missing(ids, newest):
        raise RollbackError(
            f"the repository at `{repository.store.url}` is older than what this host saw, which was `{pin.head}`",
            hint="was an old copy put back? antsmem check --accept-older trusts what is there from now on",
        )
    return State(anchor, token, ids, newest + 1)
