"""Requests that say who sent them: the one profile of HTTP Message Signatures (RFC 9421) that relays take.

Ed25519 only, verified by libsodium. What is covered follows from the request and is never the sender's choice:
method, target URI, the digest of the body (RFC 9530), and of the fields below those that the request has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Final

from antsmem.core.errors import IntegrityError
from antsmem.core.record import record
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.signing import SIGNATURE_BYTES, SigningKey, is_strong, verify

TAG: Final = "antsmem-relay/1"
NONCE_BYTES: Final = 16

_LABEL: Final = "ants"
_INPUT: Final = re.compile(rf"{_LABEL}=(\(([^()]*)\)((?:;[a-z]+=(?:\"[!#-\[\]-~]*\"|[0-9]{{1,15}}))*))")
_PARAMETER: Final = re.compile(r";([a-z]+)=(?:\"([^\"]*)\"|([0-9]+))")
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{22}")


@record
class Request:
    """What is signed of an HTTP request. An absent field is empty; `target` is the absolute URI."""

    method: str
    target: str
    body: bytes = b""
    content_type: str = ""
    if_match: str = ""
    if_none_match: str = ""

    def covered(self) -> dict[str, str]:
        """Component → value of everything that a signature must cover, in order."""
        optional = {
            "content-type": self.content_type,
            "if-match": self.if_match,
            "if-none-match": self.if_none_match,
        }
        return {
            "@method": self.method,
            "@target-uri": self.target,
            "content-digest": content_digest(self.body),
            **{name: value for name, value in optional.items() if value},
        }


@record
class SignedBy:
    """Who signed a request, and when: `created` in seconds since 1970 by the sender's clock. Whether that is
    recent and `nonce` is new, the reader decides."""

    public: bytes
    created: int
    nonce: str


def content_digest(body: bytes) -> str:
    """The field `Content-Digest` for `body`."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


def sign_request(request: Request, key: SigningKey, created: int, nonce: bytes) -> dict[str, str]:
    """The fields that sign `request`: `Content-Digest`, `Signature-Input`, `Signature`. `nonce`: 16 random bytes,
    never used again."""
    covered = request.covered()
    names = " ".join(f'"{name}"' for name in covered)
    text = base64.urlsafe_b64encode(nonce).decode().rstrip("=")
    parameters = (
        f'({names});created={created};keyid="{multikey(key.public)}";nonce="{text}";alg="ed25519";tag="{TAG}"'
    )
    signature = base64.b64encode(key.sign(_base(covered, parameters))).decode()
    return {
        "Content-Digest": covered["content-digest"],
        "Signature-Input": f"{_LABEL}={parameters}",
        "Signature": f"{_LABEL}=:{signature}:",
    }


def verify_request(request: Request, fields: Mapping[str, str]) -> SignedBy:
    """Who signed `request`, by its `fields` (lower-case names: `content-digest`, `signature-input`, `signature`).

    `IntegrityError`: it is unsigned, covers something else than it has to, or the signature is of other bytes.
    """
    covered = request.covered()
    if fields.get("content-digest") != covered["content-digest"]:
        raise IntegrityError("`Content-Digest` is not that of the body")
    found = _INPUT.fullmatch(fields.get("signature-input", ""))
    if not found:
        raise IntegrityError(f"`Signature-Input` is not one signature `{_LABEL}`")
    if found[2] != " ".join(f'"{name}"' for name in covered):
        raise IntegrityError("the signature does not cover exactly what it has to")
    pairs = [(name, text or number) for name, text, number in _PARAMETER.findall(found[3])]
    given = dict(pairs)
    if len(pairs) != 5 or given.keys() != {"created", "keyid", "nonce", "alg", "tag"}:
        raise IntegrityError("the signature has not exactly the parameters created, keyid, nonce, alg, tag")
    if given["alg"] != "ed25519" or given["tag"] != TAG:
        raise IntegrityError(f"the signature is not `ed25519` with the tag `{TAG}`")
    if not re.fullmatch(r"[0-9]{1,15}", given["created"]) or not _NONCE.fullmatch(given["nonce"]):
        raise IntegrityError("the signature has no `created` and `nonce` as they must be")
    public = parse_multikey(given["keyid"])
    if not is_strong(public):
        raise IntegrityError("the request is signed with a weak Ed25519 point")
    verify(public, _base(covered, found[1]), _signature(fields.get("signature", "")))
    return SignedBy(public, int(given["created"]), given["nonce"])


def _base(covered: Mapping[str, str], parameters: str) -> bytes:
    """The signature base of RFC 9421, section 2.5."""
    lines = [f'"{name}": {value}' for name, value in covered.items()]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode("ascii", "backslashreplace")


def _signature(field: str) -> bytes:
    inner = field.removeprefix(f"{_LABEL}=:").removesuffix(":")
    if field == f"{_LABEL}=:{inner}:":
        try:
            signature = base64.b64decode(inner, validate=True)
        except (binascii.Error, ValueError):
            signature = b""
        # Written again: the last letter of base64 has bits that no byte sees.
        if len(signature) == SIGNATURE_BYTES and base64.b64encode(signature).decode() == inner:
            return signature
    raise IntegrityError(f"`Signature` is not one Ed25519 signature `{_LABEL}`")
