"""Goal: a secret never leaves the host in a backup, unless a person said that this one may stay in this file.

Method: secrets put together at run time stand in files, names, links and attributes; the store records all that it
is ever given, which is then unsealed and searched, byte for byte and in every object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from corpora import secret
from made_backups import FINGERPRINT_KEY, Place, aged, write

from antsmem.core import age, clock
from antsmem.core.disk import Buffer
from antsmem.core.errors import CannotUnlockError, LeakError
from antsmem.drivers.file import FileStore
from antsmem.identity.ledger import Ledger, extended
from antsmem.identity.scanner import Scanner
from antsmem.identity.waivers import waivers_of

DAY_NS = 86_400_000_000_000
TOKEN = secret("gh", "p_", "q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi")
KNOWN = secret("correct", "-horse-", "battery", "-staple-4711")


LETTERS = b"abcdefghijklmnopqrstuvwxyz0123456789#$%&()*+,.;<>?[]^_{|}~! "
"""None of those that make a URL with a password, or a token of a vendor, by chance."""


def noise(size: int) -> str:
    """Text that hardly compresses, so that it leaves as it comes."""
    return os.urandom(size).translate(bytes(LETTERS[byte % len(LETTERS)] for byte in range(256))).decode()


class Recording(FileStore):
    """A folder that remembers every byte it was ever given, also what was taken back later."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.given: list[tuple[str, bytes]] = []

    def put(self, name: str, parts: Sequence[Buffer], **how: Any) -> None:
        self.given.append((name, b"".join(parts)))
        super().put(name, parts, **how)

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        held: list[Buffer] = []

        def passing() -> Iterator[Buffer]:
            for chunk in chunks:
                held.append(bytes(chunk))
                yield chunk

        try:
            super().upload(name, passing())
        finally:
            self.given.append((name, b"".join(held)))


def plain_text(place: Place, store: Recording) -> bytes:
    """All that `store` was given, unsealed and decompressed as far as it goes."""
    found = []
    for _, data in store.given:
        plain = bytearray()
        try:
            for piece in age.unseal_stream([data], [place.agent.hot, place.agent.cold]):
                plain += piece
        except (age.AgeFileError, CannotUnlockError):
            plain = plain or bytearray(data)
        found.append(bytes(plain))
        while plain:
            frame = zstandard.ZstdDecompressor().decompressobj()
            try:
                found.append(frame.decompress(bytes(plain)))
            except zstandard.ZstdError:
                break
            plain = bytearray(frame.unused_data)
    return b"\n".join(found)


@pytest.fixture
def guarded(place: Place) -> Place:
    """An agent with one secret in its keystore, and a harmless file."""
    place.known = [("mail", KNOWN.encode())]
    write(place.workspace / "notes.md", "harmless\n")
    return place


@pytest.mark.parametrize("tier", ["hot", "cold"])
@pytest.mark.parametrize(
    ("name", "content", "line", "rule"),
    [
        ("notes/setup.md", f"# Setup\n\nuse {TOKEN} here\n", 3, "github-token"),
        ("notes/mail.md", f"one\npassword: {KNOWN}\n", 2, "known:mail"),
        ("big.log", "", 2, "known:mail"),
    ],
    ids=["pattern", "keystore value", "large file"],
)
def test_a_secret_in_a_file_refuses_the_backup_and_names_file_and_line(
    guarded: Place, tier: str, name: str, content: str, line: int, rule: str
) -> None:
    write(guarded.workspace / name, content or f"{noise(9 << 20)}\n{KNOWN}\n{noise(9 << 20)}")
    store = Recording(str(guarded.folder))
    with pytest.raises(LeakError) as refused:
        guarded.back_up(tier, store=store)
    assert f"`{name}:{line}` {rule} " in str(refused.value)
    assert f"antsmem waive {name}:{line}" in refused.value.hint
    for text in (str(refused.value), refused.value.hint):
        assert TOKEN not in text and KNOWN not in text
    given = plain_text(guarded, store)
    assert TOKEN.encode() not in given and KNOWN.encode() not in given
    for folder in ("packs", "snapshots", "cold"):
        assert guarded.files(folder) == []
    assert guarded.state().ids == () and guarded.check().problems == []


def test_the_control_finds_a_word_of_a_file_in_what_the_store_was_given(guarded: Place) -> None:
    for tier in ("hot", "cold"):
        store = Recording(str(guarded.folder))
        guarded.back_up(tier, store=store)
        assert b"harmless" in plain_text(guarded, store)


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_secrets_in_names_links_and_attributes_are_found_too(guarded: Place, tier: str) -> None:
    path = write(guarded.workspace / "a.md")
    ways = [
        lambda: write(guarded.workspace / f"{KNOWN}.md"),
        (guarded.workspace / f"folder {KNOWN}").mkdir,
        lambda: os.symlink(f"https://user:{KNOWN}@example.org/", guarded.workspace / "link"),
        lambda: os.setxattr(path, "user.password", KNOWN.encode()),
    ]
    for number, way in enumerate(ways):
        before = set(guarded.workspace.iterdir())
        way()
        with pytest.raises(LeakError, match=r"in: `(the manifest|a\.md):"):
            guarded.back_up(tier)
        for made in set(guarded.workspace.iterdir()) - before:
            made.rmdir() if made.is_dir() and not made.is_symlink() else made.unlink()
        if number == len(ways) - 1:
            os.removexattr(path, "user.password")
    assert guarded.back_up(tier).complete


