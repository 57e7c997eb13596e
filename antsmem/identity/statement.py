"""Signed statements: canonical JSON that says which key signed it, refused before anything else is believed."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Protocol

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError, UsageError, naming
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.signing import verify

_LIMIT = 16 << 20


class Signer(Protocol):
    """An Ed25519 key that can sign; its secret stays inside."""

    @property
    def public(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes, RFC 8032."""
        ...


def sign_statement(statement: Mapping[str, Any], signer: Signer) -> bytes:
    """`statement` with `key` (multikey) and `signature` (hex, over the canonical JSON of all the rest)."""
    body = canonical.members({**statement, "key": multikey(signer.public)})
    signature = canonical.members({"signature": signer.sign(canonical.join(body)).hex()})
    return canonical.join(body | signature) + b"\n"


def open_statement(data: bytes, schema: str, trusted: Container[bytes] | None, name: str) -> dict[str, Any]:
    """The statement in `data`, verified; `name` is the file, for messages.

    `trusted` are the public keys that count; None accepts any key (bytes are checked, authorship is not).
    Raises `IntegrityError` where it is damaged, unsigned, or signed by somebody else, `UsageError` where its
    `schema` is a later version than this program reads.
    """
    with naming(f"`{name}`"):
        statement = canonical.loads(data, _LIMIT)
    if not isinstance(statement, dict) or not isinstance(statement.get("schema"), str):
        raise IntegrityError(f"`{name}` is not a statement")
    _require_schema(statement["schema"], schema, name)
    try:
        body = dict(statement)
        text, public = body.pop("signature"), parse_multikey(body["key"])
        signature = bytes.fromhex(text)
    except (KeyError, TypeError, ValueError):
        raise IntegrityError(f"`{name}` is not signed") from None
    if trusted is not None and public not in trusted:
        raise IntegrityError(f"`{name}` is signed by a key that is not this agent's: forged or foreign")
    # What was signed is the file without this member, byte for byte: had it to be written anew to be compared, the
    # list of a year's hourly snapshots would be read in twice the time.
    before, member, after = data.partition(b',"signature":"' + signature.hex().encode() + b'"')
    if not member or not after.endswith(b"}\n") or list(statement) != sorted(statement):
        raise IntegrityError(f"`{name}` is not in canonical form")  # one form, or a byte could change
    verify(public, before + after[:-1], signature)
    return body


def _require_schema(found: str, wanted: str, name: str) -> None:
    if found == wanted:
        return
    kind, _, version = found.partition("/")
    wanted_kind, _, wanted_version = wanted.partition("/")
    if kind == wanted_kind and version.isdecimal() and len(version) < 10 and int(version) > int(wanted_version):
        raise UsageError(
            f"`{name}` has format {found}, newer than the {wanted} that this antsmem reads",
            hint="pip install --upgrade antsmem",
        )
    raise IntegrityError(f"`{name}` has schema `{found[:60]}` where {wanted} was expected")
