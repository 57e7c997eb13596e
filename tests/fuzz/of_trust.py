"""Targets in what hosts, guardians and programs tell each other: ledgers, lists, secrets that are asked for."""

from __future__ import annotations

import hashlib
import json
from random import Random
from typing import Any

import mutants
from made_ledgers import ledger_of
from reading import Making, Target, refused
from specimens import Specimens

from antsmem.backup import tombstones
from antsmem.cli import values
from antsmem.core import age, canonical
from antsmem.core.clock import utc_text
from antsmem.core.errors import AntsmemError
from antsmem.identity import anchor, answer, fingerprints, guardians, ledger, reference, secrets_escrow
from antsmem.identity.fields import to_base64
from antsmem.identity.multikey import multikey
from antsmem.identity.scanner import Scanner
from antsmem.identity.waivers import waivers_of

WORDS = ("set mail 1", "rotate mail 2", "set db 1", "revoke mail 0", "destroy db 0")


def _rows(s: Specimens) -> list[dict[str, Any]]:
    """The rows of a ledger, one of every kind."""
    found = ledger_of(s.log, s.made.keystore.op_key, *WORDS)
    waiver = {
        "rule": "github-token",
        "fingerprint": "ab" * 16,
        "reason": "why not",
        "expires": utc_text(2 * 10**18),
    }
    contents = [
        {"op": op, **waiver, **path}
        for op in ("waive", "unwaive")
        for path in ({"path": "a.md"}, {"path_hex": "ff"})
    ]
    found = ledger.extended(found, contents, s.made.keystore.op_key, 18 * 10**17)
    return [dict(row.body) for row in found.rows]


def _signed_rows(s: Specimens, rows: Any) -> Any:
    """`rows` in a chain again, each signed."""
    if not isinstance(rows, list):
        return rows
    key, before, made = s.made.keystore.op_key, ledger.FIRST, []
    for row in rows:
        body = row
        if isinstance(row, dict):
            body = {name: value for name, value in row.items() if name != "sig"} | {"prev": before}
            body["by"] = multikey(key.public)
            body["sig"] = key.sign(canonical.dumps(body)).hex()
        before = hashlib.sha256(canonical.dumps(body)).hexdigest()
        made.append(body)
    return made


def _changed_body(s: Specimens, dice: Random, body: dict[str, Any]) -> bytes:
    """A sealed body with rows: mostly a row is changed, and the chain made good."""
    if dice.random() < 0.2:
        return s.enveloped(mutants.of_value(dice, body))
    return s.enveloped(body | {"rows": _signed_rows(s, mutants.of_value(dice, body["rows"]))})


def _ledger_body(s: Specimens) -> dict[str, Any]:
    return {"schema": ledger.SCHEMA, "scid": s.log.scid, "fingerprint_key": to_base64(bytes(32)), "rows": _rows(s)}


def _ledger(s: Specimens) -> Target:
    body = _ledger_body(s)

    def read(data: bytes) -> None:
        found = ledger.open_ledger(data, s.keys, s.log)
        found.standings()
        waivers_of(found.rows, 10**18)
        anchor.sign_head(found, "laptop", s.made.keystore.op_key)

    return Target([s.enveloped(body)], read, lambda dice: _changed_body(s, dice, body))


def _publication(s: Specimens) -> Target:
    found = ledger.open_ledger(s.enveloped(_ledger_body(s)), s.keys, s.log)
    head = anchor.sign_head(found, "laptop", s.made.keystore.op_key)
    sealed = s.enveloped(_ledger_body(s))
    good = anchor.publication_to_bytes(anchor.Publication(head, sealed))
    body = json.loads(good)

    def read(data: bytes) -> None:
        said = anchor.publication_from_bytes(data)
        anchor.check_head(said.head, s.log)
        refused(lambda: said.ledger(s.keys, s.log))
        anchor.refuse_older("default", good, data)

    def inside(dice: Random) -> bytes:
        if dice.random() < 0.3:
            return canonical.dumps(mutants.of_value(dice, body))
        told = mutants.of_value(dice, {name: value for name, value in body["head"].items() if name != "sig"})
        signature = s.made.keystore.op_key.sign(canonical.dumps(told)).hex()
        return canonical.dumps(body | {"head": {**told, "sig": signature}})

    return Target([good], read, inside)


