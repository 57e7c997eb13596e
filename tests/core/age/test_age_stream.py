"""Goal: what was sealed comes back, in any chunking, with bounded memory; what was cut or changed does not.

Method: hypothesis over sizes around the 64 KiB chunk and over cuts; every truncation and every bit flip of a small
file, and of the places that matter in a large one; tracemalloc and counted reads for memory; controls that
switch a check off and must be noticed.
"""

import itertools
import os
import random
import sys
import threading
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antsmem.core import age
from antsmem.core.age import header, stream
from antsmem.core.age.source import Source
from antsmem.core.errors import CannotUnlockError, UsageError

CHUNK = 65536
IDENTITY = age.X25519Identity.generate()
RECIPIENT = IDENTITY.recipient

sizes = st.sampled_from([0, 1, 15, 17, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK])
cuts = st.lists(st.integers(0, 3 * CHUNK + 600), max_size=6)


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def sealed(plain: bytes, *recipients) -> bytes:
    return b"".join(age.seal([plain], recipients or [RECIPIENT]))


def cut(data: bytes, places: list[int]) -> list[memoryview]:
    """`data` in pieces, some of them empty."""
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [memoryview(data)[start:end] for start, end in itertools.pairwise(bounds)]


@given(sizes, cuts)
@settings(deadline=None, max_examples=60)
def test_what_was_sealed_in_any_chunking_comes_back(size, places):
    plain = content(size)
    for data in (b"".join(age.seal(cut(plain, places), [RECIPIENT])), sealed(plain)):
        assert age.unseal(data, [IDENTITY]) == plain
        assert b"".join(age.unseal_stream(cut(data, places), [IDENTITY])) == plain
    streamed = b"".join(age.seal_stream(iter(cut(plain, places)), [RECIPIENT]))
    assert len(streamed) == len(data)
    assert age.unseal(streamed, [IDENTITY]) == plain


@given(st.binary(max_size=300), cuts, st.lists(st.integers(0, 400), max_size=30))
@settings(deadline=None, max_examples=100)
def test_armored_text_in_any_chunking_comes_back(plain, places, more_places):
    text = age.armor(sealed(plain))
    assert b"".join(age.unseal_stream(cut(text, places + more_places), [IDENTITY])) == plain
    assert age.unseal(text, [IDENTITY]) == plain


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_buffer_is_taken(kind):
    data = sealed(b"hello")
    assert age.unseal(kind(data), [IDENTITY]) == b"hello"
    assert b"".join(age.unseal_stream([kind(data)], [IDENTITY])) == b"hello"
    assert age.unseal(b"".join(age.seal([kind(b"hel"), kind(b"lo")], [RECIPIENT])), [IDENTITY]) == b"hello"
    assert age.unseal(age.armor(kind(data)), [IDENTITY]) == b"hello"
    assert age.inspect(kind(data)) == age.inspect([kind(data)])


def test_a_view_of_wider_items_is_read_as_its_bytes():
    view = memoryview(bytes(range(8))).cast("I")
    assert age.unseal(b"".join(age.seal([view], [RECIPIENT])), [IDENTITY]) == bytes(range(8))


def test_each_seal_is_under_keys_of_its_own():
    assert len({sealed(b"same") for _ in range(100)}) == 100
    assert len({part for data in (sealed(b"same") for _ in range(100)) for part in [data[-20:]]}) == 100


def test_every_recipient_opens_it_and_nobody_else():
    identities = [age.X25519Identity.generate() for _ in range(3)]
    data = sealed(b"text", *(identity.recipient for identity in identities))
    assert age.inspect(data).kinds == ("X25519",) * 3
    for identity in identities:
        assert age.unseal(data, [IDENTITY, identity]) == b"text"
    for strangers in ([], [IDENTITY], [age.HybridIdentity.generate(), age.ScryptIdentity("no")]):
        with pytest.raises(CannotUnlockError, match=f"the {len(strangers)} at hand"):
            age.unseal(data, strangers)


def test_hybrid_recipients_open_it_and_nobody_else():
    identities = [age.HybridIdentity.generate() for _ in range(2)]
    data = sealed(b"text", *(identity.recipient for identity in identities))
    assert age.inspect(data).kinds == ("mlkem768x25519",) * 2
    for identity in identities:
        assert age.unseal(data, [age.HybridIdentity.generate(), identity]) == b"text"
    with pytest.raises(CannotUnlockError):
        age.unseal(data, [age.HybridIdentity.generate()])


def test_recipients_that_would_weaken_each_other_are_refused_before_anything_is_read():
    def never():
        raise AssertionError("read")
        yield b""

    hybrid, passphrase = age.HybridIdentity.generate().recipient, age.ScryptRecipient("pass", 2)
    for mixed in (
        [],
        [RECIPIENT, hybrid],
        [RECIPIENT, passphrase],
        [passphrase, passphrase],
        [hybrid, passphrase],
    ):
        with pytest.raises(UsageError):
            age.seal_stream(never(), mixed)


