"""Goal: a signed snapshot that means harm writes nothing outside of its target and does not eat the machine.

Method: a host that has the agent's key signs manifests with slips, doubles, links and absurd sizes, archives with
hostile members, packs that are bombs; after each restore the surroundings are as they were, and memory is bounded.
"""

from __future__ import annotations

import base64
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard
from broken.hostile import (
    ROOT,
    bomb,
    entry,
    folders_above,
    head_of,
    lines_of,
    member,
    plant_archive,
    plant_cold,
    plant_hot,
    workspace,
)
from hypothesis import given
from hypothesis import strategies as st
from made_backups import Place, tree_of, write

from antsmem.backup import tarstream
from antsmem.backup.manifest import checked, line, parse_line
from antsmem.backup.pack import open_damaged_pack, open_pack, read_toc
from antsmem.backup.replace import STAGING, finish_replacement
from antsmem.cli.commands.browse import _columns, _row
from antsmem.core import age, canonical
from antsmem.core.errors import AntsmemError, IntegrityError

DATA = b"payload\n"
GOOD = entry(b"f", b"good.md", data=b"good\n")
OUTSIDE = {
    "parent": [entry(b"f", b"../evil", data=DATA)],
    "parent below a folder": [entry(b"d", b"a"), entry(b"f", b"a/../../evil", data=DATA)],
    "folder named parent": [entry(b"d", b".."), entry(b"f", b"../evil", data=DATA)],
    "absolute": [entry(b"f", b"/tmp/evil", data=DATA)],
    "rooted name": [entry(b"f", b"/evil", data=DATA)],
    "dot": [entry(b"f", b"./evil", data=DATA)],
    "dot inside": [entry(b"d", b"a"), entry(b"f", b"a/./evil", data=DATA)],
    "empty part": [entry(b"d", b"a"), entry(b"f", b"a//evil", data=DATA)],
    "slash at the end": [entry(b"f", b"evil/", data=DATA)],
    "no name": [entry(b"f", b"", data=DATA)],
    "nul": [entry(b"f", b"evil\0", data=DATA)],
    "twice": [entry(b"f", b"evil", data=DATA), entry(b"f", b"evil", data=DATA)],
    "root twice": [ROOT],
    "no parent": [entry(b"f", b"missing/evil", data=DATA)],
    "parent is a link": [entry(b"l", b"a", link=b"/tmp"), entry(b"f", b"a/evil", data=DATA)],
    "parent is a link to a folder inside": [
        entry(b"d", b"d"), entry(b"l", b"a", link=b"d"), entry(b"f", b"a/evil", data=DATA),
    ],
    "parent is a file": [entry(b"f", b"a", data=DATA), entry(b"f", b"a/evil", data=DATA)],
    "parent was left out": [entry(b"x", b"a", link=b"secret"), entry(b"f", b"a/evil", data=DATA)],
    "link and folder of one name": [entry(b"l", b"a", link=b"/tmp"), entry(b"d", b"a")],
    "hard link to outside": [entry(b"h", b"evil", link=b"/etc/passwd")],
    "hard link upward": [entry(b"h", b"evil", link=b"../secret")],
    "hard link to a folder": [entry(b"d", b"d"), entry(b"h", b"evil", link=b"d")],
    "hard link to a link": [entry(b"l", b"l", link=b"/etc/passwd"), entry(b"h", b"evil", link=b"l")],
    "hard link to itself": [entry(b"h", b"evil", link=b"evil")],
}  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_reaches_outside_is_refused(place: Place, tmp_path: Path, name: str) -> None:
    manifest = lines_of([ROOT, GOOD, *OUTSIDE[name]])
    hot = plant_hot(place.repository(), manifest, [DATA, b"good\n"])
    members = b"".join(
        member(workspace(each.path), b"good\n" if each is GOOD else DATA)
        for each in (GOOD, *OUTSIDE[name])
        if each.is_file
    )
    cold = plant_cold(place.repository(), members, manifest)
    target = tmp_path / "deep" / "target"
    target.parent.mkdir()
    before = folders_above(target)
    for verb, snapshot in ((place.restore, hot), (place.thaw, cold)):
        with pytest.raises(IntegrityError):
            verb(snapshot, target)
        assert folders_above(target) == before
    assert place.check(keys=place.agent.kit()).problems


