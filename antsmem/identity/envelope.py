"""A signed, padded and sealed JSON object: the outside of the keystore, the escrow and what is kept like them.

An age file whose plain text is: one line of canonical JSON (with `schema`), one line `<multikey> <signature>`
(base58 with a leading `z`, over the bytes of the first line), and spaces up to a multiple of 4096 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antsmem.core import canonical
from antsmem.core.age import X25519Identity, parse_recipient, seal, unseal
from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import record
from antsmem.identity.multikey import base58_decode, base58_encode, multikey, parse_multikey
from antsmem.identity.signing import SigningKey, verify

PAD_BYTES = 4096
MAX_BYTES = 16 << 20


@record
class Opened:
    """What was in an envelope: the JSON object and the public key that signed it. Whose key that is, is for the
    reader to check."""

    body: Mapping[str, Any]
    signer: bytes


def seal_envelope(body: Mapping[str, Any], key: SigningKey, recipients: Sequence[str]) -> bytes:
    """`body` signed by `key` and sealed to `recipients` (`age1…`), at least one."""
    line = canonical.dumps(body)
    signature = f"{multikey(key.public)} z{base58_encode(key.sign(line))}".encode()
    padding = b" " * (-(len(line) + len(signature) + 2) % PAD_BYTES)
    parts = (line, b"\n", signature, b"\n", padding)
    return b"".join(seal(parts, [parse_recipient(recipient) for recipient in recipients]))


def open_envelope(data: Buffer, schema: str, identities: Sequence[X25519Identity]) -> Opened:
    """The object of `schema` that `data` holds, its signature verified.

    Raises `CannotUnlockError` if no identity opens it, `IntegrityError` if a byte is not what was written, and
    `UsageError` if it has another schema (a newer antsmem wrote it, or it is something else).
    """
    text = bytes(unseal(data, identities))
    parts = text.split(b"\n", 2)
    if len(parts) != 3 or len(text) % PAD_BYTES or parts[2].strip(b" "):
        raise IntegrityError("sealed object is not laid out as antsmem writes it")
    line, (name, _, signature) = parts[0], parts[1].decode("latin-1").partition(" ")
    if not signature.startswith("z"):
        raise IntegrityError("sealed object is not signed")
    signer = parse_multikey(name)
    verify(signer, line, base58_decode(signature[1:]))
    body = canonical.loads(line, MAX_BYTES)
    found = body.get("schema") if isinstance(body, dict) else None
    if found != schema:
        raise UsageError(f"sealed object is of schema {found!r:.60}, not `{schema}`", hint="update antsmem")
    return Opened(body, signer)
