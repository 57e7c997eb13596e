"""Goal: a signed request is what its sender sent, all of it, and other programs agree about that.

Method: the library `http-message-signatures` as oracle, both ways; RFC 9530's own digest; every field changed,
added, dropped, doubled; every bit of a signature flipped; a control without the check, in which the forgery goes
through.
"""

from __future__ import annotations

import datetime
import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_agents import FRIDAY_NS

from antsmem.core.errors import IntegrityError
from antsmem.core.record import replace
from antsmem.identity import http_signature
from antsmem.identity.http_signature import Request, content_digest, sign_request, verify_request
from antsmem.identity.multikey import multikey
from antsmem.identity.signing import SigningKey

oracle = pytest.importorskip("http_message_signatures", reason="pip install http-message-signatures")

KEY = SigningKey(bytes([0x11]) * 32)
CREATED = FRIDAY_NS // 1_000_000_000
NONCE = bytes(range(16))
PUT = Request(
    "PUT",
    "https://relay.example/agents/QmX/epoch?a=1",
    b"seven",
    "application/octet-stream",
    '"0a"',
    "*",
)
REQUESTS = [PUT, Request("GET", "https://relay.example/"), replace(PUT, if_match="", if_none_match="")]


def signed(request: Request) -> dict[str, str]:
    return {name.lower(): value for name, value in sign_request(request, KEY, CREATED, NONCE).items()}


def message(request: Request, fields: dict[str, str]) -> SimpleNamespace:
    """The request as the oracle takes one."""
    optional = {
        "Content-Type": request.content_type,
        "If-Match": request.if_match,
        "If-None-Match": request.if_none_match,
    }
    headers = {**{name: value for name, value in optional.items() if value}, **fields}
    return SimpleNamespace(method=request.method, url=request.target, headers=headers)


def handler(kind: type) -> object:
    keys = oracle.resolvers.MappingKeyResolver(
        public_keys={multikey(KEY.public): public_key()}, private_keys={multikey(KEY.public): private_key()}
    )
    made = kind(signature_algorithm=oracle.algorithms.ED25519, key_resolver=keys)
    made.max_clock_skew = datetime.timedelta(days=36500)
    return made


def private_key() -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(KEY.seed())


def public_key() -> object:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(KEY.public)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: each.method)
def test_they_accept_what_we_sign(request_: Request) -> None:
    fields = sign_request(request_, KEY, CREATED, NONCE)
    verifier = handler(oracle.HTTPMessageVerifier)
    (found,) = verifier.verify(
        message(request_, fields), max_age=None, expect_tag=http_signature.TAG, body=request_.body
    )
    assert found.nonce == "AAECAwQFBgcICQoLDA0ODw" and found.parameters["created"] == CREATED
    assert {name.strip('"') for name in found.covered_components} >= request_.covered().keys()


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: each.method)
def test_we_accept_what_they_sign(request_: Request) -> None:
    made = message(request_, {"Content-Digest": content_digest(request_.body)})
    handler(oracle.HTTPMessageSigner).sign(
        made,
        key_id=multikey(KEY.public),
        created=datetime.datetime.fromtimestamp(CREATED, datetime.UTC),
        nonce="AAECAwQFBgcICQoLDA0ODw",
        label="ants",
        tag=http_signature.TAG,
        covered_component_ids=list(request_.covered()),
        use_existing_digest=True,
    )
    by = verify_request(request_, {name.lower(): value for name, value in made.headers.items()})
    assert (by.public, by.created, by.nonce) == (KEY.public, CREATED, "AAECAwQFBgcICQoLDA0ODw")


def test_the_digest_is_that_of_the_rfc() -> None:
    """RFC 9530, appendix B.1."""
    body = b'{"hello": "world"}\n'
    assert content_digest(body) == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


