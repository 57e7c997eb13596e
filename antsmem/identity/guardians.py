"""Guardians: people of whom any k can bring the recovery kit back, with the stock `age` program alone.

For each choice of k of the n guardians there is one small file with the kit, sealed to one after the other:
`guardians-3-1-4.sealed` is of the third set and opens with the keys of guardians 1 and then 4. Beside them
`guardians-3-set.sealed` says who they are. Format: docs/spec/keystore-v1.md.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Final

from antsmem.core.age import parse_recipient, rewrap, seal, unseal
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import CannotUnlockError, IntegrityError, UsageError, naming
from antsmem.core.record import field, record, replace
from antsmem.identity.envelope import open_envelope, seal_envelope
from antsmem.identity.fields import Fields
from antsmem.identity.keyfiles import newest_set, set_number
from antsmem.identity.recovery import RecoveryKit

if TYPE_CHECKING:
    from pathlib import Path

    from antsmem.core.age import Identity, X25519Identity
    from antsmem.core.disk import Buffer
    from antsmem.identity.keystore import Keystore
    from antsmem.identity.log import IdentityLog

SCHEMA: Final = "antsmem.guardians/1"
MOST_FILES: Final = 70
"""As many as 4 of 8 need; more would be carried about for little."""

_LAYER_BYTES: Final = 64 << 10


@record
class GuardianSet:
    """Who the guardians are: any `threshold` of `recipients` (`age1…`) together. `number` counts the sets of an
    identity from 1; the highest one is in force."""

    number: int
    threshold: int
    recipients: tuple[str, ...] = field(repr=False)
    made: str
    """UTC, as text."""


def check_guardians(recipients: Sequence[str], threshold: int) -> None:
    """`UsageError` unless `recipients` are age public keys, none twice, of whom `threshold` can be chosen in at
    most `MOST_FILES` ways."""
    for number, recipient in enumerate(recipients, 1):
        try:
            parse_recipient(recipient)
        except UsageError as error:  # it may be a secret key: never repeated
            raise UsageError(
                f"guardian {number} is not named by an age public key: {error}",
                hint="`age-keygen -y FILE` prints it",
            ) from None
    if len(set(recipients)) != len(recipients):
        raise UsageError("a guardian is named twice")
    if not 1 <= threshold <= len(recipients):
        raise UsageError(f"{threshold} of {len(recipients)} guardians cannot be", hint="see --threshold")
    if comb(len(recipients), threshold) > MOST_FILES:
        raise UsageError(
            f"{threshold} of {len(recipients)} guardians would need {comb(len(recipients), threshold)} files, "
            f"more than {MOST_FILES}",
            hint="name fewer guardians, or another --threshold",
        )


def guardian_files(kit: RecoveryKit, guardians: GuardianSet, keystore: Keystore) -> dict[str, bytes]:
    """File name → bytes of every file of the set. The kit in them is labelled, whether or not `kit` is; the host
    of `keystore` and recovery may know who the guardians are. Raises as `check_guardians` does."""
    check_guardians(guardians.recipients, guardians.threshold)
    kit = replace(kit, agent=keystore.agent, scid=keystore.scid)
    prefix = f"guardians-{guardians.number}"
    numbered = list(enumerate(guardians.recipients, 1))
    files = {}
    for chosen in combinations(numbered, guardians.threshold):
        data = kit.text().encode()
        for _, recipient in reversed(chosen):
            data = b"".join(seal([data], [parse_recipient(recipient)]))
        files[f"{prefix}-{'-'.join(str(number) for number, _ in chosen)}.sealed"] = data
    body = {
        "schema": SCHEMA,
        "scid": keystore.scid,
        "number": guardians.number,
        "threshold": guardians.threshold,
        "recipients": guardians.recipients,
        "made": guardians.made,
    }
    files[f"{prefix}-set.sealed"] = seal_envelope(body, keystore.op_key, readers_of(keystore))
    return files


def read_guardian_set(
    files: Mapping[str, Buffer], identities: Sequence[X25519Identity], log: IdentityLog
) -> GuardianSet | None:
    """The set in force among `files` (file name → bytes); None if there is none. `IntegrityError` if no host of
    the identity signed it, `CannotUnlockError` if none of `identities` may know."""
    number = newest_set(files)
    data = files.get(f"guardians-{number}-set.sealed")
    if data is None:
        return None
    opened = open_envelope(data, SCHEMA, identities)
    fields = Fields(opened.body, "the guardians' set")
    fields.text("schema")
    scid = fields.text("scid")
    found = GuardianSet(
        fields.number("number"), fields.number("threshold"), fields.texts("recipients"), fields.text("made")
    )
    fields.end()
    log.op_key(opened.signer)
    if scid != log.scid or found.number != number:
        raise IntegrityError("the guardians' set is of another identity or another set")
    return found


def open_with_guardians(files: Mapping[str, Buffer], identities: Sequence[Identity]) -> RecoveryKit:
    """The recovery kit, from the first of `files` (file name → bytes, the newest set counts) that the guardians'
    keys `identities` open together. `CannotUnlockError` if they open none.

    A kit proves itself by `RecoveryKit.generation`: who wrote the file is not known.
    """
    number = newest_set(files)
    chosen = sorted(name for name in files if set_number(name) == number and not name.endswith("-set.sealed"))
    if not number or not chosen:
        raise CannotUnlockError("there are no guardians' files here", hint="use the recovery kit")
    damage: list[IntegrityError] = []
    for name in chosen:
        try:
            with naming(f"`{name}`"):
                kit = _opened(name, files[name], identities)
        except IntegrityError as error:
            damage.append(error)  # another choice of guardians may do
            continue
        if kit is not None:
            return kit
    if damage:
        raise damage[0]
    needed = chosen[0].count("-") - 1
    raise CannotUnlockError(
        f"the keys of {len(identities)} guardians open no file of the guardians: {needed} of them are needed",
        hint="give each guardian's key with --guardian; see `antsmem recovery show`",
    )


def _opened(name: str, data: Buffer, identities: Sequence[Identity]) -> RecoveryKit | None:
    """The kit under the layers of one file, None if a key for one of them is missing."""
    for _ in range(name.count("-") - 1):
        if len(data) > _LAYER_BYTES:
            raise IntegrityError("is too large for a guardians' file")
        try:
            data = unseal(data, identities)
        except CannotUnlockError:
            return None
    try:
        return RecoveryKit.parse(bytes(data).decode("latin-1"))
    except UsageError:
        raise IntegrityError("does not hold a recovery kit: forged") from None


def guardian_files_in(folder: Path) -> dict[str, bytes]:
    """File name → bytes of the guardians' files in `folder`; none if it does not exist."""
    names = os.listdir(folder) if folder.is_dir() else []
    return {name: read_file(folder / name, _LAYER_BYTES) for name in sorted(names) if set_number(name)}


