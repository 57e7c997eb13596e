"""Targets of layer 1: what an identity, its keys and its permissions are kept in."""

from __future__ import annotations

from random import Random

import mutants
from made_logs import entries_of
from reading import Making, Target, refused
from specimens import Specimens

from antsmem.core import age
from antsmem.identity import epochs, escrow, keystore, log, recovery


def _identity_log(s: Specimens) -> Target:
    entry = entries_of(s.log)[0]

    def read(data: bytes) -> None:
        found = log.parse_log(data)
        found.refuse_rollback(found.head)
        refused(lambda: s.kit.generation(found))

    def inside(dice: Random) -> bytes:
        return s.entered(mutants.of_value(dice, entry))

    return Target([s.log.text, s.two.text], read, inside)


def _keystore(s: Specimens) -> Target:
    def read(data: bytes) -> None:
        found = keystore.keystore_from_bytes(data, s.keys)
        repr(found)
        refused(lambda: keystore.check_keystore(found, s.log))

    body = dict(keystore._to_json(s.made.keystore))
    body["recovery_recipients"] = list(body["recovery_recipients"])
    body["secrets"] = [dict(zip(("name", "version", "state", "class", "created", "changed", "value"),
                                ("mail", 1, "active", "static", "", "", "AAAA"), strict=True))]  # fmt: skip
    return Target([s.files.keystore.read_bytes()], read, lambda dice: s.enveloped(mutants.of_value(dice, body)))


def _escrow(s: Specimens) -> Target:
    body = {
        "schema": escrow.SCHEMA, "agent": "kevin", "scid": s.log.scid, "host": "laptop", "log_head": s.log.head,
        "sequence": 1, "next_seed": "A" * 43 + "=", "fingerprint_key": "A" * 43 + "=", "secrets": [],
    }  # fmt: skip
    return Target(
        [s.made.escrow, s.enveloped(body)],
        lambda data: escrow.open_escrow(data, [s.kit.identity], s.log),
        lambda dice: s.enveloped(mutants.of_value(dice, body)),
    )


def _epoch(s: Specimens) -> Target:
    paths = sorted(s.files.epochs.iterdir())
    name = paths[1].stem
    text = bytes(age.unseal(paths[1].read_bytes(), [s.kit.identity]))
    return Target(
        [path.read_bytes() for path in paths[1:]],
        lambda data: epochs.open_epoch(name, data, s.keys),
        lambda dice: s.sealed(mutants.of_bytes(dice, [text])),
    )


def _kit(s: Specimens) -> Target:
    def read(data: bytes) -> None:
        recovery.RecoveryKit.parse(data.decode(errors="replace")).generation(s.log)

    return Target([s.kit.text().encode()], read)


IDENTITY: dict[str, Making] = {
    "identity log": _identity_log,
    "keystore": _keystore,
    "escrow": _escrow,
    "epoch file": _epoch,
    "recovery kit": _kit,
}
