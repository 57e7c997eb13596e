"""Goal: our identity logs are did:webvh logs to others, and theirs to us.

Method: the reference library `did-webvh` as oracle. It reads logs of ours, we read logs of its making, and both
judge the same changed logs: every member of every entry removed or replaced, as it is and with hashes and proofs
made again so that nothing but the member is wrong. Where we are stricter on purpose is listed, and nowhere else
may the verdicts differ.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from made_agents import FRIDAY_NS

from antsmem.core.errors import IntegrityError
from antsmem.identity.document import with_op_keys
from antsmem.identity.entry import Entry, entry_hash, scid_of, with_proof, with_scid
from antsmem.identity.extend import commit, create_log, extend_log
from antsmem.identity.handle import parse_handle, with_handles, with_relays
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.multikey import key_hash, multikey
from antsmem.identity.signing import SigningKey

pytest.importorskip("did_webvh", reason="the oracle is missing: pip install did-webvh")

from did_webvh.askar import AskarSigningKey
from did_webvh.core.hash_utils import HashInfo
from did_webvh.core.resolver import ResolutionError
from did_webvh.core.state import InvalidDocumentState
from did_webvh.history import load_local_history, update_document_state
from did_webvh.provision import genesis_document, provision_did

Place: TypeAlias = tuple[str | int, ...]

GENESIS, NEXT, RECOVERY = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()


def they_accept(text: bytes, place: Path) -> bool:
    path = place / "did.jsonl"
    path.write_bytes(text)
    try:
        asyncio.run(load_local_history(path, verify_proofs=True))
    except (ResolutionError, InvalidDocumentState, ValueError, KeyError, TypeError, AttributeError):
        # The last four: it stumbles over some malformed logs instead of judging them.
        return False
    return True


def we_accept(text: bytes) -> bool:
    try:
        parse_log(text)
    except IntegrityError:
        return False
    return True


def our_log() -> IdentityLog:
    commitment = commit(key_hash(RECOVERY.public))
    log = create_log(commitment, {"laptop": SigningKey.generate().public}, FRIDAY_NS)
    for number, control in enumerate((commitment.next_key, RECOVERY, RECOVERY)):
        host = with_op_keys(log.document, {f"host-{number}": SigningKey.generate().public})
        log = extend_log(log, control, commit(key_hash(RECOVERY.public)), host, FRIDAY_NS)
    return log


def test_they_accept_a_log_of_ours(tmp_path: Path) -> None:
    log = our_log()
    assert they_accept(log.text, tmp_path)
    state, metadata = asyncio.run(load_local_history(tmp_path / "did.jsonl", verify_proofs=True))
    assert (metadata.scid, metadata.version_id, metadata.portable) == (log.scid, log.head, True)
    assert state.document == log.document
    assert state.next_key_hashes == list(log.next_key_hashes)


def test_they_accept_a_log_with_relays_and_handles(tmp_path: Path) -> None:
    log = our_log()
    document = with_handles(
        with_relays(log.document, ["https://relay.example"]), [parse_handle("@k@relay.example")]
    )
    longer = extend_log(log, RECOVERY, commit(key_hash(RECOVERY.public)), document, FRIDAY_NS)
    assert they_accept(longer.text, tmp_path) and we_accept(longer.text)


@pytest.mark.parametrize("pre_rotated", [True, False])
def test_we_accept_a_log_of_theirs(pre_rotated: bool) -> None:
    keys = [AskarSigningKey.generate("ed25519") for _ in range(4)]

    def parameters(number: int) -> dict[str, Any]:
        found: dict[str, Any] = {"updateKeys": [str(keys[number].multikey)]}
        if pre_rotated:
            hashed = HashInfo.from_name("sha2-256").formatted_hash(keys[number + 1].multikey.encode())
            found["nextKeyHashes"] = [hashed]
        return found

    document = genesis_document("did:webvh:{SCID}:example.com:agents:one")
    state = provision_did(document, params={**parameters(0), "portable": True})
    state.proofs.append(state.create_proof(keys[0], timestamp=state.timestamp))
    lines = [state.history_json()]
    for number in (1, 2):
        signer = keys[number] if pre_rotated else keys[number - 1]
        document = {**state.document, "service": [{"id": "#x", "type": "T", "serviceEndpoint": str(number)}]}
        state = update_document_state(state, signer, document, parameters(number))
        lines.append(state.history_json())
    log = parse_log("\n".join(lines).encode())
    assert (log.scid, log.head, log.document) == (state.scid, state.version_id, state.document)


def two_entries() -> list[Entry]:
    """Two entries whose keys are known, so that they can be made again."""
    hashes = sorted([key_hash(NEXT.public), key_hash(RECOVERY.public)])
    first: Entry = {
        "versionId": "{SCID}",
        "versionTime": "2026-11-20T12:00:00Z",
        "parameters": {
            "method": "did:webvh:1.0",
            "scid": "{SCID}",
            "updateKeys": [multikey(GENESIS.public)],
            "nextKeyHashes": hashes,
            "portable": True,
            "deactivated": False,
            "ttl": 3600,
            "watchers": ["https://watcher.example"],
            "witness": {},
        },
        "state": {"@context": ["https://www.w3.org/ns/did/v1"], "id": "did:webvh:{SCID}:example.com", "more": 1},
    }
    second: Entry = {
        "versionId": "",
        "versionTime": "2026-11-20T13:00:00Z",
        "parameters": {"updateKeys": [multikey(NEXT.public)], "nextKeyHashes": hashes, "portable": False},
        "state": {"id": "did:webvh:{SCID}:example.com", "alsoKnownAs": ["did:web:example.com"]},
    }
    return [first, second]


def made(entries: list[Entry]) -> list[Entry]:
    """`entries` with the SCID, hashes and proofs that their content asks for."""
    first, second = copy.deepcopy(entries)
    scid = scid_of(first, "{SCID}")
    first, second = with_scid(first, scid), with_scid(second, scid)
    first["versionId"] = f"1-{entry_hash(first, scid)}"
    second["versionId"] = f"2-{entry_hash(second, first['versionId'])}"
    return [with_proof(first, GENESIS), with_proof(second, NEXT)]


def text_of(entries: list[Entry]) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)


def places(value: object, path: Place = ()) -> Iterator[Place]:
    """The path of every member and item inside `value`."""
    items: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


REPLACEMENTS: list[Any] = [None, "x", 7, True, [], ["x"], {}]


def variants(entries: list[Entry]) -> Iterator[tuple[Place, str, list[Entry]]]:
    """Every member of `entries` removed, replaced and, if it is text, changed by a letter."""
    for path in places(entries):
        if len(path) == 1:
            continue
        values: list[Any] = [*REPLACEMENTS, "remove"]
        found: Any = entries
        for key in path:
            found = found[key]
        if isinstance(found, str) and found:
            values.append(found[:-1] + ("y" if found[-1] != "y" else "w"))
        for value in values:
            changed = copy.deepcopy(entries)
            owner: Any = changed
            for key in path[:-1]:
                owner = owner[key]
            if value == "remove":
                del owner[path[-1]]
            else:
                owner[path[-1]] = value
            if changed != entries:
                yield path, repr(value), changed


def test_a_changed_log_has_the_same_verdict_here_and_there(tmp_path: Path) -> None:
    entries = made(two_entries())
    assert we_accept(text_of(entries))
    assert they_accept(text_of(entries), tmp_path)
    differences = []
    for path, value, changed in variants(entries):
        ours, theirs = we_accept(text_of(changed)), they_accept(text_of(changed), tmp_path)
        if ours != theirs:
            differences.append((path, value, ours, theirs))
    assert differences == []


STRICTER = {
    ((0, "parameters", "deactivated"), "True"): "nothing follows an entry that deactivated the identity",
    ((0, "parameters", "ttl"), "True"): "true is not a number",
    ((0, "state", "id"), "'did:webvh:{SCID}:example.coy'"): "who moves must name where from",
    ((1, "state", "id"), "'did:webvh:{SCID}:example.coy'"): "who moves must name where from",
    ((1, "parameters", "nextKeyHashes"), "'remove'"): "a pre-rotated entry gives both, says the method",
    ((1, "parameters", "nextKeyHashes"), "['x']"): "a key hash is a multihash, used yet or not",
}
"""Where we refuse on purpose what the reference library accepts."""


def test_a_changed_log_that_is_made_again_has_the_same_verdict_here_and_there(tmp_path: Path) -> None:
    differences = []
    accepted = 0
    for path, value, changed in variants(two_entries()):
        try:
            text = text_of(made(changed))
        except (IntegrityError, KeyError, TypeError, AttributeError):
            continue  # there is nothing to hash or to sign
        ours, theirs = we_accept(text), they_accept(text, tmp_path)
        accepted += ours
        if ours != theirs:
            assert not ours, (path, value)
            differences.append((path, value))
    assert accepted > 20
    assert set(differences) == set(STRICTER)
