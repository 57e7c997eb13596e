"""Targets of layer 2: every object of a repository, as a hostile store or a hostile host could make it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from random import Random

import mutants
import zstandard
from made_backups import silent
from reading import Making, Target, lying, refused
from specimens import Specimens

from antsmem.backup import lease, tarstream
from antsmem.backup.index import read_index_file
from antsmem.backup.manifest import checked, line, parse_line, parse_object_list
from antsmem.backup.pack import Draft, open_damaged_pack, open_pack, read_toc, tar_header
from antsmem.backup.reader import open_snapshot
from antsmem.backup.repository import Repository, list_ids, open_repository, read_head, read_state
from antsmem.backup.restore import left_out_of, plan_restore, select
from antsmem.backup.snapshot import COLD, parse_pack_lines
from antsmem.backup.thaw import read_archive
from antsmem.backup.tree import attributes_of
from antsmem.cli import pins
from antsmem.cli.commands import browse
from antsmem.cli.commands import snapshots as listing
from antsmem.cli.output import size
from antsmem.core import age, canonical
from antsmem.core.clock import utc_text


def _signed(name: str, read: Callable[[Repository], object]) -> Callable[[Specimens], Target]:
    """A target for the signed file `name` of the repository."""

    def make(s: Specimens) -> Target:
        at = name.format(hot=s.hot, cold=s.cold)
        body = s.statement(at)

        def read_it(data: bytes) -> None:
            repository = lying(s, **{at: data})
            for keys in (s.backup.agent.kit(), s.backup.agent.keys()):
                refused(lambda keys=keys: open_repository(repository.store, keys))
            read(repository)

        seeds = [(s.backup.folder / at).read_bytes()]
        return Target(seeds, read_it, lambda dice: s.signed(mutants.of_value(dice, body)))

    return make


def _look_around(repository: Repository) -> None:
    """What every command that lists does."""
    state = read_state(repository, None)
    for snapshot_id in state.ids:
        size(listing._row(repository, "hot", snapshot_id).size_bytes or 0)
    for snapshot_id in list_ids(repository, COLD):
        size(listing._row(repository, COLD, snapshot_id).size_bytes or 0)


def _head(s: Specimens) -> Target:
    body, hot = s.head(), s.backup.agent.hot.recipient
    statement = s.statement(f"snapshots/{s.hot}.sig")

    def read(data: bytes) -> None:
        told = statement | {"sealed_sha256": hashlib.sha256(data).hexdigest()}
        lies = {f"snapshots/{s.hot}.age": data, f"snapshots/{s.hot}.sig": s.signed(told)}
        head = read_head(lying(s, **lies), s.hot)
        utc_text(head.time_ns), size(head.size_bytes), sum(head.left_out.values()), head.host + head.epoch

    def inside(dice: Random) -> bytes:
        plain = canonical.dumps(mutants.of_value(dice, body))
        return b"".join(age.seal([s.zipped(plain)], [hot]))

    return Target([(s.backup.folder / f"snapshots/{s.hot}.age").read_bytes()], read, inside)


def _manifest(s: Specimens) -> Target:
    opened = open_snapshot(s.repository, s.hot)
    good = [line(entry) for entry in opened.entries]
    good += [b"x\t0\t0:0\t0\t0\tsecret\t.env\n", b"h\t644\t0:0\t0\t0\tSOUL.md\thard\n",
             b"p\t644\t0:0\t0\t0\t-\tpipe\teyJzcGFyc2UiOnRydWV9\n"]  # fmt: skip

    def read(data: bytes) -> None:
        entries = checked(list(map(parse_line, data.splitlines())))
        left_out_of(entries)
        for entry in entries:
            browse._columns(browse._row(entry))
            attributes_of(entry)
        select(entries, [b"memory"])
        plan_restore(opened, entries)

    def inside(dice: Random) -> bytes:
        rows = [*good]
        for _ in range(dice.choice((1, 1, 2))):
            at = dice.randrange(1, len(rows))
            fields = rows[at].rstrip(b"\n").split(b"\t")
            column = dice.randrange(len(fields))
            fields[column] = mutants.of_bytes(dice, [fields[column], *mutants.WORDS])
            rows[at] = b"\t".join(fields) + b"\n"
        return b"".join(rows)

    return Target([b"".join(good)], read, inside)


def _object_list(s: Specimens) -> Target:
    return Target([b"o/" + b"0f" * 32 + b"\n" + b"o/" + b"a0" * 32 + b"\n"], parse_object_list)


def _pack(s: Specimens) -> Target:
    keys = [s.kit.identity, s.backup.agent.hot]

    def read(data: bytes) -> None:
        refused(lambda: read_toc([data], keys, "p"))
        refused(lambda: list(open_pack(data, keys, "p")))
        for _ in open_damaged_pack(data, keys, "p"):
            pass

    draft = Draft()
    for content in (b"hello\n", b"", bytes(3000)):
        draft.take(hashlib.sha256(content).digest(), content)
    toc = b"".join(b"%b %d\n" % (digest.hex().encode(), length) for digest, length in draft.contents)
    table = tar_header(b"TOC", len(toc)) + toc + bytes(-len(toc) % 512)
    body = bytes(draft.view[: draft.end]) + bytes(1024)

    def inside(dice: Random) -> bytes:
        parts = [table, body]
        at = dice.randrange(2)
        parts[at] = mutants.of_bytes(dice, [parts[at]])
        if dice.random() < 0.2:
            return s.sealed(mutants.of_bytes(dice, [s.zipped(table) + s.zipped(body)]))
        return s.sealed(s.zipped(parts[0]), s.zipped(parts[1]))

    packs = sorted((s.backup.folder / "packs").iterdir(), key=lambda path: path.stat().st_size)
    return Target([packs[0].read_bytes(), s.sealed(s.zipped(table), s.zipped(body))], read, inside)


def _index(s: Specimens) -> Target:
    text = b"P " + b"ab" * 32 + b"\n" + b"cd" * 32 + b"\n"

    def read(data: bytes) -> None:
        name = f"index/{hashlib.sha256(data).hexdigest()}.age"
        read_index_file(lying(s, **{name: data}), name)

    def sealed(plain: bytes) -> bytes:
        return b"".join(age.seal([s.zipped(plain)], [s.backup.agent.hot.recipient]))

    return Target([sealed(text)], read, lambda dice: sealed(mutants.of_bytes(dice, [text])))


def _pack_lines(s: Specimens) -> Target:
    return Target(
        [(s.backup.folder / f"snapshots/{s.hot}.packs").read_bytes()], lambda data: parse_pack_lines(data, s.hot)
    )


def _cold(s: Specimens) -> Target:
    at, recipient = f"cold/{s.cold}.tar.zst.age", s.backup.agent.cold.recipient
    sealed = (s.backup.folder / at).read_bytes()
    plain = bytes(age.unseal(sealed, [s.backup.agent.cold]))
    tar = zstandard.ZstdDecompressor().decompressobj().decompress(plain)
    statement = s.statement(f"cold/{s.cold}.sig")

    def read(data: bytes) -> None:
        told = statement | {"sealed_sha256": hashlib.sha256(data).hexdigest()}
        read_archive(lying(s, **{at: data, f"cold/{s.cold}.sig": s.signed(told)}), s.cold, None, silent)

    def inside(dice: Random) -> bytes:
        if dice.random() < 0.2:
            return b"".join(age.seal([mutants.of_bytes(dice, [plain])], [recipient]))
        return b"".join(age.seal([s.zipped(_shorter(dice, tar))], [recipient]))

    return Target([sealed], read, inside)


def _shorter(dice: Random, tar: bytes) -> bytes:
    """A mutant of an archive, hit where its headers are, with checksums that hold."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        places = [member.offset for member in archive]
    at = dice.choice(places)
    header = mutants.of_bytes(dice, [tar[at : at + 512]])[:512].ljust(512, b"\0")
    total = sum(header[:148]) + sum(header[156:]) + 8 * 32
    header = header[:148] + b"%06o\0 " % total + header[156:]
    return tar[:at] + header + tar[at + 512 :]


