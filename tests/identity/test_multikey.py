"""Goal: keys and hashes are written as everybody else writes them, and read in one way only.

Method: the libraries `base58` and `multiformats` as oracles, and texts to refuse.
"""

from __future__ import annotations

import base58
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase, multicodec, multihash

from antsmem.core.errors import IntegrityError
from antsmem.identity import multikey as ours

keys = st.binary(min_size=32, max_size=32)


@given(st.binary(max_size=80))
def test_base58_is_that_of_another_implementation(data: bytes) -> None:
    text = ours.base58_encode(data)
    assert text == base58.b58encode(data).decode()
    assert ours.base58_decode(text) == data


@pytest.mark.parametrize("text", ["0", "O", "I", "l", "é", " 1", "1" * 129])
def test_text_that_is_not_base58_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        ours.base58_decode(text)


@given(keys)
def test_a_multikey_is_that_of_another_implementation(public: bytes) -> None:
    text = ours.multikey(public)
    assert text == multibase.encode(multicodec.wrap("ed25519-pub", public), "base58btc")
    assert text.startswith("z6Mk")
    assert ours.parse_multikey(text) == public


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        "z",
        "6Mk",
        "z" + ours.base58_encode(b"\xed\x01" + bytes(31)),
        "z" + ours.base58_encode(b"\xed\x01" + bytes(33)),
        "z" + ours.base58_encode(b"\xec\x01" + bytes(32)),
        "z1" + ours.base58_encode(b"\xed\x01" + bytes(32)),
    ],
)
def test_text_that_is_not_an_ed25519_multikey_is_refused(text: object) -> None:
    with pytest.raises(IntegrityError):
        ours.parse_multikey(text)


@given(st.binary(max_size=80))
def test_a_hash_is_that_of_another_implementation(data: bytes) -> None:
    assert ours.multihash(data) == base58.b58encode(multihash.digest(data, "sha2-256")).decode()


@given(keys)
def test_a_key_hash_is_the_hash_of_the_multikey_text(public: bytes) -> None:
    assert ours.key_hash(public) == ours.multihash(ours.multikey(public).encode())