ABSURD = {
    "a file larger than its object": entry(b"f", b"a", data=DATA, size_bytes=1 << 60),
    "a file smaller than its object": entry(b"f", b"a", data=DATA, size_bytes=1),
    "a huge file without chunks": entry(b"C", b"a", data=b"", size_bytes=1 << 60),
    "a size beyond any number": entry(b"C", b"a", data=b"", size_bytes=1 << 90),
    "chunks that are not there": entry(b"c", b"a", data=b"o/" + b"ab" * 32 + b"\n", size_bytes=1),
    "a list that is none": entry(b"c", b"a", data=DATA, size_bytes=9),
    "an object that is not there": entry(b"f", b"a", digest=bytes(32), size_bytes=5),
}


@pytest.mark.parametrize("name", ABSURD)
def test_sizes_that_cannot_be_are_refused_before_the_disk_is_touched(
    place: Place, tmp_path: Path, name: str
) -> None:
    snapshot = plant_hot(place.repository(), lines_of([ROOT, GOOD, ABSURD[name]]), [DATA, b"good\n", b""])
    with pytest.raises(IntegrityError):
        place.restore(snapshot, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    saved = place.restore(snapshot, tmp_path / "saved", salvage=True)
    assert saved.damaged == ("a",) and os.listdir(tmp_path / "saved") == ["good.md"]


@pytest.mark.parametrize(
    "odd",
    [
        {"owner": (1 << 70, 1 << 70)}, {"owner": (-5, -5)}, {"mtime_ns": 1 << 90}, {"mtime_ns": -(1 << 90)},
        {"mode": 0o7777}, {"attributes": b"e30="}, {"path": b"n" * 300},
    ],
    ids=lambda odd: "-".join(map(str, odd)) + str(len(str(odd))),
)  # fmt: skip
@pytest.mark.parametrize("kind", [b"f", b"d", b"l", b"p"])
def test_metadata_that_no_file_system_takes_gives_a_warning_and_the_rest(
    place: Place, tmp_path: Path, odd: dict[str, Any], kind: bytes
) -> None:
    strange = entry(kind, b"strange", data=DATA if kind == b"f" else None)._replace(**odd)
    strange = strange._replace(link=b"where") if kind == b"l" else strange
    strange = strange if kind == b"f" else strange._replace(digest=b"", size_bytes=0)
    manifest = lines_of([ROOT, GOOD, strange])
    hot = plant_hot(place.repository(), manifest, [DATA, b"good\n"])
    members = member(workspace(b"good.md"), b"good\n")
    members += member(workspace(strange.path), DATA) if kind == b"f" else b""
    members += member(workspace(strange.path), b"", tarstream.FOLDER) if kind == b"d" else b""
    cold = plant_cold(place.repository(), members, manifest)
    for verb, snapshot, target in ((place.restore, hot, "hot"), (place.thaw, cold, "cold")):
        result = verb(snapshot, tmp_path / target)
        assert (tmp_path / target / "good.md").read_bytes() == b"good\n"
        made = tmp_path / target / os.fsdecode(strange.path)
        if "path" in odd:
            assert not result.complete
        elif "mtime_ns" in odd:
            assert result.complete is (made.lstat().st_mtime_ns == strange.mtime_ns)


def test_attributes_that_cannot_be_read_are_refused(place: Place, tmp_path: Path) -> None:
    for text in (b"x", b"ey", "ü".encode(), b"eyJ4Ijo="):
        manifest = lines_of([ROOT, entry(b"f", b"a", data=DATA, attributes=text)])
        hot = plant_hot(place.repository(), manifest, [DATA])
        cold = plant_cold(place.repository(), member(workspace(b"a"), DATA), manifest)
        for verb, snapshot in ((place.restore, hot), (place.thaw, cold)):
            with pytest.raises(IntegrityError):
                verb(snapshot, tmp_path / "target")
            assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("value", ["7", '"AA=="', "[]", "null"])
def test_an_extended_attribute_that_is_none_gives_a_warning(place: Place, tmp_path: Path, value: str) -> None:
    text = base64.b64encode(b'{"xattr":{"user.a":%b,"user.b\\u0000":"AA=="}}' % value.encode())
    manifest = lines_of([ROOT, entry(b"f", b"a", data=DATA, attributes=text)])
    snapshot = plant_hot(place.repository(), manifest, [DATA])
    result = place.restore(snapshot, tmp_path / "target")
    assert (tmp_path / "target/a").read_bytes() == DATA and result.warnings


def test_a_path_left_out_for_a_reason_that_is_no_text_is_shown(place: Place, tmp_path: Path) -> None:
    odd = entry(b"x", b"a", link=b"\xff\x9b2J", mtime_ns=1 << 90)
    snapshot = plant_hot(place.repository(), lines_of([ROOT, odd]))
    ((path, why),) = place.restore(snapshot, tmp_path / "target").left_out
    assert path == "a" and why.isprintable()
    assert _columns(_row(odd))[2].startswith("9999")


def test_a_link_to_what_cannot_be_named_is_refused(place: Place, tmp_path: Path) -> None:
    odd = entry(b"l", b"a", link=b"to\0nowhere")
    snapshot = plant_hot(place.repository(), lines_of([ROOT, odd]))
    with pytest.raises(IntegrityError, match="no file system can name"):
        place.restore(snapshot, tmp_path / "target")


NO_LINES = (
    b"f",
    b"",
    b"\t" * 9,
    b"z\t644\t0:0\t0\t0\t-\tpath",
    b"f\t9\t0:0\t0\t0\t-\tp",
    b"f\t644\t0:0\t0\t-1\t" + b"00" * 32 + b"\tp",
    b"f\t644\t0\t0\t0\t" + b"00" * 32 + b"\tp",
    b"f\t644\t0:0\tx\t0\t" + b"00" * 32 + b"\tp",
    b"f\t644\t0:0\t" + b"9" * 5000 + b"\t0\t" + b"00" * 32 + b"\tp",
)


@pytest.mark.parametrize("text", NO_LINES, ids=lambda text: repr(text[:20]))
def test_a_malformed_manifest_line_is_refused(text: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_line(text)


@given(st.lists(st.tuples(st.sampled_from([b"d", b"f", b"l", b"h", b"x"]), st.binary(max_size=12)), max_size=12))
def test_whatever_a_manifest_names_it_is_refused_or_stays_inside(rows: list[tuple[bytes, bytes]]) -> None:
    entries = [ROOT, *(entry(kind, path, data=DATA if kind == b"f" else None) for kind, path in rows)]
    try:
        allowed = checked([parse_line(line(each)[:-1]) for each in entries])
    except IntegrityError:
        return
    for each in allowed[1:]:
        parts = each.path.split(b"/")
        assert not {b"", b".", b".."} & set(parts)
        assert os.path.normpath(os.path.join(b"/t", each.path)) == b"/t/" + each.path


MEMBERS = {
    "outside of the workspace": [member(b"evil", DATA)],
    "absolute": [member(b"/tmp/evil", DATA)],
    "upward": [member(b"workspace/../../evil", DATA)],
    "twice": [member(workspace(b"good.md"), b"longer than the second one\n")],
    "a file that is not in the manifest": [member(workspace(b"evil"), DATA)],
    "a folder upward": [member(b"workspace/../evil/", b"", tarstream.FOLDER)],
    "through a file": [member(workspace(b"good.md/evil"), DATA)],
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_cold_archive_with_members_of_its_own_is_refused(place: Place, tmp_path: Path, name: str) -> None:
    members = b"".join(MEMBERS[name]) + member(workspace(b"good.md"), b"good\n") + b"".join(MEMBERS[name])
    snapshot = plant_cold(place.repository(), members, lines_of([ROOT, GOOD]))
    target = tmp_path / "deep" / "target"
    target.parent.mkdir()
    before = folders_above(target)
    with pytest.raises(AntsmemError):
        place.thaw(snapshot, target)
    assert folders_above(target) == before


def test_of_two_members_of_one_name_neither_is_restored(place: Place, tmp_path: Path) -> None:
    """The second is what the manifest says; of the first something could be left."""
    members = member(workspace(b"good.md"), b"longer than good\n") + member(workspace(b"good.md"), b"good\n")
    snapshot = plant_cold(place.repository(), members, lines_of([ROOT, GOOD]))
    with pytest.raises(IntegrityError, match="twice"):
        place.thaw(snapshot, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("kind", [tarstream.SYMLINK, tarstream.HARD_LINK, tarstream.FIFO, b"3", b"4", b"g", b"S"])
def test_links_and_devices_of_an_archive_come_from_its_manifest_alone(
    place: Place, tmp_path: Path, kind: bytes
) -> None:
    members = member(workspace(b"evil"), b"", kind, b"/tmp") + member(workspace(b"good.md"), b"good\n")
    snapshot = plant_cold(place.repository(), members, lines_of([ROOT, GOOD]))
    place.thaw(snapshot, tmp_path / "target")
    assert os.listdir(tmp_path / "target") == ["good.md"]


def test_an_archive_that_is_cut_or_followed_by_something_is_refused(place: Place, tmp_path: Path) -> None:
    repository = place.repository()
    manifest = lines_of([ROOT, GOOD])
    whole = member(workspace(b"good.md"), b"good\n") + member(b"manifest.txt", manifest)
    head = head_of(repository, "cold", bytes(32), 2)
    for plain in (
        b"", whole[:600], whole[:1300], whole, bytes(1024), os.urandom(2048),
        member(b"manifest.txt", manifest) * 2 + bytes(1024),
    ):  # fmt: skip
        snapshot = plant_archive(repository, head, zstandard.compress(plain))
        with pytest.raises(IntegrityError):
            place.thaw(snapshot, tmp_path / "target")
    for compressed in (b"", b"not zstd", zstandard.compress(whole)[:-5]):
        snapshot = plant_archive(repository, head, compressed)
        with pytest.raises(IntegrityError):
            place.thaw(snapshot, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No more than 300 MB beyond what is in use: a bomb of half a gigabyte is felt."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_pack_that_is_a_bomb_is_refused_in_bounded_memory(place: Place, little_memory: None) -> None:
    """Anybody who knows the recipient can put one there, and a pack list that names it is not signed."""
    for plain in (
        bomb(1 << 29),
        zstandard.compress(b"") + bomb(1 << 29),
        zstandard.compress(bytes(1 << 20)) + zstandard.compress(bytes(80 << 20)),
    ):
        sealed = b"".join(age.seal([plain], [place.agent.hot.recipient]))
        with pytest.raises(IntegrityError):
            list(open_pack(sealed, [place.agent.hot], "x"))
        with pytest.raises(IntegrityError):
            read_toc([sealed], [place.agent.hot], "x")
        with suppress(IntegrityError):
            assert list(open_damaged_pack(sealed, [place.agent.hot], "x")) == []


def test_an_archive_that_is_a_bomb_of_headers_is_refused_in_bounded_memory(
    place: Place, tmp_path: Path, little_memory: None
) -> None:
    """A pax header or a long name that claims a gigabyte is skipped or refused, never held."""
    repository = place.repository()
    for kind in (b"x", b"L", b"K"):
        head = head_of(repository, "cold", bytes(32), 2)
        header = tarstream.headers(tarstream.Member(b"././@LongLink", kind, size_bytes=1 << 29))
        snapshot = plant_archive(repository, head, zstandard.compress(header) + bomb(1 << 29))
        with pytest.raises(IntegrityError):
            place.thaw(snapshot, tmp_path / "target")


@pytest.mark.parametrize("size", [b"-0000000512", b"-0000000001", b"77777777777", b"           ", b"zzzzzzzzzzz"])
def test_object_headers_that_lie_about_their_size_end_the_reading(place: Place, size: bytes) -> None:
    from antsmem.backup.pack import tar_header, tar_members

    header = tar_header(b"o/" + b"00" * 32, 512)
    tar = header[:124] + size + header[135:] + bytes(512) + bytes(1024)
    with pytest.raises(IntegrityError):
        list(tar_members(tar, "x"))


PLANS = {
    "away": {"away": ["../outside"]},
    "place": {"place": ["../outside"]},
    "kept": {"kept": "../outside"},
    "kept elsewhere": {"kept": "notes"},
    "folder": {"folders": [["../outside", 0o700, "0", 0, 0]]},
    "absolute": {"away": ["/outside"]},
    "odd": {"folders": [["a"]]},
    "none": {"schema": "antsmem.other/1"},
}


@pytest.mark.parametrize("name", PLANS)
def test_a_workspace_that_brings_its_own_restore_plan_moves_nothing_outside(place: Place, name: str) -> None:
    """An adopted workspace may hold anything, also a plan that claims to be an unfinished restore."""
    outside = write(place.root / "outside", "mine\n")
    plan = {
        "schema": "antsmem.replace/1", "snapshot": "x", "kept": ".antsmem/replaced/x", "away": [], "folders": [],
        "place": [], **PLANS[name],
    }  # fmt: skip
    write(place.workspace / STAGING / "plan.json", canonical.dumps(plan))
    write(place.workspace / STAGING / "new/outside", "theirs\n")
    before = tree_of(place.root)
    with pytest.raises(IntegrityError, match="is not a restore plan"):
        finish_replacement(place.workspace)
    assert tree_of(place.root) == before and outside.read_text() == "mine\n"


def test_the_staging_of_a_restore_that_was_not_committed_is_cleared_away(place: Place) -> None:
    write(place.workspace / STAGING / "new/half.md", "half\n")
    assert finish_replacement(place.workspace) is False
    assert not (place.workspace / STAGING).exists()