def test_files_of_secrets_are_left_out_and_their_content_never_read(guarded: Place) -> None:
    write(guarded.workspace / ".env", f"TOKEN={TOKEN}\n")
    write(guarded.workspace / "deep/my.env.bak", f"TOKEN={TOKEN}\n")
    write(guarded.workspace / "keys/relay.pem", KNOWN)
    write(guarded.workspace / ".antsmem/keystore/keystore.age", KNOWN)
    for tier in ("hot", "cold"):
        store = Recording(str(guarded.folder))
        result = guarded.back_up(tier, store=store)
        assert result.complete and result.left_out == {"secret": 4}
        given = plain_text(guarded, store)
        assert TOKEN.encode() not in given and KNOWN.encode() not in given
        assert b"relay.pem" in given, "the name is recorded"


def test_every_secret_is_named_at_once(guarded: Place) -> None:
    for number in range(12):
        write(guarded.workspace / f"{number:02d}.md", f"{KNOWN}\n")
    with pytest.raises(LeakError) as refused:
        guarded.back_up()
    assert all(f"`{number:02d}.md:1`" in str(refused.value) for number in range(10))
    assert "and 2 more" in str(refused.value)


def waive(place: Place, name: str, days: float, now_ns: int) -> Ledger:
    """A ledger with what `antsmem waive` records for the first finding in a file."""
    path = place.workspace / name
    finding = Scanner(place.known, fingerprint_key=FINGERPRINT_KEY).scan(path.read_bytes())[0]
    row = {
        "op": "waive",
        "path": name,
        "rule": finding.rule,
        "fingerprint": finding.fingerprint.hex(),
        "expires": clock.utc_text(now_ns + int(days * DAY_NS)),
        "reason": "an example",
    }
    return extended(Ledger(place.agent.scid, FINGERPRINT_KEY), [row], place.agent.op_key, now_ns)


def load(place: Place, ledger: Ledger, now_ns: int) -> None:
    place.waivers = waivers_of(ledger.rows, now_ns)


@pytest.mark.parametrize("tier", ["hot", "cold"])
@pytest.mark.parametrize("size", [0, 9 << 20], ids=["small", "large"])
def test_a_waived_secret_is_stored_and_told_until_the_waiver_ends(guarded: Place, tier: str, size: int) -> None:
    now = clock.now_ns()
    aged(write(guarded.workspace / "example.md", " " * size + f"\n{KNOWN}\n"))
    with pytest.raises(LeakError):
        guarded.back_up(tier)
    ledger = waive(guarded, "example.md", 30, now)
    load(guarded, ledger, now)
    for _ in range(3):
        result = guarded.back_up(tier)
        assert result.complete
        assert [(leak.path, leak.line, leak.rule) for leak in result.waived] == [("example.md", 2, "known:mail")]
        assert KNOWN not in result.waived[0].shown
    load(guarded, ledger, now + 31 * DAY_NS)
    with pytest.raises(LeakError, match=r"`example\.md:2`"):
        guarded.back_up(tier)


def test_a_waiver_is_for_one_secret_in_one_file(guarded: Place) -> None:
    now = clock.now_ns()
    write(guarded.workspace / "example.md", f"{KNOWN}\n")
    load(guarded, waive(guarded, "example.md", 30, now), now)
    guarded.back_up()
    write(guarded.workspace / "copy.md", f"{KNOWN}\n")
    with pytest.raises(LeakError, match=r"`copy\.md:1`"):
        guarded.back_up()
    (guarded.workspace / "copy.md").unlink()
    write(guarded.workspace / "example.md", f"{KNOWN}\n{TOKEN}\n")
    with pytest.raises(LeakError, match=r"`example\.md:2` github-token"):
        guarded.back_up()


def test_a_value_that_becomes_a_secret_is_found_in_what_was_stored_long_ago(guarded: Place) -> None:
    """The file is unchanged and its bytes are stored already: a new secret in the keystore has all read again."""
    later = secret("harmless", "-until-", "today-123")
    aged(write(guarded.workspace / "old.md", f"{later}\n"))
    guarded.back_up()
    assert guarded.back_up().read_bytes == 9
    guarded.known = [*guarded.known, ("later", later.encode())]
    with pytest.raises(LeakError, match=r"`old\.md:1` known:later"):
        guarded.back_up()


def test_a_refused_backup_leaves_the_next_one_nothing_to_skip(guarded: Place, tmp_path: Path) -> None:
    """What was packed beside a secret and taken back must be packed again."""
    for number in range(30):
        write(guarded.workspace / f"{number}.md", f"{number}\n" * 50)
    bad = write(guarded.workspace / "bad.md", f"{KNOWN}\n")
    with pytest.raises(LeakError):
        guarded.back_up()
    bad.unlink()
    snapshot = guarded.back_up().snapshot
    guarded.restore(snapshot, tmp_path / "back")
    assert (tmp_path / "back/29.md").read_text() == "29\n" * 50
    assert guarded.check().problems == []
