"""Goal: docs/spec says exactly what is written and read, so that another program can do both.

Method: every vector of identity-v1.md, keystore-v1.md and ledger-v1.md is taken from the page, read, and made
again from the keys that the page names.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from antsmem.backup.tombstones import names_in, tombstone
from antsmem.core import canonical
from antsmem.core.age import X25519Identity, parse_recipient, seal, unseal
from antsmem.core.record import replace
from antsmem.identity.anchor import (
    Publication,
    head_to_json,
    publication_from_bytes,
    publication_to_bytes,
    sign_head,
)
from antsmem.identity.custody import Custody
from antsmem.identity.document import op_keys_of
from antsmem.identity.envelope import PAD_BYTES
from antsmem.identity.epochs import Epoch, open_epoch, seal_epoch
from antsmem.identity.escrow import open_escrow, seal_escrow
from antsmem.identity.guardians import GuardianSet, guardian_files, read_guardian_set
from antsmem.identity.handle import handles_of, relays_of, with_handles, with_relays
from antsmem.identity.keystore import Keystore, keystore_from_bytes, keystore_to_bytes
from antsmem.identity.ledger import Ledger, extended, open_ledger, read_rows, seal_ledger, secret_row
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.multikey import key_hash, multikey
from antsmem.identity.recovery import RecoveryKit
from antsmem.identity.secret import Secret
from antsmem.identity.secrets_escrow import open_secrets, seal_secrets
from antsmem.identity.signing import SigningKey
from antsmem.identity.waivers import Waiver, _row

SPEC = Path(__file__).parents[2] / "docs" / "spec"


def vector(page: str, name: str) -> str:
    """The block with the info string `vector:<name>` of docs/spec/`page`."""
    text = (SPEC / page).read_text("utf-8")
    (found,) = re.findall(rf"^```vector:{name}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


def thirty_two(byte: int) -> bytes:
    return bytes([byte]) * 32


KIT = RecoveryKit(X25519Identity(thirty_two(0x33)))
HOST = X25519Identity(thirty_two(0x22))
OP_KEY = SigningKey(thirty_two(0x11))


def the_log() -> IdentityLog:
    return parse_log(vector("identity-v1.md", "log").encode())


def the_keystore() -> Keystore:
    first = parse_log(the_log().text.splitlines()[0])
    now = "2026-11-20T15:23:31.000Z"
    return Keystore(
        agent="kevin",
        scid=first.scid,
        host="laptop",
        log_head=first.head,
        op_key=OP_KEY,
        host_recipient=str(HOST.recipient),
        recovery_recipients=(str(KIT.identity.recipient),),
        recovery_hash=KIT.control_hash(0),
        fingerprint_key=thirty_two(0x66),
        epochs=(
            Epoch("hot-20261116", str(X25519Identity(thirty_two(0x44)).recipient)),
            Epoch("cold-20261116", str(X25519Identity(thirty_two(0x45)).recipient)),
        ),
        secrets=(Secret("example", 1, "active", "static", now, now, b"not a secret"),),
        sequence=1,
    )


def padded(text: str) -> bytes:
    data = text.encode()
    return data + b" " * (-len(data) % PAD_BYTES)


def test_the_key_vector_holds() -> None:
    assert vector("identity-v1.md", "key").split() == [multikey(OP_KEY.public), key_hash(OP_KEY.public)]


def test_the_log_vector_holds() -> None:
    log = the_log()
    desktop = SigningKey(thirty_two(0x12)).public
    assert log.version == 2
    assert op_keys_of(log.document) == {"desktop": desktop}
    assert (log.op_key(OP_KEY.public).host, log.op_key(OP_KEY.public).until) == ("laptop", 2)
    assert log.update_keys == (multikey(KIT.control_key(0).public),)
    assert KIT.generation(log) == 1


def test_the_vector_of_relays_and_handles_holds() -> None:
    written = canonical.loads(vector("identity-v1.md", "found").encode(), 4096)
    document = {**the_log().document, **written}
    assert relays_of(document) == ("https://relay.example", "https://spare.example")
    assert [str(handle) for handle in handles_of(document)] == ["@kevin@relay.example", "example.org"]
    made = with_handles(with_relays(the_log().document, relays_of(document)), handles_of(document))
    assert made == document


def test_the_recovery_vector_holds() -> None:
    assert vector("identity-v1.md", "recovery").split() == [KIT.control_hash(0), KIT.control_hash(1)]
    assert RecoveryKit.parse(f"# agent: kevin\n{KIT.identity.secret()}\n") == replace(KIT, agent="kevin")


def test_the_keystore_vector_holds() -> None:
    plain = padded(vector("keystore-v1.md", "keystore"))
    assert unseal(keystore_to_bytes(the_keystore()), [HOST]) == plain
    recipients = [parse_recipient(str(identity.recipient)) for identity in (HOST, KIT.identity)]
    assert keystore_from_bytes(b"".join(seal([plain], recipients)), [KIT.identity]) == the_keystore()


def test_the_escrow_vector_holds() -> None:
    plain = padded(vector("keystore-v1.md", "escrow"))
    next_key = SigningKey(thirty_two(0x51))
    assert unseal(seal_escrow(the_keystore(), next_key), [KIT.identity]) == plain
    escrow = open_escrow(b"".join(seal([plain], [KIT.identity.recipient])), [KIT.identity], the_log())
    assert escrow.next_key == next_key
    first = parse_log(the_log().text.splitlines()[0])
    assert key_hash(next_key.public) in first.next_key_hashes


@pytest.mark.parametrize("reader", [HOST, KIT.identity])
def test_the_epoch_vector_holds(reader: X25519Identity) -> None:
    key = X25519Identity(thirty_two(0x44))
    plain = vector("keystore-v1.md", "epoch").replace("<secret>", key.secret()).encode()
    sealed = seal_epoch("hot-20261116", key, str(HOST.recipient), [str(KIT.identity.recipient)])
    assert unseal(sealed, [reader]) == plain
    assert open_epoch("hot-20261116", b"".join(seal([plain], [reader.recipient])), [reader]) == key


def the_ledger() -> Ledger:
    """The ledger of the page: two rows by `laptop`, one by `desktop`, which took over."""
    log, friday = the_log(), 1_795_188_211_000_000_000
    waiver = Waiver(b"TOOLS.md", "github-token", bytes(range(16)), "an example", friday + 2_592_000 * 10**9)
    rows = [secret_row("set", "example", 1, "static"), _row("waive", waiver)]
    empty = Ledger(log.scid, thirty_two(0x66))
    taken_over = [
        secret_row("recover", "desktop", 2, "identity"),
        secret_row("revoke", "example", 0, "static", "old"),
    ]
    first = extended(empty, rows, OP_KEY, friday)
    return extended(first, taken_over, SigningKey(thirty_two(0x12)), friday + 60 * 10**9)


def test_the_rows_vector_holds() -> None:
    rows = [canonical.loads(line.encode(), 1 << 20) for line in vector("ledger-v1.md", "rows").splitlines()]
    assert read_rows(rows, the_log()) == the_ledger().rows
    assert vector("ledger-v1.md", "rows").encode() == b"".join(
        canonical.dumps(row.body) + b"\n" for row in the_ledger().rows
    )


def test_the_ledger_vector_holds() -> None:
    key = SigningKey(thirty_two(0x12))
    rows = vector("ledger-v1.md", "rows").splitlines()
    plain = padded(vector("ledger-v1.md", "ledger").replace('"<rows>"', ",".join(rows)))
    assert unseal(seal_ledger(the_ledger(), key, [str(HOST.recipient)]), [HOST]) == plain
    assert open_ledger(b"".join(seal([plain], [HOST.recipient])), [HOST], the_log()) == the_ledger()


def test_the_head_and_publication_vectors_hold() -> None:
    head = sign_head(the_ledger(), "desktop", SigningKey(thirty_two(0x12)))
    assert canonical.dumps(head_to_json(head)) == vector("ledger-v1.md", "head").strip().encode()
    data = (
        vector("ledger-v1.md", "publication").replace('"<head>"', vector("ledger-v1.md", "head").strip()).encode()
    )
    assert publication_from_bytes(data) == Publication(head, b"sealed")
    assert publication_to_bytes(Publication(head, b"sealed")) == data


def test_the_secrets_escrow_vector_holds() -> None:
    ledger = extended(
        Ledger(the_log().scid, thirty_two(0x66)),
        [secret_row("set", "example", 1, "static")],
        OP_KEY,
        1_795_188_211_000_000_000,
    )
    custody = Custody(the_keystore(), ledger)
    plain = padded(vector("keystore-v1.md", "secrets-escrow"))
    assert unseal(seal_secrets(custody), [KIT.identity]) == plain
    found = open_secrets(b"".join(seal([plain], [KIT.identity.recipient])), [KIT.identity], the_log())
    assert found.ledger == ledger and found.secrets == custody.keystore.secrets


def test_the_guardians_vector_holds() -> None:
    keys = [X25519Identity(thirty_two(byte)) for byte in (0x61, 0x62, 0x63)]
    recipients = tuple(str(key.recipient) for key in keys)
    guardians = GuardianSet(1, 2, recipients, "2026-11-20T15:23:31.000Z")
    plain = padded(vector("keystore-v1.md", "guardians"))
    files = guardian_files(KIT, guardians, the_keystore())
    assert set(files) == {f"guardians-1-{rest}.sealed" for rest in ("set", "1-2", "1-3", "2-3")}
    assert unseal(files["guardians-1-set.sealed"], [HOST]) == plain
    sealed = {"guardians-1-set.sealed": b"".join(seal([plain], [HOST.recipient]))}
    assert read_guardian_set(sealed, [HOST], the_log()) == guardians
    outer = unseal(files["guardians-1-1-3.sealed"], [keys[0]])
    assert RecoveryKit.parse(unseal(outer, [keys[2]]).decode()).identity == KIT.identity


def test_the_tombstone_vector_holds() -> None:
    line = vector("keystore-v1.md", "tombstone").encode()
    keystore = the_keystore()
    assert tombstone(keystore.scid, "hot-20261116", OP_KEY, 1_795_188_211_042_000_000) == line
    assert names_in(line) == {"hot-20261116"}


@pytest.mark.parametrize("page", ["identity-v1.md", "keystore-v1.md", "ledger-v1.md"])
def test_every_vector_of_a_page_is_checked_here(page: str) -> None:
    named = set(re.findall(r"^```vector:(\S+)$", (SPEC / page).read_text("utf-8"), re.MULTILINE))
    checked = {
        "identity-v1.md": {"key", "log", "recovery", "found"},
        "keystore-v1.md": {"keystore", "escrow", "epoch", "secrets-escrow", "guardians", "tombstone"},
        "ledger-v1.md": {"rows", "ledger", "head", "publication"},
    }
    assert named == checked[page]