def test_every_truncation_of_a_small_file_is_refused(cipher):
    data = sealed(b"a small secret")
    for size in range(len(data)):
        with pytest.raises(age.AgeFileError):
            age.unseal(data[:size], [IDENTITY])
    assert age.unseal(data, [IDENTITY]) == b"a small secret"


def test_every_flipped_bit_of_a_small_file_is_refused(cipher):
    data = sealed(b"a small secret", RECIPIENT, age.X25519Identity.generate().recipient)
    for bit in range(len(data) * 8):
        forged = bytearray(data)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((age.AgeFileError, CannotUnlockError)):
            age.unseal(forged, [IDENTITY])


def test_every_truncation_and_flipped_bit_of_armored_text_is_refused_or_changes_nothing():
    text = age.armor(sealed(b"a small secret"))
    for size in range(len(text) - 1):
        with pytest.raises(age.AgeFileError):
            age.unseal(text[:size], [IDENTITY])
    for bit in range((len(text) - 1) * 8):
        forged = bytearray(text)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((age.AgeFileError, CannotUnlockError)):
            age.unseal(forged, [IDENTITY])


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1])
def test_a_large_file_is_refused_when_chunks_are_missing_moved_or_added(size, cipher):
    data = sealed(content(size))
    start = len(data) - size - 16 * max(1, -(-size // CHUNK))
    head, chunks = data[:start], [data[at : at + CHUNK + 16] for at in range(start, len(data), CHUNK + 16)]
    others = [
        head + b"".join(chunks[:-1]),
        head + b"".join([*chunks, chunks[-1]]),
        head + b"".join(reversed(chunks)) if len(chunks) > 1 else head,
        head + b"".join(chunks[1:]),
        data + b"\0",
        data + bytes(CHUNK + 16),
        data[:-1],
        data[:-16],
        data[:-17],
        head + b"".join(chunks[:-1]) + chunks[-1][: len(chunks[-1]) // 2],
        sealed(content(size))[:start] + b"".join(chunks),
    ]
    for other in others:
        with pytest.raises(age.AgeFileError) as caught:
            age.unseal(other, [IDENTITY])
        assert caught.value.part == "payload"
    assert age.unseal(data, [IDENTITY]) == content(size)


def test_control_without_the_mark_of_the_last_chunk_a_cut_is_not_noticed(monkeypatch):
    monkeypatch.setattr(stream, "_nonce", lambda counter, *, last: (counter << 8).to_bytes(12, "big"))
    data = sealed(content(2 * CHUNK))
    assert age.unseal(data[: -CHUNK - 16], [IDENTITY]) == content(2 * CHUNK)[:CHUNK]


def test_control_without_the_mac_a_changed_header_is_not_noticed(monkeypatch):
    monkeypatch.setattr(header.Header, "is_authentic", lambda self, file_key: True)
    data = sealed(b"text", RECIPIENT, age.X25519Identity.generate().recipient)
    second = data.index(b"-> X25519 ", 40)
    dropped = data[:second] + data[data.index(b"---") :]
    assert age.unseal(dropped, [IDENTITY]) == b"text"
    monkeypatch.undo()
    with pytest.raises(age.AgeFileError, match="changed after the file was sealed"):
        age.unseal(dropped, [IDENTITY])


def test_a_failing_stream_released_only_what_was_sealed():
    plain = content(3 * CHUNK)
    data = bytearray(sealed(plain))
    data[-CHUNK - 20] ^= 1
    released = b""
    with pytest.raises(age.AgeFileError, match="chunk 1 is not what was sealed there"):
        for piece in age.unseal_stream([data], [IDENTITY]):
            released += piece
    assert released == plain[:CHUNK]


def counted(data: bytes, step: int, read: list[int]):
    for at in range(0, len(data), step):
        read.append(at)
        yield data[at : at + step]


@pytest.mark.parametrize("wrap", [bytes, age.armor])
def test_a_reader_of_the_beginning_reads_no_more_than_it_needs(wrap):
    data = wrap(sealed(content(CHUNK) + bytes(4 << 20)))
    read = []
    pieces = age.unseal_stream(counted(data, 1000, read), [IDENTITY])
    assert next(pieces) == content(CHUNK)
    assert len(read) * 1000 < 3 * CHUNK
    pieces.close()
    read.clear()
    age.inspect(counted(data, 10, read))
    assert len(read) * 10 < (400 if wrap is bytes else 2 * CHUNK)


def peak_of(work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def drain(pieces):
    for _ in pieces:
        pass


def test_streams_hold_little_memory_and_one_shots_one_copy():
    plain = bytes(8 << 20)
    data = sealed(plain)
    text = age.armor(data)
    views = [memoryview(data)[at : at + 100_000] for at in range(0, len(data), 100_000)]
    allowed = 2 << 20
    assert peak_of(lambda: drain(age.seal_stream([plain], [RECIPIENT]))) < allowed
    assert peak_of(lambda: drain(age.unseal_stream([data], [IDENTITY]))) < allowed
    assert peak_of(lambda: drain(age.unseal_stream(views, [IDENTITY]))) < allowed
    assert peak_of(lambda: drain(age.unseal_stream([text], [IDENTITY]))) < allowed
    assert peak_of(lambda: drain(age.rewrap([data], [IDENTITY], [RECIPIENT]))) < 2 * allowed
    assert peak_of(lambda: age.seal([plain], [RECIPIENT])) < len(data) + allowed
    assert peak_of(lambda: age.unseal(data, [IDENTITY])) < len(data) + allowed
    assert peak_of(lambda: list(age.unseal_stream([data], [IDENTITY]))) > allowed  # control: this one holds it all


def test_other_threads_run_while_it_seals_and_unseals():
    turns = itertools.count()
    stop = threading.Event()
    seen = 0

    def other():
        nonlocal seen
        while not stop.is_set():
            seen = next(turns)
            time.sleep(0)

    def moves(work) -> bool:
        for _ in range(50):
            before = seen
            work()
            if seen > before:
                return True
        return False

    plain = bytes(8 << 20)
    data = sealed(plain)
    interval = sys.getswitchinterval()
    thread = threading.Thread(target=other)
    thread.start()
    sys.setswitchinterval(1000)  # nobody is made to give up the GIL: who runs meanwhile was let
    try:
        assert moves(lambda: age.seal([plain], [RECIPIENT]))
        assert moves(lambda: age.unseal(data, [IDENTITY]))
        assert not moves(lambda: sum(range(100_000)))  # control: this holds it
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


@pytest.mark.parametrize("wrap", [bytes, age.armor])
def test_rewrap_changes_the_readers_and_leaves_the_payload_bytes(wrap):
    plain = content(2 * CHUNK + 5)
    payload_bytes = 16 + len(plain) + 3 * 16
    data = sealed(plain)
    for new in (age.X25519Identity.generate(), age.HybridIdentity.generate()):
        other = b"".join(age.rewrap(cut(wrap(data), [7, 70_000]), [IDENTITY], [new.recipient]))
        assert other[-payload_bytes:] == data[-payload_bytes:]
        assert age.unseal(other, [new]) == plain
        assert b"".join(age.rewrap(other, [new], [RECIPIENT]))[-payload_bytes:] == data[-payload_bytes:]
        with pytest.raises(CannotUnlockError):
            age.unseal(other, [IDENTITY])


def test_rewrap_needs_a_sound_header_and_an_identity():
    data = bytearray(sealed(b"text"))
    with pytest.raises(CannotUnlockError):
        drain(age.rewrap(data, [age.X25519Identity.generate()], [RECIPIENT]))
    with pytest.raises(UsageError):
        drain(age.rewrap(data, [IDENTITY], []))
    data[data.index(b"\n--- ") + 6] ^= 1
    with pytest.raises(age.AgeFileError):
        next(age.rewrap(data, [IDENTITY], [RECIPIENT]))


def test_inspect_tells_recipients_and_cost_without_a_key():
    passphrase = sealed(b"text", age.ScryptRecipient("pass", 3))
    assert age.inspect(passphrase) == age.HeaderSummary(("scrypt",), 3, False)
    both = age.armor(sealed(b"text", RECIPIENT, RECIPIENT))
    assert age.inspect(both) == age.HeaderSummary(("X25519", "X25519"), None, True)
    for bad in (b"", b"hello", b"age-encryption.org/v2\n", passphrase[:60]):
        with pytest.raises(age.AgeFileError):
            age.inspect(bad)


def test_a_broken_source_is_not_taken_for_the_end():
    def broken():
        yield sealed(content(CHUNK))[:1000]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        drain(age.unseal_stream(broken(), [IDENTITY]))
    with pytest.raises(OSError, match="gone"):
        drain(age.seal_stream(broken(), [RECIPIENT]))


@given(st.lists(st.binary(max_size=40), max_size=12), st.data())
@settings(deadline=None, max_examples=200)
def test_a_source_gives_the_same_bytes_however_it_is_asked(chunks, draw):
    whole = b"".join(chunks)
    source, at = Source(chunks), 0
    for _ in range(draw.draw(st.integers(0, 12))):
        size = draw.draw(st.integers(0, 60))
        match draw.draw(st.sampled_from(["read", "peek", "through", "end"])):
            case "read":
                assert source.read(size) == whole[at : at + size]
                at = min(len(whole), at + size)
            case "peek":
                assert source.peek(size) == whole[at : at + size]
            case "through":
                mark = draw.draw(st.binary(min_size=1, max_size=2))
                found = whole.find(mark, at, at + size)
                end = min(len(whole), at + size) if found < 0 else found + len(mark)
                assert source.through(mark, size) == whole[at:end]
                at = end
            case "end":
                assert source.at_end() == (at == len(whole))
    assert source.read(1 << 20) == whole[at:]


def test_the_random_bytes_come_from_the_system(monkeypatch):
    drawn = []

    def urandom(size: int) -> bytes:
        drawn.append(size)
        return random.Random(len(drawn)).randbytes(size)

    monkeypatch.setattr(os, "urandom", urandom)
    assert age.unseal(sealed(b"text"), [IDENTITY]) == b"text"
    assert sorted(drawn) == [16, 16, 32]
