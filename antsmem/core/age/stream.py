"""Sealing and unsealing whole age files: header, payload in chunks of 64 KiB (STREAM), armor if there is any.

What is unsealed as a stream is authentic chunk by chunk: each piece that was yielded is what was sealed, in
its place, but only the normal end of the stream says that nothing is missing.
"""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING

from antsmem.core.age.armor import dearmor
from antsmem.core.age.chacha import FILE_KEY_BYTES, TAG_BYTES, Cipher, hkdf
from antsmem.core.age.header import MAGIC, read_header, write_header
from antsmem.core.age.hybrid import HybridRecipient
from antsmem.core.age.scrypt import ScryptRecipient, work_factor
from antsmem.core.age.source import AgeFileError, Source
from antsmem.core.errors import CannotUnlockError, UsageError
from antsmem.core.record import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from antsmem.core.age.keys import Identity, Recipient
    from antsmem.core.disk import Buffer

CHUNK_BYTES = 1 << 16
_SEALED_BYTES = CHUNK_BYTES + TAG_BYTES
_NONCE_BYTES = 16
_COPY_BYTES = 1 << 20


@record
class HeaderSummary:
    """What a sealed file says about itself, before anything of it is authenticated.

    `kinds` are the stanzas' (`X25519`, `mlkem768x25519`, `scrypt` or anything), in their order; `work_factor` is
    what a passphrase costs to try, if there is one.
    """

    kinds: tuple[str, ...]
    work_factor: int | None
    armored: bool


def seal(parts: Sequence[Buffer], recipients: Sequence[Recipient]) -> list[bytes]:
    """The joined `parts` sealed for each of `recipients`, as parts: the header first, then one for each 64 KiB.

    `UsageError`: no recipient, a passphrase beside others, hybrid beside others, or one that is no valid key.
    """
    return list(seal_stream(parts, recipients))


def seal_stream(chunks: Iterable[Buffer], recipients: Sequence[Recipient]) -> Iterator[bytes]:
    """Like `seal` for what may be larger than memory; `chunks` are of any size and read as the output is."""
    file_key = os.urandom(FILE_KEY_BYTES)
    nonce = os.urandom(_NONCE_BYTES)
    opening = _header_for(file_key, recipients) + nonce
    return chain((opening,), _seal_payload(Source(chunks), _payload_cipher(file_key, nonce)))


def unseal(data: Buffer, identities: Sequence[Identity]) -> bytearray:
    """What was sealed in `data` (binary or armored), all of it authentic. Raises as `unseal_stream` does."""
    plain = bytearray(len(data))
    size = 0
    for piece in unseal_stream((data,), identities):
        plain[size : size + len(piece)] = piece
        size += len(piece)
    del plain[size:]
    return plain


def unseal_stream(chunks: Iterable[Buffer], identities: Sequence[Identity]) -> Iterator[bytes]:
    """What was sealed in the joined `chunks` (of any size, binary or armored), in pieces of 64 KiB. No more of it
    is read than the next piece needs, and the caller may stop at any time.

    `CannotUnlockError`: none of `identities` opens it, or there is not the memory for its passphrase.
    `AgeFileError` (an `IntegrityError`): malformed, forged, truncated, or with something after its end; its `part`
    says where.
    """
    source, _ = _start(chunks)
    file_key = _open_header(source, identities)
    nonce = bytes(source.read(_NONCE_BYTES))
    if len(nonce) < _NONCE_BYTES:
        raise AgeFileError("header", "the file ends before the payload")
    yield from _open_payload(source, _payload_cipher(file_key, nonce))


def rewrap(
    data: Buffer | Iterable[Buffer], identities: Sequence[Identity], recipients: Sequence[Recipient]
) -> Iterator[bytes]:
    """The same file for other `recipients`: a new header, and the payload as it is, neither opened nor checked.

    Binary also if `data` was armored. Who could open the old file can still open this one's payload, as the file
    key stays: this adds readers, and does not lock one out. Raises as `unseal_stream` and `seal` do.
    """
    source, _ = _start(data)
    yield _header_for(_open_header(source, identities), recipients)
    while not source.at_end():
        yield bytes(source.read(_COPY_BYTES))


