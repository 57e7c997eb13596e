"""Goal: docs/spec/repository-v1.md says exactly what is written and read, so that another program can do both.

Method: every vector is taken from the page, read with the engine, and made again from what the page says; what is
sealed (never the same twice) is opened, with the engine and with nothing but the formats it is said to be made of.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
from zlib import crc32

import pytest
import zstandard
from blake3 import blake3
from program import DOCS

from antsmem.backup import repository as repo
from antsmem.backup.manifest import Entry, checked, line, object_list, parse_line, parse_object_list, segments
from antsmem.backup.pack import decompress, open_pack, read_toc
from antsmem.backup.snapshot import Head
from antsmem.core import canonical
from antsmem.core.age import X25519Identity, unseal
from antsmem.core.errors import IntegrityError
from antsmem.identity.signing import SigningKey
from antsmem.identity.statement import open_statement, sign_statement

PAGE = (DOCS / "spec" / "repository-v1.md").read_text("utf-8")
OP_KEY = SigningKey(b"\x11" * 32)
HOT, COLD = X25519Identity(b"\x44" * 32), X25519Identity(b"\x45" * 32)
HELLO = b"hello\n"
LIST = object_list([blake3(HELLO).digest()] * 2)


def vector(name: str) -> str:
    (found,) = re.findall(rf"^```vector:{name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def sealed(name: str) -> bytes:
    return base64.b64decode(vector(name))


@pytest.mark.parametrize("name", ["repository", "signature", "anchor"])
def test_a_statement_vector_is_what_its_key_signs(name: str) -> None:
    data = vector(name).encode()
    body = open_statement(data, f"antsmem.{name}/1", [OP_KEY.public], name)
    unsigned = {member: value for member, value in body.items() if member != "key"}
    assert sign_statement(unsigned, OP_KEY) == data


@pytest.mark.parametrize("name", ["repository", "signature", "anchor"])
def test_a_statement_vector_with_one_letter_changed_is_refused(name: str) -> None:
    changed = re.sub(r'(:"[^"]*)[0-9]', r"\g<1>x", vector(name), count=1).encode()
    with pytest.raises(IntegrityError):
        open_statement(changed, f"antsmem.{name}/1", [OP_KEY.public], name)


def test_the_pack_vector_holds() -> None:
    data, name = sealed("pack"), hashlib.sha256(sealed("pack")).hexdigest()
    objects = {digest: bytes(content) for digest, content in open_pack(data, [HOT], name)}
    assert objects == {blake3(HELLO).digest(): HELLO, blake3(LIST).digest(): LIST}
    assert read_toc([data], [HOT], name) == [(digest, len(content)) for digest, content in objects.items()]
    assert vector("objects").split() == [digest.hex() for digest in objects]


def test_the_pack_vector_is_one_tar_archive_of_two_frames() -> None:
    plain = bytes(unseal(sealed("pack"), [HOT]))
    first = zstandard.ZstdDecompressor().decompressobj()
    tar = first.decompress(plain)
    assert first.eof and len(tar) % 512 == 0 and first.unused_data
    tar += zstandard.ZstdDecompressor().decompress(first.unused_data)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = {item.name: archive.extractfile(item).read() for item in archive}  # type: ignore[union-attr]
        assert {(item.mode, item.mtime, item.uid, item.type) for item in archive} == {(0o644, 0, 0, b"0")}
    toc = [f"{digest} {len(members[f'o/{digest}'])}" for digest in vector("objects").split()]
    assert members["TOC"].decode().splitlines() == toc
    assert tar.endswith(bytes(1024))


def test_the_manifest_vector_holds() -> None:
    entries = checked([parse_line(text) for text in vector("manifest").encode().splitlines()])
    assert b"".join(map(line, entries)).decode() == vector("manifest")
    by_kind = {entry.kind: entry for entry in entries}
    assert [entry.path for entry in entries][1:3] == [b"a.md", "köln\nlines".encode()]
    assert by_kind[b"l"].link == b"to\xff\\there" and by_kind[b"h"].link == b"a.md"
    assert by_kind[b"C"].mtime_ns == -1_230_000_000_123_456_789
    assert parse_object_list(LIST) == [blake3(HELLO).digest()] * 2
    attributes = canonical.loads(base64.b64decode(by_kind[b"C"].attributes), 1 << 10)
    assert attributes == {"sparse": True, "xattr": {"user.x": "AP8="}}
    assert (by_kind[b"x"].path, by_kind[b"x"].link) == (b".env", b"secret")


def test_the_segments_vector_holds() -> None:
    for row in vector("segments").splitlines():
        verdict, name = row.split()
        cut = list(segments([(name.encode(), b"1\n"), (b"MEMORY.md", b"2\n")]))
        assert cut == ([b"1\n", b"2\n"] if verdict == "end" else [b"1\n2\n"])
        assert (crc32(name.encode()) & 0b11111 == 0) is (verdict == "end")


def test_the_head_vector_holds() -> None:
    head = Head.from_json(canonical.loads(vector("head").encode(), 1 << 16))
    assert canonical.dumps(head.as_json()).decode() + "\n" == vector("head")
    signed = repo.signed_part(head, hashlib.sha256(b"sealed").hexdigest())
    assert sign_statement(signed, OP_KEY).decode() == vector("signature")
    table = PAGE[PAGE.index("| member of the head |") : PAGE.index("`sequence` grows")]
    rows = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(head.as_json())


def test_the_anchor_has_the_members_of_the_page() -> None:
    table = PAGE[PAGE.index("## 7.") : PAGE.index("## 8.")]
    rows = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) | {"schema", "key", "signature"} == set(
        json.loads(vector("anchor"))
    )


def test_the_index_vector_holds() -> None:
    text = decompress(unseal(sealed("index"), [HOT])).decode()
    assert text == vector("index-text")
    assert text.splitlines() == [f"P {hashlib.sha256(sealed('pack')).hexdigest()}", *vector("objects").split()]


def test_the_cold_vector_holds() -> None:
    plain = zstandard.ZstdDecompressor().decompress(bytes(unseal(sealed("cold"), [COLD])))
    with tarfile.open(fileobj=io.BytesIO(plain), format=tarfile.PAX_FORMAT) as archive:
        names = archive.getnames()
        content = {item.name: archive.extractfile(item).read() for item in archive if item.isreg()}  # type: ignore[union-attr]
        times = {item.pax_headers["mtime"] for item in archive}
    assert names == ["workspace", "workspace/a.md", "manifest.txt", "snapshot.json"]
    assert content["workspace/a.md"] == HELLO and times == {"1795188211.042000000"}
    assert content["manifest.txt"].decode() == vector("cold-manifest")
    head = Head.from_json(canonical.loads(content["snapshot.json"], 1 << 16))
    assert head.tier == "cold" and head.root == blake3(content["manifest.txt"]).digest()
    entries = checked([parse_line(text) for text in content["manifest.txt"].splitlines()])
    assert [entry.digest for entry in entries if entry.is_file] == [blake3(HELLO).digest()]


def test_a_sealed_vector_with_one_bit_changed_is_refused() -> None:
    for name, identity in (("pack", HOT), ("index", HOT), ("cold", COLD)):
        data = bytearray(sealed(name))
        data[-40] ^= 1
        with pytest.raises(IntegrityError):
            unseal(bytes(data), [identity])


def test_a_line_that_the_page_forbids_is_refused() -> None:
    root = Entry(b"d", 0o755, (0, 0), 0, 0, b"", b"", b".")
    for path in (b"/a", b"a/../b", b"./a", b"a//b", b"missing/a", b".."):
        with pytest.raises(IntegrityError):
            checked([root, Entry(b"f", 0o644, (0, 0), 0, 0, blake3(b"").digest(), b"", path)])


def test_the_layout_names_every_object_that_the_engine_writes() -> None:
    layout = PAGE[PAGE.index("## 1.") : PAGE.index("## 2.")]
    for name in ("repository.json", "README", repo.IDENTITY_LOG, repo.ANCHOR, repo.GARBAGE, "anchors/lease.json"):
        assert f"`{name}`" in layout


def test_every_vector_of_the_page_is_checked_here() -> None:
    named = set(re.findall(r"^```vector:(\S+)$", PAGE, re.MULTILINE))
    assert named == {
        "repository", "pack", "objects", "manifest", "segments", "head", "signature", "anchor", "index",
        "index-text", "cold", "cold-manifest",
    }  # fmt: skip