def bring_guardians(
    folder: Path, files: Mapping[str, Buffer], kit: RecoveryKit, keystore: Keystore, log: IdentityLog
) -> None:
    """Put the newest set that a host in `log` made among `files`, as a repository keeps them, into `folder`, in
    place of any other; the host of `keystore` may know from now on who the guardians are."""
    number = _newest_true_set(files, kit, log)
    for name in guardian_files_in(folder):
        if set_number(name) != number:
            (folder / name).unlink()
    for name, data in sorted(files.items()):
        if number and set_number(name) == number:
            make_private_dir(folder)
            write_file(folder / name, rewrapped(name, data, kit, keystore))


def _newest_true_set(files: Mapping[str, Buffer], kit: RecoveryKit, log: IdentityLog) -> int:
    for number in sorted(set(map(set_number, files)) - {0}, reverse=True):
        held = {name: data for name, data in files.items() if set_number(name) == number}
        with suppress(CannotUnlockError, IntegrityError, UsageError):  # somebody put it there
            if read_guardian_set(held, [kit.identity], log) is not None:
                return number
    return 0


def rewrapped(name: str, data: Buffer, kit: RecoveryKit, keystore: Keystore) -> Iterable[Buffer]:
    """A guardians' file as it is; the one that names them with a header for the readers of today."""
    if not name.endswith("-set.sealed"):
        return [data]
    return rewrap(data, [kit.identity], [parse_recipient(reader) for reader in readers_of(keystore)])


def guardian_change(there: Collection[str], new: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """What `save_change` takes to put the files `new` in place of those `there`."""
    gone: dict[str, bytes | None] = {f"guardians/{name}": None for name in there if name not in new}
    return gone | {f"guardians/{name}": data for name, data in new.items()}


def readers_of(keystore: Keystore) -> tuple[str, ...]:
    """Who may know who the guardians are."""
    return (keystore.host_recipient, *keystore.recovery_recipients)
