"""Verb: seal an epoch file to other recipients by rewriting its age header only; the payload stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

from antsmem.core.age import X25519Identity, parse_recipient, rewrap
from antsmem.core.disk import Buffer
from antsmem.core.errors import IntegrityError
from antsmem.identity.epochs import open_epoch
from antsmem.identity.keystore import Keystore


def rewrap_epoch(
    name: str, data: Buffer, identities: Sequence[X25519Identity], keystore: Keystore, recovery: X25519Identity
) -> bytes:
    """The file `data` of epoch `name`, which one of `identities` opens, sealed to whom `keystore` says: recovery,
    and the host if it is a hot one. `recovery` has to open it again before it is given back.

    `CannotUnlockError`: none of `identities` opens it. `IntegrityError`: it is damaged, or of another epoch.
    """
    key = open_epoch(name, data, identities)
    allowed = [*keystore.recovery_recipients]
    allowed += [keystore.host_recipient] if name.startswith("hot-") else []
    made = b"".join(rewrap(data, identities, [parse_recipient(recipient) for recipient in allowed]))
    if open_epoch(name, made, [recovery]) != key:
        raise IntegrityError(f"epoch file `{name}.age` does not open for the new kit: left as it was")
    return made
