"""Check a repository: with no key every byte of every pack, with keys everything that must be true.

Without a key: packs and archives have the SHA-256 they are named or signed by; `.packs` lists name packs that
are there; `repository.json`, the anchor, the signatures, the identity log and the epoch files are as signed.
With keys besides: heads open, match their signature and form a chain; every object that a snapshot needs is in
a pack of its list; with `read_percent` every object has the BLAKE3 it is named by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from blake3 import blake3

from antsmem.backup import repository as repo
from antsmem.backup.index import flattened, load_contents, read_index_file
from antsmem.backup.lease import LEASE
from antsmem.backup.pack import open_pack
from antsmem.backup.reach import Reach
from antsmem.backup.repository import Anchor, Pin, Repository, list_ids, read_signature
from antsmem.backup.snapshot import COLD, parse_pack_lines
from antsmem.backup.thaw import read_archive, require_signed
from antsmem.core.crew import Crew
from antsmem.core.errors import CannotUnlockError, IntegrityError, NotFoundError, RefusedError, RollbackError
from antsmem.core.record import field, mutable_record, record
from antsmem.core.twin import Tickets, Twin, may_fork

if TYPE_CHECKING:
    from antsmem.backup.store import Store

_THREADS: Final = 2
_MUCH: Final = 64 << 20
"""So many bytes of packs are worth a second process."""
_CHANGING: Final = (repo.ANCHOR, repo.GARBAGE)
"""What a writer that adds, moves or removes snapshots or packs changes."""
_LOOKS: Final = 3
Progress = Callable[[str, int, int], None]
_Apart: TypeAlias = tuple[set[str], set[str]]
"""Packs that no key at hand opens, and packs that went while they were looked at."""


@record
class CheckJob:
    """`read_percent` of the packs are read object by object (100 = all); `pin` is what this host saw last."""

    pin: Pin | None = None
    read_percent: int = 0
    progress: Progress = lambda _what, _done, _total: None


@mutable_record
class CheckResult:
    """`problems` are lines for people, empty if all is well; `notes` say what could not be looked at.
    `damaged` are packs that are not what they should be or not there."""

    repository: str
    snapshots: int = 0
    cold: int = 0
    packs: int = 0
    objects: int = 0
    bytes_read: int = 0
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    rolled_back: str = ""


def check(repository: Repository, job: CheckJob) -> CheckResult:
    """Look at everything; finding a problem does not end it. A problem that is seen while somebody writes may be
    none: everything is looked at again then. Raises only what the store raises."""
    store = repository.store
    for _look in range(_LOOKS):
        before = _marks(store)
        result = _Check(repository, job).run()
        if not result.problems or (store.stat(LEASE) is None and _marks(store) == before):
            break
    return result


def _marks(store: Store) -> list[object]:
    """What is not the same again once somebody wrote. What cannot be read is looked at elsewhere, or by nobody."""
    found: list[object] = []
    for name in _CHANGING:
        with suppress(IntegrityError, RefusedError):
            found.append(store.read(name))
    return found


class _Check:
    def __init__(self, repository: Repository, job: CheckJob) -> None:
        self.repository = repository
        self.job = job
        self.result = CheckResult(repository.store.url)
        self.sizes = {item.name[6:-4]: item.size_bytes for item in repository.store.list("packs")}
        self.opened: dict[str, set[bytes]] = {}
        self.closed: set[str] = set()
        self.gone: set[str] = set()
        self.indexed: list[tuple[str, str, list[bytes]]] = []

    def run(self) -> CheckResult:
        result = self.result
        result.packs = len(self.sizes)
        hot, cold = list_ids(self.repository), list_ids(self.repository, COLD)
        anchor = self._anchor(hot, cold)
        live = [i for i in hot if i in anchor.snapshots or i > anchor.head] if anchor else hot
        result.snapshots, result.cold = len(live), len(cold)
        found: list[str] = []
        with self._every_pack() as hashed:  # while the rest is looked at here
            self._plain_files(anchor)
            listed = self._pack_lists(live)
            self._signatures(live)
            if self.repository.keys.identities:
                found = self._objects(live, listed)
            hashed()
        if self.result.damaged and self.repository.keys.identities:
            found = self._objects(live, listed)
        self._index_is_true()
        needed = {pack for packs in listed.values() for pack in packs}  # of an erased epoch, orphans may be left
        result.notes += [f"pack `{i}` is sealed to a key that is not here" for i in sorted(self.closed & needed)]
        result.problems += [f"pack `{i}` is needed and gone" for i in sorted(self.gone & needed)]
        result.problems += found
        if not self.repository.keys.identities:
            result.notes.append("no key: heads, manifests and objects were not opened")
        self._cold(cold, anchor)
        return result

    def _attempt(self, what: Callable[..., object], *given: Any) -> bool:
        """Do `what(*given)`; a problem becomes a line of the result."""
        try:
            what(*given)
        except CannotUnlockError as error:
            self.result.notes.append(str(error))
            return False
        except (IntegrityError, NotFoundError, RollbackError) as error:
            self.result.problems.append(str(error))
            return False
        return True

    def _anchor(self, hot: Sequence[str], cold: Sequence[str]) -> Anchor | None:
        held: list[Anchor] = []

        def read() -> None:
            found = repo.read_anchor(self.repository)
            if found is None:
                raise IntegrityError("the repository has lost its list of snapshots")
            held.append(found[0])

        self._attempt(read)
        if not held:
            return None
        anchor = held[0]
        for tier, there in ((anchor.snapshots, hot), (anchor.cold, cold)):
            self.result.problems += [f"snapshot `{i}` is listed and gone" for i in sorted(set(tier) - set(there))]
        pin = self.job.pin
        late = sum(i > anchor.head for i in hot)  # committed, and the run was killed before the anchor
        if pin is not None and pin.missing(hot, anchor.sequence + late):
            self.result.rolled_back = (
                f"the repository is older than what this host saw: it ended with `{pin.head}`"
            )
            self.result.problems.append(self.result.rolled_back)
        return anchor

    def _plain_files(self, anchor: Anchor | None) -> None:
        """The README, and the files in `keys/` against the anchor."""
        store = self.repository.store

        def same(name: str, digest: str) -> None:
            if hashlib.sha256(store.get(name)).hexdigest() != digest:
                raise IntegrityError(f"`{name}` is not what was written")

        for name, digest in sorted(anchor.files.items()) if anchor else ():
            self._attempt(same, name, digest)

    @contextmanager
    def _every_pack(self) -> Iterator[Callable[[], None]]:
        """SHA-256 of every pack against its name; with `read_percent`, its objects against theirs. Begins it, by
        threads or, where the store is local, by a second process besides; call what it gives to wait."""
        order = sorted(self.sizes)
        fork = self.repository.store.local and sum(self.sizes.values()) >= _MUCH and may_fork()
        tickets = Tickets(len(order), shared=fork)

        def work(crew: Crew | None = None) -> None:
            while (crew is None or not crew.failed) and (ticket := tickets.take()) is not None:
                self._one_pack(order[ticket])
                self.job.progress("packs", ticket + 1, len(order))

        def half() -> object:
            self.job = CheckJob(read_percent=self.job.read_percent)
            self.result = CheckResult(self.result.repository)
            work()
            return self.result, self.opened, (self.closed, self.gone)

        try:
            if not fork:
                yield Crew(work, _THREADS).wait
                return
            with Twin(half) as twin:
                crew = Crew(work, 1)

                def wait() -> None:
                    crew.wait()
                    self._learn(*cast("tuple[CheckResult, dict[str, set[bytes]], _Apart]", twin.result()))

                yield wait
        finally:
            tickets.close()

    def _learn(self, found: CheckResult, opened: dict[str, set[bytes]], apart: _Apart) -> None:
        """Take over what another process found in packs."""
        self.result.objects += found.objects
        self.result.bytes_read += found.bytes_read
        self.result.problems += found.problems
        self.result.damaged |= found.damaged
        self.opened.update(opened)
        self.closed |= apart[0]
        self.gone |= apart[1]

    def _one_pack(self, pack: str) -> None:
        identities = self.repository.keys.identities
        opened = bool(identities) and int(pack[:8], 16) % 100 < self.job.read_percent
        sha256, pieces = hashlib.sha256(), []
        try:
            for piece in self.repository.store.download(f"packs/{pack}.age"):
                sha256.update(piece)
                self.result.bytes_read += len(piece)
                if opened:
                    pieces.append(piece)
            if sha256.hexdigest() != pack:
                raise IntegrityError(f"pack `{pack}` is not what its name says")
            if opened:
                self._every_object(pack, b"".join(pieces))
        except IntegrityError as error:
            self.result.damaged.add(pack)
            self.result.problems.append(str(error))
        except NotFoundError:  # a prune has just taken it: a problem if a snapshot needs it
            self.result.damaged.add(pack)
            self.gone.add(pack)
        except CannotUnlockError:
            self.closed.add(pack)

    def _every_object(self, pack: str, sealed: bytes) -> None:
        held = self.opened[pack] = set()
        for digest, data in open_pack(sealed, self.repository.keys.identities, pack):
            held.add(digest)
            self.result.objects += 1
            if blake3(data).digest() != digest:
                raise IntegrityError(f"object {digest.hex()} in pack `{pack}` is not what its name says")

    def _pack_lists(self, live: Sequence[str]) -> dict[str, list[str]]:
        listed: dict[str, list[str]] = {}

        def read(snapshot_id: str) -> None:
            data = self.repository.store.get(f"snapshots/{snapshot_id}.packs")
            listed[snapshot_id] = parse_pack_lines(data, snapshot_id)

        for snapshot_id in live:
            self._attempt(read, snapshot_id)
        for pack in sorted({pack for packs in listed.values() for pack in packs} - self.sizes.keys()):
            self.result.damaged.add(pack)
            self.result.problems.append(f"pack `{pack}` is needed and gone")
        return listed

    def _signatures(self, live: Sequence[str]) -> None:
        """Each signature holds, and each snapshot names one before it as its parent."""
        last, before = 0, ""
        for snapshot_id in live:
            try:
                statement = read_signature(self.repository, snapshot_id)
                sealed = self.repository.store.get(f"snapshots/{snapshot_id}.age")
            except (IntegrityError, NotFoundError) as error:
                self.result.problems.append(str(error))
                continue
            if hashlib.sha256(sealed).hexdigest() != statement.get("sealed_sha256"):
                self.result.problems.append(f"the head of snapshot `{snapshot_id}` is not the one that was signed")
            copy = statement["sequence"] == last and snapshot_id[:-8] == before[:-8]  # a `reseal` was cut off
            if (statement["sequence"] <= last and not copy) or statement["parent"] >= snapshot_id:
                self.result.problems.append(f"snapshot `{snapshot_id}` is out of its place in the chain")
            last, before = statement["sequence"], snapshot_id
        if self.repository.keys.identities:
            for name in self.repository.store.names("index"):
                self._attempt(self._index_file, name)

    def _index_file(self, name: str) -> None:
        for pack, digests in read_index_file(self.repository, name).items():
            if pack in self.sizes:
                self.indexed.append((name, pack, digests))

    def _index_is_true(self) -> None:
        """What the index says of the packs that were opened is what they hold."""
        for name, pack, digests in self.indexed:
            if pack in self.opened and not self.opened[pack].issuperset(digests):
                self.result.problems.append(f"`{name}` says that pack `{pack}` holds what it does not")

    def _objects(self, live: Sequence[str], listed: dict[str, list[str]]) -> list[str]:
        """Is every object that a snapshot needs in a sound pack that its list names? The problems found."""
        sound = {pack for pack in self.sizes if pack not in self.result.damaged}
        if listed.keys() >= set(live):  # an orphan that nobody opens must not stand in the way of all others
            sound &= {pack for packs in listed.values() for pack in packs}
        try:
            held = load_contents(self.repository, sound)
        except CannotUnlockError as error:
            self.result.notes.append(str(error))
            return []
        except IntegrityError as error:
            return [str(error)]
        where = flattened(held)
        reach = Reach(self.repository, where)
        packs_of: dict[bytes, set[str | None]] = {}  # of a part, which most snapshots share: None for what is lost
        problems = []
        for snapshot_id in live:
            try:
                parts = reach.parts(snapshot_id)
            except CannotUnlockError:
                self.result.notes.append(f"snapshot `{snapshot_id}` is sealed to a key that is not here")
                continue
            except (IntegrityError, NotFoundError) as error:
                problems.append(f"snapshot `{snapshot_id}`: {error}")
                continue
            for name, digests in parts.items():
                if name not in packs_of:
                    packs_of[name] = set(map(where.get, digests))
            needed = set().union(*map(packs_of.__getitem__, parts))
            if None in needed:
                missing = len(set().union(*parts.values()) - where.keys())
                problems.append(f"snapshot `{snapshot_id}` has lost {missing} objects")
                continue
            listed_here = listed.get(snapshot_id, held)
            if not needed.issubset(listed_here):  # several packs may hold an object: one of the list will do
                rest = set().union(*parts.values())
                for pack in listed_here:
                    rest.difference_update(held.get(pack, ()))
                if unlisted := {where[digest] for digest in rest}:
                    problems.append(f"the pack list of snapshot `{snapshot_id}` lacks {len(unlisted)} packs")
        return problems

    def _cold(self, cold: Sequence[str], anchor: Anchor | None) -> None:
        for snapshot_id in cold:
            if (
                anchor is not None
                and snapshot_id not in anchor.cold
                and anchor.cold
                and snapshot_id < anchor.cold[-1]
            ):
                continue  # forgotten, not swept yet
            if not self._attempt(require_signed, self.repository, snapshot_id, self.job.progress):
                continue
            if self.job.read_percent == 100:
                self._attempt(self._read_cold, snapshot_id)

    def _read_cold(self, snapshot_id: str) -> None:
        try:
            read_archive(self.repository, snapshot_id, None, self.job.progress)
        except CannotUnlockError:
            self.result.notes.append("cold archives are as they were signed; only the recovery kit opens them")
