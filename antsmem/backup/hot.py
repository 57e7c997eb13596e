"""The hot tier: an incremental snapshot of the workspace into one repository.

The order of writing is what makes a crash cost nothing: a new epoch's key, packs, then the snapshot's pack list
and signature, then its sealed head, whose name is the commit. Whatever a killed run left is an orphan that `prune`
sweeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.backup import repository as repo
from antsmem.backup.cache import Cache, line_of, load_cache, save_cache, size_of
from antsmem.backup.carry import carry
from antsmem.backup.index import extend_index, load_index
from antsmem.backup.intake import NAMES, Leak, Tally
from antsmem.backup.lease import Lease, leased
from antsmem.backup.manifest import object_list, segments, unescape, word
from antsmem.backup.objects import TEXT, ObjectIntake
from antsmem.backup.packer import Kind, Packer, Written
from antsmem.backup.repository import Anchor, Pin, Repository
from antsmem.backup.snapshot import HOT, Head, new_id, pack_lines, time_of
from antsmem.backup.walk import Folder, Task, Walk, joined, walk
from antsmem.core.errors import CannotUnlockError, IntegrityError, LeakError
from antsmem.core.record import field, record
from antsmem.identity.scanner import Scanner
from antsmem.identity.waivers import Waivers
from antsmem.workspace.classes import Classifier

Progress = Callable[[str, int, int], None]
"""Called now and then with what is being done, how much of it is done, and how much there is."""

_SMALL_PACK: Final = 256 << 10
_MANY_SMALL: Final = 64
_SKEW_NS: Final = 2_000_000_000


@record
class Job:
    """What to back up and by which rules. `cache_path` is private to (workspace, repository)."""

    root: bytes
    classifier: Classifier
    scanner: Scanner
    waivers: Waivers
    cache_path: Path
    now_ns: int
    pin: Pin | None = None
    rehash: bool = False
    progress: Progress = lambda _what, _done, _total: None


@record
class BackupResult:
    """A committed snapshot. `added_bytes` is what the repository grew by; `complete` is False where a path
    could not be read or stored truthfully (the warnings name it)."""

    repository: str
    snapshot: str
    tier: str
    files: int
    size_bytes: int
    read_bytes: int
    added_bytes: int
    left_out: dict[str, int]
    warnings: tuple[str, ...]
    waived: tuple[Leak, ...]
    pin: Pin = field(repr=False)

    @property
    def complete(self) -> bool:
        """Whether everything portable is in it exactly."""
        return not self.warnings


def back_up_hot(repository: Repository, job: Job) -> BackupResult:
    """Take a hot snapshot. Raises `LeakError` (a secret stands in a file: nothing was stored), `LockedError`,
    `RollbackError`, `NotFoundError` (workspace gone), and what the store raises; the repository is then as it
    was, but for orphans."""
    repository.keys.must_sign()
    with leased(repository.store, repository.keys.host) as lease:
        return _Run(repository, job, lease).result()


class _Run:
    def __init__(self, repository: Repository, job: Job, lease: Lease) -> None:
        self.repository = repository
        self.job = job
        self.lease = lease
        self.state = repo.read_state(repository, job.pin)
        self.packs = {name[6:-4] for name in repository.store.names("packs")}
        self.cache = self._open_cache()

    def result(self) -> BackupResult:
        repository, job, state = self.repository, self.job, self.state
        found = walk(job.root, {} if job.rehash else self.cache.folders, job.classifier)
        changed = found.changed or not self.cache.root
        files = carry(repository, state)  # before anything is sealed to a new one
        _, recipient = repository.keys.sealing[HOT]
        with Packer(repository.store, [recipient]) as packer:
            try:
                tally = self._read(packer, found, changed)
            except BaseException:
                packer.abandon()
                raise
        self._remember(packer.written)
        if changed:
            self._count(found)
        warnings = (*clock_warning(state.ids, job.now_ns), *found.warnings, *tally.warnings)
        head = self._head(found.left_out, len(warnings))
        packs = [self.cache.packs[index] for index in self.cache.used]
        self.lease.renew()  # what another host found unneeded meanwhile, it may have removed
        digest = repo.write_head(repository, head, pack_lines(packs))
        anchor = Anchor(
            sequence=head.sequence,
            head=head.id,
            snapshots=(*state.ids, head.id),
            cold=state.anchor.cold,
            sealed={**repository.sealed, head.id: digest},
            files=files,
        )
        repo.write_anchor(repository, anchor, state.token)
        if extend_index(repository, self.cache) or changed:
            save_cache(job.cache_path, self.cache)
        return BackupResult(
            repository=repository.store.url,
            snapshot=head.id,
            tier=HOT,
            files=head.files,
            size_bytes=head.size_bytes,
            read_bytes=tally.read_bytes,
            added_bytes=sum(pack.size_bytes for pack in packer.written),
            left_out=found.left_out,
            warnings=warnings,
            waived=tuple(tally.waived),
            pin=Pin(head.sequence, head.id),
        )

    def _open_cache(self) -> Cache:
        """What may be relied on: the local cache as far as the repository bears it out, else its index."""
        job, cache = self.job, load_cache(self.job.cache_path)
        basis = job.root + b"\0" + job.classifier.digest + job.scanner.digest
        if cache.basis != basis:
            cache.folders, cache.root, cache.basis = {}, b"", basis
        gone = not self.packs.issuperset(cache.packs)
        if gone:
            cache.objects, cache.packs, cache.small, cache.indexed, cache.used = {}, [], set(), 0, []
        unknown = self.packs.difference(cache.packs)
        if unknown:
            self._learn(cache, unknown)
        if gone or unknown:
            self._drop_stale(cache)
        self._retire_small_packs(cache)
        return cache

    def _learn(self, cache: Cache, packs: set[str]) -> None:
        """Take over what `packs` hold, which this cache does not know: another host's, or those that a prune moved
        objects to, for what they were in goes soon."""
        where: dict[bytes, str] = {}
        with suppress(CannotUnlockError, IntegrityError):  # slower then: what it held is stored anew
            where = load_index(self.repository, packs)
        extend_index(self.repository, cache, 1)  # while the cache still knows what its own packs hold
        sizes = {item.name[6:-4]: item.size_bytes for item in self.repository.store.list("packs")}
        number = {name: index for index, name in enumerate(sorted(packs), len(cache.packs))}
        cache.packs += number
        cache.objects.update({digest: number[name] for digest, name in where.items()})
        cache.small.update(index for name, index in number.items() if sizes.get(name, 0) < _SMALL_PACK)
        cache.indexed = len(cache.packs)

    @staticmethod
    def _drop_stale(cache: Cache) -> None:
        """Forget the records of files whose objects are not all there: they are read again."""
        cache.root = b""
        for _, records in cache.folders.values():
            for name in [name for name, known in records.items() if not _held(known[2], cache.objects)]:
                del records[name]

    def _retire_small_packs(self, cache: Cache) -> None:
        """Hourly snapshots leave small packs behind. When a snapshot would need many of them, what they hold
        is read and stored anew together, so that neither pack lists nor restores grow with the history."""
        small = cache.small.intersection(cache.used)
        if len(small) <= _MANY_SMALL:
            return
        extend_index(self.repository, cache, 1)  # while the cache still knows what the small packs hold
        cache.objects = {digest: index for digest, index in cache.objects.items() if index not in small}
        self._drop_stale(cache)

    def _read(self, packer: Packer, found: Walk, changed: bool) -> Tally:
        """Read what must be read, pack it with the manifest, and wait until all of it is durable."""
        job, count = self.job, len(found.tasks)
        have = self.cache.objects
        intake = ObjectIntake(job.root, job.scanner, job.waivers, job.now_ns, have, packer)
        for index, task in enumerate(woven(found.tasks)):
            if not index & 63:
                self.lease.renew()
                job.progress("files", index, count)
            intake.take(task)
        intake.mend_links(found.linked)
        if changed:
            digests = [intake.put(Kind.META, text, NAMES) for text in segments(manifest_lines(found.folders))]
            self.cache.root = intake.put(Kind.META, object_list(digests), NAMES)
            self.cache.meta = b"".join([self.cache.root, *digests])
        if intake.tally.leaks:
            raise refusal(intake.tally.leaks)
        packer.finish()
        return intake.tally

    def _remember(self, written: list[Written]) -> None:
        for pack in written:
            index = len(self.cache.packs)
            self.cache.packs.append(pack.name)
            if pack.size_bytes < _SMALL_PACK:
                self.cache.small.add(index)
            for digest in pack.digests:
                self.cache.objects[digest] = index

    def _count(self, found: Walk) -> None:
        """Bring the cache up to the snapshot: its folders, the packs it needs, and its totals."""
        cache, objects = self.cache, self.cache.objects
        cache.folders = found.folders
        used = {objects[cache.meta[at : at + 32]] for at in range(0, len(cache.meta), 32)}
        entries = files = size_bytes = 0
        for _, records in found.folders.values():
            entries += 1 + len(records)
            for known in records.values():
                digests = known[2]
                if digests:
                    files += 1
                    size_bytes += size_of(known)
                    if len(digests) == 32:
                        used.add(objects[digests])
                    else:
                        used.update([objects[digests[at : at + 32]] for at in range(0, len(digests), 32)])
        cache.used, cache.totals = sorted(used), (entries, files, size_bytes)

    def _head(self, left_out: dict[str, int], warnings: int) -> Head:
        keys, job, state = self.repository.keys, self.job, self.state
        after_ns = time_of(state.ids[-1]) + 1_000_000 if state.ids else 0
        entries, files, size_bytes = self.cache.totals
        return Head(
            id=new_id(max(job.now_ns, after_ns)),
            repository=self.repository.id,
            agent=keys.scid,
            host=keys.host,
            tier=HOT,
            sequence=state.next_sequence,
            parent=state.ids[-1] if state.ids else "",
            time_ns=job.now_ns,
            epoch=keys.sealing[HOT][0],
            identity_version=keys.identity_version,
            root=self.cache.root,
            entries=entries,
            files=files,
            size_bytes=size_bytes,
            left_out=left_out,
            warnings=warnings,
        )


def clock_warning(ids: Sequence[str], now_ns: int) -> tuple[str, ...]:
    """A warning where the clock stands well before the newest of `ids`."""
    behind_ns = time_of(ids[-1]) - now_ns if ids else 0
    if behind_ns <= _SKEW_NS:
        return ()
    return (f"the clock is {behind_ns // 1_000_000_000} s behind the newest snapshot: was it set back?",)


def _held(digests: bytes, objects: dict[bytes, int]) -> bool:
    return all(digests[at : at + 32] in objects for at in range(0, len(digests), 32))


def neighbours(task: Task) -> tuple[bool, bytes, bytes, bytes]:
    """Like beside like: text first, by ending and directory."""
    return (not task.name.endswith(TEXT), task.name[-5:], task.folder, task.name)


def woven(tasks: list[Task]) -> Iterator[Task]:
    """`tasks` in a good order, taken out of the list: like beside like, and what is no text spread evenly among
    the text, because text is slow to compress and the rest slow to read."""
    tasks.sort(key=neighbours, reverse=True)
    text = [task for task in tasks if task.name.endswith(TEXT)]
    rest = [task for task in tasks if not task.name.endswith(TEXT)]
    tasks.clear()  # each goes when it is done: there may be very many
    text_bytes = text_left = sum(task.size_bytes for task in text)
    rest_bytes = rest_left = sum(task.size_bytes for task in rest)
    while text or rest:
        if text and (not rest or text_left * rest_bytes >= rest_left * text_bytes):
            text_left -= text[-1].size_bytes
            yield text.pop()
        else:
            rest_left -= rest[-1].size_bytes
            yield rest.pop()


def manifest_lines(folders: dict[bytes, Folder]) -> Iterator[tuple[bytes, bytes]]:
    """(name, line) of every path: each directory before what is in it."""
    for folder in sorted(folders):
        own, records = folders[folder]
        yield folder, own
        for name in sorted(records):
            yield name, line_of(joined(folder, name), records[name])


def refusal(leaks: list[Leak]) -> LeakError:
    """The error that names every place where a secret stands."""
    where = "; ".join(f"`{leak.path}:{leak.line}` {leak.rule} {leak.shown}" for leak in leaks[:10])
    more = f" and {len(leaks) - 10} more" if len(leaks) > 10 else ""
    first = leaks[0]
    if first.path == NAMES.decode():  # which path it is cannot be said: it would tell the secret
        what = f"the name of a path or the target of a link holds a {first.rule}: change it, it cannot be waived"
        return LeakError(f"nothing was backed up, because a secret stands in: {where}{more}", hint=what)
    return LeakError(
        f"nothing was backed up, because a secret stands in: {where}{more}",
        hint=f"move it out of the file, or record that it may stay: "
        f'antsmem waive {word(unescape(first.path.encode()))}:{first.line} --reason "..."',
    )