def _secrets(s: Specimens) -> Target:
    row = dict(zip(("name", "version", "state", "class", "created", "changed", "value"),
                   ("mail", 1, "active", "static", "", "", "AAAA"), strict=True))  # fmt: skip
    body = _ledger_body(s) | {"schema": secrets_escrow.SCHEMA, "host": "laptop", "sequence": 1, "secrets": [row]}
    return Target(
        [s.enveloped(body)],
        lambda data: secrets_escrow.open_secrets(data, [s.kit.identity], s.log),
        lambda dice: _changed_body(s, dice, body),
    )


def _guardian_set(s: Specimens) -> Target:
    keys = [age.X25519Identity(bytes([number]) * 32) for number in (1, 2, 3)]
    wanted = guardians.GuardianSet(1, 2, tuple(str(key.recipient) for key in keys), "")
    files = guardians.guardian_files(s.kit, wanted, s.made.keystore)
    name, shared = "guardians-1-set.sealed", "guardians-1-1-2.sealed"
    body = {"schema": guardians.SCHEMA, "scid": s.log.scid, "number": 1, "threshold": 2, "made": "",
            "recipients": list(wanted.recipients)}  # fmt: skip

    def read(data: bytes) -> None:
        refused(lambda: guardians.open_with_guardians(files | {shared: data}, keys[:2]))
        found = guardians.read_guardian_set(files | {name: data}, [s.kit.identity], s.log)
        assert found is not None
        guardians.check_guardians(found.recipients, found.threshold)

    def inside(dice: Random) -> bytes:
        if dice.random() < 0.5:
            return s.enveloped(mutants.of_value(dice, body))
        text = mutants.of_bytes(dice, [s.kit.text().encode()])
        for key in (keys[1], keys[0]):
            text = b"".join(age.seal([text], [key.recipient]))
        return text

    return Target([files[name], files[shared]], read, inside, good=False)


def _tombstones(s: Specimens) -> Target:
    keys = s.backup.agent.keys()
    good = tombstones.tombstone(keys.scid, "hot-20261116", s.backup.agent.op_key, 10**18)
    body = {key: value for key, value in json.loads(good).items() if key not in {"key", "signature"}}

    def read(data: bytes) -> None:
        tombstones.names_in(tombstones.merged(good, data, keys))
        tombstones.names_in(data)

    return Target([good], read, lambda dice: s.signed(mutants.of_value(dice, body)))


def _fingerprints(s: Specimens) -> Target:
    path = s.backup.root / "fingerprints.json"
    made = fingerprints.fingerprints_of([("mail", b"wvH7-Zx9Q-rest-of-the-value")], bytes(32))
    fingerprints.write_fingerprints(path, made)
    body = json.loads(path.read_bytes())

    def read(_: bytes) -> None:
        found = fingerprints.read_fingerprints(path, 0)
        Scanner(fingerprint_key=found.key, prints=found).scan(b"x wvH7-Zx9Q-rest-of-the-value y" * 20)

    return Target([path.read_bytes()], read, lambda dice: canonical.dumps(mutants.of_value(dice, body)), at=path)


def _file_of_secrets(s: Specimens) -> Target:
    path = s.backup.root / "secrets.env"
    seeds = [b"export A='x'\nB=\"two\\nlines\" # and\nC=plain # why\n", b'{"A": "x", "B": ""}\n', b"A='\n" * 50]
    return Target(seeds, lambda _: values.parse_pairs(path), at=path, good=False)


def _asked_for(s: Specimens) -> Target:
    body = {"protocolVersion": 1, "provider": "antsmem", "ids": ["mail", "vault/db:password", "a/../b"]}

    def read(data: bytes) -> None:
        said = answer.answer(data, lambda wanted: reference.member(b'{"password": 7}', wanted.key or "x", "db"))
        json.loads(said.data)

    return Target([canonical.dumps(body)], read, lambda dice: canonical.dumps(mutants.of_value(dice, body)))


def _reference(s: Specimens) -> Target:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        try:
            found = reference.parse_reference(text)
        except AntsmemError:
            return
        assert reference.parse_reference(str(found)) == found
        refused(lambda: reference.member(data, found.key, found.name))

    return Target([b"secret://mail", b"secret://vault/a/b#key", b"secret://aws/x.y+z=@1"], read)


TRUST: dict[str, Making] = {
    "ledger": _ledger,
    "ledger's head": _publication,
    "secrets' escrow": _secrets,
    "guardians": _guardian_set,
    "destroyed epochs": _tombstones,
    "fingerprints": _fingerprints,
    "file of secrets": _file_of_secrets,
    "SecretRef request": _asked_for,
    "reference": _reference,
}
