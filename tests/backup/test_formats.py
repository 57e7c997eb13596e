"""Goal: what is written is what stock programs read: sha256sum, age, zstd and tar; and names survive any writing.

Method: properties of the escapes and the manifest's lines; archives read by Python's tarfile and by GNU tar; packs
taken apart with the programs of the README alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from made_backups import Place, tree_of, write

from antsmem.backup import tarstream
from antsmem.backup.cache import file_record, key_of, line_of, read_again, size_of
from antsmem.backup.manifest import (
    ROOT,
    Entry,
    escape,
    line,
    object_list,
    parse_line,
    parse_object_list,
    read_manifest,
    segments,
    unescape,
    with_folders,
)
from antsmem.backup.pack import Draft, open_pack, open_pack_for, read_toc, seal_pack
from antsmem.backup.restore import select
from antsmem.backup.snapshot import new_id, pack_lines, parse_pack_lines, time_of
from antsmem.backup.store import is_part, only_parts
from antsmem.core import age
from antsmem.core.age import X25519Identity
from antsmem.core.errors import IntegrityError, UsageError

names = st.binary(min_size=1, max_size=40) | st.text(min_size=1, max_size=20).map(
    lambda text: text.encode(errors="replace")
)
TOOLS = [program for program in ("age", "zstd", "tar", "sha256sum") if shutil.which(program) is None]
needs_tools = pytest.mark.skipif(bool(TOOLS), reason=f"not installed: {', '.join(TOOLS)}")


@given(names)
def test_any_name_comes_back_from_its_escape_which_is_one_printable_line(name: bytes) -> None:
    text = escape(name)
    assert unescape(text) == name
    assert text.decode() and not set(text) & {*range(32), 127}
    printed = (
        subprocess.run(["printf", "%b", text], capture_output=True, check=False) if b"\0" not in name else None
    )
    assert printed is None or printed.stdout == name or len(name) > 30


@given(
    st.sampled_from([b"d", b"f", b"c", b"C", b"l", b"h", b"p", b"s", b"b", b"x"]),
    st.integers(0, 0o7777),
    st.tuples(st.integers(0, 1 << 32), st.integers(0, 1 << 32)),
    st.integers(-(1 << 80), 1 << 80),
    st.integers(0, 1 << 70),
    names,
    names,
)
def test_any_entry_comes_back_from_its_line(
    kind: bytes, mode: int, owner: tuple[int, int], mtime: int, size: int, link: bytes, path: bytes
) -> None:
    held = kind in {b"f", b"c", b"C"}
    entry = Entry(
        kind,
        mode,
        owner,
        mtime,
        size,
        blake3(path).digest() if held else b"",
        link if kind in {b"l", b"h", b"x"} else b"",
        path,
    )
    text = line(entry)
    assert text.count(b"\n") == 1 and text.endswith(b"\n")
    assert parse_line(text[:-1]) == entry


@given(st.lists(names, max_size=200))
def test_segments_lose_nothing_and_an_edit_changes_at_most_two(found: list[bytes]) -> None:
    rows = [(name, b"%d %b\n" % (number, escape(name))) for number, name in enumerate(found)]
    parts = list(segments(rows))
    assert b"".join(parts) == b"".join(text for _, text in rows)
    if rows:
        at = len(rows) // 2
        edited = [*rows[:at], (rows[at][0], b"edited\n"), *rows[at + 1 :]]
        assert sum(one not in parts for one in segments(edited)) <= 1


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=20))
def test_object_lists_come_back(digests: list[bytes]) -> None:
    assert parse_object_list(object_list(digests)) == digests


@pytest.mark.parametrize("text", [b"o/zz\n", b"x", b"o/" + b"\xff" * 64])
def test_a_malformed_object_list_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_object_list(text)


@given(st.lists(st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=9, unique=True))
def test_pack_lists_come_back_sorted(packs: list[str]) -> None:
    assert parse_pack_lines(pack_lines(packs), "x") == sorted(packs)


@pytest.mark.parametrize("change", [
    lambda text: text[:-1], lambda text: text * 2, lambda text: b"\n" + text, lambda text: text.upper(),
    lambda text: text.replace(b"  ", b" "), lambda text: b"".join(reversed(text.splitlines(keepends=True))),
])  # fmt: skip
def test_a_damaged_pack_list_is_refused(change: object) -> None:
    text = pack_lines(["ab" * 32, "cd" * 32])
    with pytest.raises(IntegrityError):
        parse_pack_lines(change(text), "x")  # type: ignore[operator]


@given(st.integers(0, 4_000_000_000_000))
def test_an_id_tells_its_time_to_the_millisecond_and_sorts_by_it(milliseconds: int) -> None:
    assert time_of(new_id(milliseconds * 1_000_000)) == milliseconds * 1_000_000
    assert new_id(milliseconds * 1_000_000) < new_id((milliseconds + 1) * 1_000_000)


@pytest.mark.parametrize("text", ["", "latest", "20261120T112331.123Z-zzzzzzzz", "20261120T112331.123Z-01234567 "])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        time_of(text)


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=12, unique=True), st.integers(1, 9))
def test_a_pack_gives_its_objects_back_and_its_table_of_contents(objects: list[bytes], level: int) -> None:
    identity = X25519Identity.generate()
    draft = Draft()
    for data in objects:
        draft.take(blake3(data).digest(), data)
    pack = seal_pack(draft, level, [identity.recipient])
    sealed = b"".join(pack.parts)
    assert pack.name == hashlib.sha256(sealed).hexdigest()
    assert [bytes(data) for _, data in open_pack(sealed, [identity], pack.name)] == objects
    assert read_toc([sealed], [identity], "x") == [(blake3(data).digest(), len(data)) for data in objects]
    for count, wanted in enumerate(objects, 1):  # read no further than to the last one wanted
        some = open_pack_for({blake3(wanted).digest()}, [sealed], [identity], pack.name)
        assert [bytes(data) for _, data in some] == objects[:count]


TIMES = st.integers(-(1 << 63), 1 << 70)
ATTRIBUTES = st.sampled_from([b"", b"eyJzcGFyc2UiOnRydWV9"])


@given(names, TIMES, TIMES, st.integers(0, (1 << 64) - 1), st.integers(0, 0o7777), ATTRIBUTES)
def test_the_line_of_a_file_comes_back_from_the_cache(
    path: bytes, mtime: int, ctime: int, size: int, mode: int, attributes: bytes
) -> None:
    digest = blake3(path).digest()
    status = SimpleNamespace(
        st_mtime_ns=mtime, st_size=3, st_ino=size, st_ctime_ns=ctime, st_mode=mode | stat.S_IFREG
    )
    entry = Entry(b"f", mode, (1000, 1 << 31), mtime, size, digest, b"", path, attributes)
    key = key_of(status)  # type: ignore[arg-type]
    made = file_record(entry, key, digest)
    assert line_of(path, made) == line(entry)
    assert size_of(made) == size
    assert (made[0] == key) is (size == 3), "one that changed while it was read is read again"
    assert read_again(key) != key or not ctime & ((1 << 64) - 1)


FEW_NAMES = st.sampled_from([b"a", b"ab", b"b", b"\xc3\xa4", b"\xff", b"a\tb", b"n\\", b"-"])
PATHS = st.lists(st.lists(FEW_NAMES, min_size=1, max_size=3).map(b"/".join), max_size=12)


@given(PATHS, PATHS, st.data())
def test_reading_what_concerns_a_few_paths_selects_what_reading_all_does(
    files: list[bytes], asked: list[bytes], data: st.DataObject
) -> None:
    folders = {above for path in files for above in with_folders(path)[:-1]}
    listed = {folder: Entry(b"d", 0o700, (0, 0), 0, 0, b"", b"", folder) for folder in (ROOT, *folders)}
    for path in files:
        held = Entry(b"f", 0o600, (0, 0), 1, 5, blake3(path).digest(), b"", path, data.draw(ATTRIBUTES))
        targets = [path for path, entry in listed.items() if entry.kind == b"f"]
        if targets and data.draw(st.booleans()):
            held = Entry(b"h", 0o600, (0, 0), 1, 0, b"", data.draw(st.sampled_from(targets)), path)
        listed.setdefault(path, held)
    lines = [line(listed[path]) for path in sorted(listed, key=lambda path: (path != ROOT, path))]
    parts = {blake3(text).digest(): text for text in lines}
    parts[b"root"] = object_list(blake3(text).digest() for text in lines)
    wanted = [path for path in asked if path in listed]
    everything = read_manifest(b"root", parts.__getitem__, len(lines))
    some = read_manifest(b"root", parts.__getitem__, len(lines), wanted)
    assert select(some, wanted) == select(everything, wanted)
    assert not wanted or len(some) <= len(everything)


MEMBERS = [
    tarstream.Member(b"plain", tarstream.FILE, 0o640, (1000, 100), 1_700_000_000_123_456_789, 5),
    tarstream.Member(b"d" * 90 + b"/" + b"n" * 255, tarstream.FILE, 0o600, (0, 0), -1_500_000_000, 0),
    tarstream.Member(
        b"not-utf8-\xff\xfe", tarstream.FILE, 0o4755, (4_000_000_000, 7), 10_413_792_000_000_000_001, 0
    ),
    tarstream.Member(b"link", tarstream.SYMLINK, 0o777, link=b"\xe4\xb8" * 70),
    tarstream.Member(b"folder/", tarstream.FOLDER, 0o1777, mtime_ns=0),
    tarstream.Member(b"fifo", tarstream.FIFO, 0o600),
    tarstream.Member(b"huge", tarstream.FILE, size_bytes=1 << 36),
    tarstream.Member(b"attributes", tarstream.FILE, xattrs={"user.a": b"\x00\xff" * 60, "user.b": b""}),
]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: repr(member.name[:20]))
def test_headers_are_read_by_tarfile_as_they_were_meant(member: tarstream.Member) -> None:
    stream = io.BytesIO(tarstream.headers(member) + bytes(8192))
    with tarfile.open(fileobj=stream, errors="surrogateescape") as archive:
        found = archive.next()
    assert found is not None
    assert os.fsencode(found.name) == member.name.rstrip(b"/") and os.fsencode(found.linkname) == member.link
    assert (found.mode, found.uid, found.gid, found.size) == (member.mode, *member.owner, member.size_bytes)
    assert abs(found.mtime - member.mtime_ns / 1e9) < 0.001
    for name, value in member.xattrs.items():
        assert (
            found.pax_headers[f"SCHILY.xattr.{name}"].encode(errors="surrogateescape") == value or b"\xff" in value
        )


@given(st.lists(st.tuples(names, st.binary(max_size=2000)), max_size=6))
def test_an_archive_comes_back_from_our_own_reader(files: list[tuple[bytes, bytes]]) -> None:
    files = [(name.replace(b"\0", b"0"), data) for name, data in files]
    parts = []
    for name, data in files:
        parts += [
            tarstream.headers(tarstream.Member(name, tarstream.FILE, size_bytes=len(data), link=name * 5)),
            data,
        ]
        parts.append(tarstream.padding(len(data)))
    stream = io.BytesIO(b"".join(parts) + tarstream.END)
    found = [(member.name, b"".join(member.content())) for member in tarstream.read_members(stream.read)]
    assert found == files


@needs_tools
def test_a_cold_archive_is_unpacked_by_age_zstd_and_tar_alone(place: Place, tmp_path: Path) -> None:
    import corpora

    corpora.odd_zoo(place.workspace, 1 << 20)
    snapshot = place.back_up("cold").snapshot
    (tmp_path / "key").write_text(place.agent.cold.secret() + "\n")
    archive = place.folder / f"cold/{snapshot}.tar.zst.age"
    (tmp_path / "out").mkdir()
    script = 'age -d -i "$1" "$2" | zstd -dc | tar -xp --xattrs --delay-directory-restore -C "$3"'
    subprocess.run(["sh", "-c", script, "sh", tmp_path / "key", archive, tmp_path / "out"], check=True)
    before = {path: what for path, what in tree_of(place.workspace).items() if path != b"unix-socket"}
    assert tree_of(tmp_path / "out/workspace") == before
    assert (tmp_path / "out/manifest.txt").exists() and (tmp_path / "out/snapshot.json").exists()


@needs_tools
def test_packs_are_taken_apart_by_sha256sum_age_zstd_and_tar_alone(place: Place, tmp_path: Path) -> None:
    data = write(place.workspace / "a.md", "found by its digest\n").read_bytes()
    snapshot = place.back_up().snapshot
    checked = subprocess.run(
        ["sha256sum", "-c", f"snapshots/{snapshot}.packs"], cwd=place.folder, capture_output=True, check=True
    )
    assert checked.stdout.endswith(b": OK\n")
    (tmp_path / "key").write_text(place.agent.hot.secret() + "\n")
    (pack,) = place.files("packs")
    script = 'age -d -i "$1" "$2" | zstd -dc | tar -xi -C "$3"'
    subprocess.run(["sh", "-c", script, "sh", tmp_path / "key", pack, tmp_path], check=True)
    assert (tmp_path / "o" / blake3(data).hexdigest()).read_bytes() == data
    assert len((tmp_path / "TOC").read_text().splitlines()) == len(list((tmp_path / "o").iterdir()))


def test_a_head_is_sealed_canonical_json(place: Place) -> None:
    import json

    write(place.workspace / "a.md")
    snapshot = place.back_up().snapshot
    sealed = (place.folder / f"snapshots/{snapshot}.age").read_bytes()
    head = json.loads(zstandard.decompress(bytes(age.unseal(sealed, [place.agent.hot]))))
    assert head["schema"] == "antsmem.snapshot/1" and head["id"] == snapshot and head["files"] == 1


@given(st.lists(st.one_of(st.from_regex(r"[A-Za-z0-9._\-/\n ]{0,6}", fullmatch=True), st.text(max_size=4))))
def test_many_names_are_judged_as_each_of_them(names: list[str]) -> None:
    assert only_parts(names) == [name for name in names if is_part(name)]
