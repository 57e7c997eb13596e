"""Goal: only the holder of a key signs for it, and a key that anybody could sign for is never accepted.

Method: OpenSSL as oracle for honest keys; a universal forgery for a small-order key, with OpenSSL as the control
that accepts it; every bit flipped.
"""

from __future__ import annotations

import copy
import os
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_ed25519_base_noclamp

from antsmem.core.errors import IntegrityError, UsageError
from antsmem.identity.signing import SigningKey, is_strong, verify

IDENTITY_POINT = b"\x01" + bytes(31)
# y = 1 again, but written as p + 1: not canonical.
ALIASED_POINT = b"\xee" + b"\xff" * 30 + b"\x7f"


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_signature_is_that_of_another_implementation(seed: bytes, message: bytes) -> None:
    key = SigningKey(seed)
    theirs = Ed25519PrivateKey.from_private_bytes(seed)
    assert key.public == theirs.public_key().public_bytes_raw()
    assert key.sign(message) == theirs.sign(message)
    assert key.seed() == seed
    verify(key.public, message, key.sign(message))
    assert is_strong(key.public)


@pytest.mark.parametrize("public", [IDENTITY_POINT, ALIASED_POINT], ids=["small order", "not canonical"])
def test_a_key_that_anybody_could_sign_for_is_refused(public: bytes) -> None:
    scalar = (123456789).to_bytes(32, "little")
    forged = crypto_scalarmult_ed25519_base_noclamp(scalar) + scalar
    with pytest.raises(IntegrityError):
        verify(public, b"any message", forged)
    assert not is_strong(public)


def test_the_control_shows_that_the_forgery_is_a_real_one() -> None:
    scalar = (123456789).to_bytes(32, "little")
    forged = crypto_scalarmult_ed25519_base_noclamp(scalar) + scalar
    Ed25519PublicKey.from_public_bytes(IDENTITY_POINT).verify(forged, b"any message")


def test_no_flipped_bit_verifies() -> None:
    key = SigningKey.generate()
    message = os.urandom(20)
    whole = key.public + key.sign(message) + message
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            verify(bytes(flipped[:32]), bytes(flipped[96:]), bytes(flipped[32:96]))


@pytest.mark.parametrize(("public", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (32, 0)])
def test_a_key_or_signature_of_the_wrong_size_is_refused(public: int, signature: int) -> None:
    with pytest.raises(IntegrityError):
        verify(bytes(public), b"", bytes(signature))


def test_a_seed_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(UsageError):
        SigningKey(bytes(31))


def test_a_signing_key_is_not_shown_and_not_pickled() -> None:
    key = SigningKey.generate()
    secret = key.seed()
    shown = f"{key!r} {key} {[key]}"
    assert secret.hex() not in shown
    assert repr(secret) not in shown
    assert "z6Mk" in shown
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert copy.deepcopy(key) is key


def test_keys_are_compared_by_value() -> None:
    seed = os.urandom(32)
    assert SigningKey(seed) == SigningKey(seed)
    assert SigningKey(seed) != SigningKey.generate()
    assert len({SigningKey(seed), SigningKey(seed)}) == 1