@pytest.mark.parametrize(
    "change",
    [
        {"method": "POST"},
        {"target": "https://relay.example/agents/QmX/ledger?a=1"},
        {"target": "https://other.example/agents/QmX/epoch?a=1"},
        {"target": "http://relay.example/agents/QmX/epoch?a=1"},
        {"target": "https://relay.example/agents/QmX/epoch?a=2"},
        {"body": b"eight"},
        {"body": b""},
        {"content_type": "text/plain"},
        {"content_type": ""},
        {"if_match": '"0b"'},
        {"if_match": ""},
        {"if_none_match": ""},
    ],
    ids=str,
)
def test_nothing_that_matters_can_be_changed(change: dict[str, object]) -> None:
    fields = signed(PUT)
    verify_request(PUT, fields)
    with pytest.raises(IntegrityError):
        verify_request(replace(PUT, **change), fields)


INPUT = signed(PUT)["signature-input"]


@pytest.mark.parametrize(
    "field",
    [
        "",
        "garbage",
        INPUT.replace("ants=", "other="),
        INPUT + ", " + INPUT.replace("ants=", "two="),
        INPUT + ", " + INPUT,
        INPUT.replace(' "content-digest"', ""),
        INPUT.replace('"@method" ', ""),
        INPUT.replace(' "if-match"', ""),
        INPUT.replace('"@method"', '"@method" "@method"'),
        INPUT.replace('"@target-uri"', '"@target-uri";req'),
        INPUT.replace("ed25519", "hmac-sha256"),
        INPUT.replace(";alg=", ";tag=").replace("ed25519", http_signature.TAG),
        INPUT.replace(f";created={CREATED}", ""),
        INPUT.replace(f"created={CREATED}", 'created="now"'),
        INPUT.replace(f"created={CREATED}", f"created={CREATED + 1}"),
        INPUT.replace(";created", ";expires=9;created"),
        INPUT.replace('nonce="AAE', 'nonce="BAE'),
        INPUT.replace('nonce="AAECAwQFBgcICQoLDA0ODw"', 'nonce=""'),
        INPUT.replace(http_signature.TAG, "another"),
        INPUT.replace(multikey(KEY.public), multikey(SigningKey.generate().public)),
        INPUT.replace(multikey(KEY.public), multikey(b"\x01" + bytes(31))),
        INPUT.replace(multikey(KEY.public), "z6Mk"),
        "ants=(" + '"x" ' * 5000 + ")",
        INPUT * 2,
    ],
    ids=range(24),
)
def test_what_is_signed_in_another_way_is_refused(field: str) -> None:
    with pytest.raises(IntegrityError):
        verify_request(PUT, {**signed(PUT), "signature-input": field})


@given(st.integers(0, 64 * 8 - 1))
def test_no_bit_of_a_signature_can_be_flipped(bit: int) -> None:
    import base64

    fields = signed(PUT)
    raw = bytearray(base64.b64decode(fields["signature"][6:-1]))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        verify_request(PUT, {**fields, "signature": f"ants=:{base64.b64encode(raw).decode()}:"})


def test_a_signature_has_one_spelling() -> None:
    """64 bytes leave four bits of the last letter unused."""
    fields = signed(PUT)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = fields["signature"][-4]
    for other in set(letters) - {last}:
        with pytest.raises(IntegrityError):
            verify_request(PUT, {**fields, "signature": f"{fields['signature'][:-4]}{other}==:"})


@given(st.text(max_size=300), st.text(max_size=100), st.text(max_size=60))
def test_garbage_is_refused_and_nothing_worse(one: str, two: str, three: str) -> None:
    with pytest.raises(IntegrityError):
        verify_request(PUT, {"signature-input": one, "signature": two, "content-digest": three})
    with pytest.raises(IntegrityError):
        verify_request(PUT, {**signed(PUT), "signature": two})


def test_without_the_check_a_forgery_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with the one call to libsodium away, somebody else's signature is taken for ours."""
    mine = multikey(KEY.public)
    thief = SigningKey.generate()
    fields = {name.lower(): text for name, text in sign_request(PUT, thief, CREATED, os.urandom(16)).items()}
    fields["signature-input"] = fields["signature-input"].replace(multikey(thief.public), mine)
    with pytest.raises(IntegrityError):
        verify_request(PUT, fields)
    monkeypatch.setattr(http_signature, "verify", lambda *_: None)
    assert verify_request(PUT, fields).public == KEY.public