def opened_by(chunks: Buffer | Iterable[Buffer], identities: Sequence[Identity]) -> Identity | None:
    """The first of `identities` that opens the file, by its header alone; None if none does. No more of `chunks`
    is read than the header lies in. `AgeFileError` if there is none."""
    source, _ = _start(chunks)
    header = read_header(source)
    for identity in identities:
        for stanza in header.stanzas:
            file_key = identity.unwrap(stanza)
            if file_key is not None and header.is_authentic(file_key):
                return identity
    return None


def inspect(chunks: Buffer | Iterable[Buffer]) -> HeaderSummary:
    """What the header says, without any key: it may be forged. No more of `chunks` is read than the header lies
    in. `AgeFileError` if there is none."""
    source, armored = _start(chunks)
    stanzas = read_header(source).stanzas
    cost = work_factor(stanzas[0]) if stanzas[0].kind == "scrypt" else None
    return HeaderSummary(tuple(stanza.kind for stanza in stanzas), cost, armored)


def _start(chunks: Buffer | Iterable[Buffer]) -> tuple[Source, bool]:
    """The bytes of an age file, and whether they had to be taken out of armor."""
    source = Source(chunks)
    if MAGIC.startswith(source.peek(len(MAGIC))):
        return source, False
    return Source(dearmor(source)), True


def _header_for(file_key: bytes, recipients: Sequence[Recipient]) -> bytes:
    if not recipients:
        raise UsageError("nobody to seal for: no recipient was given")
    if len(recipients) > 1 and any(isinstance(recipient, ScryptRecipient) for recipient in recipients):
        raise UsageError("a passphrase can only be a file's only recipient")
    if len({isinstance(recipient, HybridRecipient) for recipient in recipients}) > 1:
        raise UsageError("hybrid recipients beside others: the file would not be post-quantum")
    return write_header(file_key, [recipient.wrap(file_key) for recipient in recipients])


def _open_header(source: Source, identities: Sequence[Identity]) -> bytes:
    """The file key, once the header is known to be authentic."""
    header = read_header(source)
    for identity in identities:
        for stanza in header.stanzas:
            file_key = identity.unwrap(stanza)
            if file_key is None:
                continue
            if not header.is_authentic(file_key):
                raise AgeFileError("mac", "the header was changed after the file was sealed")
            return file_key
    raise CannotUnlockError(f"no identity of the {len(identities)} at hand opens this file")


def _payload_cipher(file_key: bytes, nonce: bytes) -> Cipher:
    return Cipher(hkdf(file_key, nonce, b"payload"))


def _nonce(counter: int, *, last: bool) -> bytes:
    return (counter << 8 | last).to_bytes(12, "big")


def _seal_payload(source: Source, cipher: Cipher) -> Iterator[bytes]:
    counter, last = 0, False
    while not last:
        plain = source.read(CHUNK_BYTES)
        last = source.at_end()
        yield cipher.seal(_nonce(counter, last=last), plain)
        counter += 1


def _open_payload(source: Source, cipher: Cipher) -> Iterator[bytes]:
    counter, last = 0, False
    while not last:
        sealed = source.read(_SEALED_BYTES)
        last = source.at_end()
        if len(sealed) < TAG_BYTES or (counter and len(sealed) == TAG_BYTES):
            raise AgeFileError("payload", f"chunk {counter} is cut or empty")
        plain = cipher.open(_nonce(counter, last=last), sealed)
        if plain is None and len(sealed) == _SEALED_BYTES:
            # A sound chunk, but the file goes on after its last one or ends before it. Like the reference
            # implementation, give what is authentic and then refuse.
            plain = cipher.open(_nonce(counter, last=not last), sealed)
            if plain is not None:
                yield plain
                raise AgeFileError("payload", "the file is cut" if last else "something follows the last chunk")
        if plain is None:
            raise AgeFileError("payload", f"chunk {counter} is not what was sealed there")
        yield plain
        counter += 1
