"""Goal: agree with the age specification in every one of its public test vectors.

Method: all 143 files of the C2SP test kit, with the kind of failure and the plaintext released before it, once
on each cipher library, also byte by byte and in one shot.
"""

import hashlib
from collections.abc import Iterable

import pytest

from antsmem.core import age
from antsmem.core.age import stream
from antsmem.core.errors import CannotUnlockError

pytestmark = pytest.mark.server

KINDS = {
    "armor": "armor failure",
    "header": "header failure",
    "mac": "HMAC failure",
    "payload": "payload failure",
}


def identities_of(vector):
    keys = [age.parse_identity(text) for text in vector.identities]
    return [*keys, *(age.ScryptIdentity(text) for text in vector.passphrases)]


def outcome(vector, chunks: Iterable[bytes]):
    """What came of unsealing, in the vectors' words, and what was released until then."""
    released = bytearray()
    try:
        for piece in age.unseal_stream(chunks, identities_of(vector)):
            released += piece
    except CannotUnlockError:
        return "no match", bytes(released)
    except age.AgeFileError as error:
        return KINDS[error.part], bytes(released)
    return "success", bytes(released)


def disagreements(vectors, chunking):
    wrong = {}
    for vector in vectors:
        expect, released = outcome(vector, chunking(vector.data))
        digest = hashlib.sha256(released).hexdigest()
        if expect != vector.expect or vector.payload_sha256 not in {None, digest}:
            wrong[vector.name] = (vector.expect, expect, len(released))
    return wrong


def test_the_kit_has_all_its_vectors(vectors):
    assert len(vectors) == len({vector.name for vector in vectors}) == 143
    assert {vector.expect for vector in vectors} == {"success", "no match", *KINDS.values()}
    assert sum(vector.payload_sha256 is not None for vector in vectors) >= 45


def test_every_vector_gives_its_result_and_releases_its_plaintext(vectors, cipher):
    assert disagreements(vectors, lambda data: [data]) == {}


def test_every_small_vector_gives_the_same_byte_by_byte(vectors):
    small = [vector for vector in vectors if len(vector.data) < 4096]
    assert len(small) > 100
    assert disagreements(small, lambda data: (data[at : at + 1] for at in range(len(data)))) == {}


def test_every_vector_in_one_shot_gives_all_or_nothing(vectors):
    for vector in vectors:
        try:
            plain = age.unseal(vector.data, identities_of(vector))
        except (CannotUnlockError, age.AgeFileError):
            assert vector.expect != "success", vector.name
        else:
            assert vector.expect == "success", vector.name
            assert hashlib.sha256(plain).hexdigest() == vector.payload_sha256


def test_inspect_reads_every_header_that_parses(vectors):
    for vector in vectors:
        if vector.expect in {"header failure", "armor failure"}:
            continue
        summary = age.inspect([vector.data])
        assert summary.armored == vector.armored
        assert summary.kinds
        assert (summary.work_factor is not None) == ("scrypt" in summary.kinds)


def test_rewrap_of_every_good_vector_opens_for_the_new_recipient(vectors):
    identity = age.X25519Identity.generate()
    for vector in vectors:
        if vector.expect == "success" and len(vector.data) < 1 << 20:
            sealed = b"".join(age.rewrap(vector.data, identities_of(vector), [identity.recipient]))
            assert hashlib.sha256(age.unseal(sealed, [identity])).hexdigest() == vector.payload_sha256


def test_control_a_codec_that_does_not_mark_the_last_chunk_is_caught(vectors, monkeypatch):
    monkeypatch.setattr(stream, "_nonce", lambda counter, *, last: (counter << 8).to_bytes(12, "big"))
    assert disagreements(vectors, lambda data: [data])


def test_control_a_codec_that_does_not_check_the_mac_is_caught(vectors, monkeypatch):
    monkeypatch.setattr("antsmem.core.age.header.Header.is_authentic", lambda header, file_key: True)
    assert "hmac_bad" in disagreements(vectors, lambda data: [data])