def _tar(s: Specimens) -> Target:
    member = tarstream.Member(b"x" * 150, tarstream.FILE, size_bytes=5, xattrs={"user.a": b"b"})
    good = tarstream.headers(member) + b"hello" + tarstream.padding(5) + tarstream.END

    def read(data: bytes) -> None:
        for each in tarstream.read_members(io.BytesIO(data).read):
            for _ in each.content():
                pass

    return Target([good], read, lambda dice: _shorter(dice, good))


def _lease(s: Specimens) -> Target:
    body = {"host": "laptop", "boot": lease._boot_id(), "pid": 1, "expires_ns": str(10**19)}

    def read(data: bytes) -> None:
        now = lease.clock.now_ns()
        held = lease._content(data)
        if isinstance(held.get("expires_ns"), str) and held["expires_ns"] == body["expires_ns"]:
            held["expires_ns"] = str(now + 10**9)
        lease._alive(held, "laptop")

    return Target([canonical.dumps(body)], read, lambda dice: canonical.dumps(mutants.of_value(dice, body)))


def _pin(s: Specimens) -> Target:
    path = s.backup.root / "pin.json"
    body = {"sequence": 3, "head": s.hot}
    return Target(
        [canonical.dumps(body)],
        lambda _: pins.read_pin(path),
        lambda dice: canonical.dumps(mutants.of_value(dice, body)),
        at=path,
    )


BACKUP: dict[str, Making] = {
    "repository.json": _signed("repository.json", list_ids),
    "anchor": _signed("anchors/snapshots.json", _look_around),
    "signature": _signed("snapshots/{hot}.sig", _look_around),
    "cold signature": _signed("cold/{cold}.sig", _look_around),
    "snapshot head": _head,
    "manifest": _manifest,
    "object list": _object_list,
    "pack": _pack,
    "index": _index,
    "pack list": _pack_lines,
    "cold archive": _cold,
    "tar": _tar,
    "lease": _lease,
    "pin": _pin,
}
