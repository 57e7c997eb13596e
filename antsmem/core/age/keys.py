"""age's ordinary keys (X25519), and how keys of every kind are read from text."""

from __future__ import annotations

import os
from typing import Self, TypeAlias

from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base
from nacl.exceptions import CryptoError

from antsmem.core.age import bech32
from antsmem.core.age.chacha import SEALED_KEY_BYTES, hkdf, open_key, seal_key
from antsmem.core.age.header import Stanza, decode64, encode64
from antsmem.core.age.hybrid import HybridIdentity, HybridRecipient
from antsmem.core.age.opaque import Opaque
from antsmem.core.age.scrypt import ScryptIdentity, ScryptRecipient
from antsmem.core.age.source import AgeFileError
from antsmem.core.errors import UsageError

_INFO = b"age-encryption.org/v1/X25519"
_KEY_BYTES = 32


class X25519Recipient(Opaque):
    """Who may open a file: `str()` gives `age1…`. From a point of 32 bytes.

    Treat it as a secret: whoever has it can seal a file for it. So `repr()` shows its beginning only.
    """

    __slots__ = ()

    def __init__(self, content: bytes) -> None:
        if len(content) != _KEY_BYTES:
            raise UsageError("an X25519 recipient is 32 bytes")
        super().__init__(content)

    def __str__(self) -> str:
        return bech32.encode("age", self._content)

    def __repr__(self) -> str:
        return f"<X25519Recipient {str(self)[:12]}…>"

    def wrap(self, file_key: bytes) -> Stanza:
        """`file_key` sealed for this recipient. `UsageError` if its point is of small order."""
        ephemeral = os.urandom(_KEY_BYTES)
        share = crypto_scalarmult_base(ephemeral)
        try:
            shared = crypto_scalarmult(ephemeral, self._content)
        except CryptoError:
            raise UsageError("an X25519 recipient is no valid key: anybody could open the file") from None
        key = hkdf(shared, share + self._content, _INFO)
        return Stanza("X25519", (encode64(share),), seal_key(key, file_key))


class X25519Identity(Opaque):
    """The secret that opens what was sealed for its `recipient`: 32 bytes."""

    __slots__ = ("_point",)
    _point: bytes

    def __init__(self, content: bytes) -> None:
        if len(content) != _KEY_BYTES:
            raise UsageError("an X25519 identity is 32 bytes")
        super().__init__(content)
        object.__setattr__(self, "_point", b"")

    def _public(self) -> bytes:
        """Its public half, computed once: a prune opens hundreds of files."""
        if not self._point:
            object.__setattr__(self, "_point", crypto_scalarmult_base(self._content))
        return self._point

    @classmethod
    def generate(cls) -> Self:
        """A new identity."""
        return cls(os.urandom(_KEY_BYTES))

    @property
    def recipient(self) -> X25519Recipient:
        """Who to seal for, so that this identity opens it."""
        return X25519Recipient(self._public())

    def secret(self) -> str:
        """The identity itself, as identity files hold it."""
        return bech32.encode("age-secret-key-", self._content).upper()

    def unwrap(self, stanza: Stanza) -> bytes | None:
        """The file key, or None if `stanza` is for somebody else. `AgeFileError` if it is malformed."""
        if stanza.kind != "X25519":
            return None
        if len(stanza.arguments) != 1:
            raise AgeFileError("header", "an `X25519` stanza without exactly one argument")
        share = decode64(stanza.arguments[0])
        if len(share) != _KEY_BYTES or len(stanza.body) != SEALED_KEY_BYTES:
            raise AgeFileError("header", "an `X25519` stanza with parts of the wrong size")
        try:
            shared = crypto_scalarmult(self._content, share)
        except CryptoError:
            raise AgeFileError("header", "an `X25519` stanza with a point of small order") from None
        salt = share + self._public()
        return open_key(hkdf(shared, salt, _INFO), stanza.body)


Identity: TypeAlias = X25519Identity | HybridIdentity | ScryptIdentity
Recipient: TypeAlias = X25519Recipient | HybridRecipient | ScryptRecipient


def parse_recipient(text: str) -> X25519Recipient | HybridRecipient:
    """The recipient written as `age1…` or `age1pq1…`. `UsageError` for anything else, never showing it."""
    if text.startswith("AGE-SECRET-KEY-"):
        raise UsageError("a recipient was expected, and this is a secret identity", hint="give its public half")
    prefix, content = bech32.decode(text) if text.startswith("age1") else ("", b"")
    match prefix:
        case "age":
            return X25519Recipient(content)
        case "age1pq":
            return HybridRecipient(content)
    raise UsageError("not a recipient: it begins neither with `age1` nor with `age1pq1`")


def parse_identity(text: str) -> X25519Identity | HybridIdentity:
    """The identity written as `AGE-SECRET-KEY-1…` or `AGE-SECRET-KEY-PQ-1…`. `UsageError` for anything else, never
    showing it."""
    if text.startswith("age1"):
        raise UsageError("a secret identity was expected, and this is a recipient")
    prefix, content = bech32.decode(text) if text.startswith("AGE-SECRET-KEY-") else ("", b"")
    match prefix:
        case "AGE-SECRET-KEY-":
            return X25519Identity(content)
        case "AGE-SECRET-KEY-PQ-":
            return HybridIdentity(content)
    raise UsageError("not an identity: it begins neither with `AGE-SECRET-KEY-1` nor with `AGE-SECRET-KEY-PQ-1`")


def parse_identity_file(text: str) -> list[X25519Identity | HybridIdentity]:
    """The identities in a file as `age-keygen` writes it: one a line, beside empty lines and lines that begin with
    `#`. `UsageError` names the line that is none, or says that there is no identity at all."""
    identities = []
    for number, line in enumerate(text.split("\n"), 1):
        key = line.removesuffix("\r")
        if not key or key.startswith("#"):
            continue
        try:
            identities.append(parse_identity(key))
        except UsageError as error:
            raise UsageError(f"line {number} of an identity file: {error}") from None
    if not identities:
        raise UsageError("an identity file without an identity")
    return identities
