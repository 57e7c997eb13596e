"""One entry of an identity log: how its hash, its SCID and its proof are computed and checked.

Formats: did:webvh 1.0 (https://identity.foundation/didwebvh/v1.0/) with `eddsa-jcs-2022` proofs
(https://www.w3.org/TR/vc-di-eddsa/#eddsa-jcs-2022).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, TypeAlias

from antsmem.core import canonical
from antsmem.core.errors import IntegrityError
from antsmem.identity.multikey import base58_decode, base58_encode, multihash, multikey, parse_multikey
from antsmem.identity.signing import SigningKey, is_strong, verify

Entry: TypeAlias = dict[str, Any]

SCID_PLACEHOLDER = "{SCID}"
MAX_ENTRY_BYTES = 1 << 20


def entry_hash(entry: Entry, previous: str) -> str:
    """The multihash of `entry` without its proof, its `versionId` replaced by `previous`: the version id of the
    entry before, or the SCID for the first."""
    return multihash(canonical.dumps({**_unproven(entry), "versionId": previous}))


def scid_of(entry: Entry, scid: str) -> str:
    """The SCID that the first `entry` should have, given that it uses `scid` (or the placeholder) for it."""
    text = canonical.dumps({**_unproven(entry), "versionId": SCID_PLACEHOLDER})
    draft = text.replace(scid.encode(), SCID_PLACEHOLDER.encode())
    # Read and written again: the replacement may have changed the order of keys.
    return multihash(canonical.dumps(canonical.loads(draft, 2 * MAX_ENTRY_BYTES)))


def with_scid(entry: Entry, scid: str) -> Entry:
    """`entry` with `scid` in every place of the placeholder."""
    text = canonical.dumps(entry).replace(SCID_PLACEHOLDER.encode(), scid.encode())
    filled: Entry = canonical.loads(text, 2 * MAX_ENTRY_BYTES)
    return filled


def with_proof(entry: Entry, key: SigningKey) -> Entry:
    """`entry` with a proof by `key`, dated as the entry is."""
    name = multikey(key.public)
    proof = {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "verificationMethod": f"did:key:{name}#{name}",
        "created": entry["versionTime"],
        "proofPurpose": "assertionMethod",
    }
    proof["proofValue"] = "z" + base58_encode(key.sign(_signed(entry, proof)))
    return {**entry, "proof": [proof]}


def check_proofs(entry: Entry, allowed: Collection[str]) -> None:
    """Return if `entry` has a proof and every proof is a good one by a key of `allowed` (multikeys), else raise
    `IntegrityError`."""
    proofs = entry["proof"]
    if not isinstance(proofs, list) or not proofs:
        raise IntegrityError("no proof")
    for proof in proofs:
        _check_proof(entry, proof, allowed)


def _check_proof(entry: Entry, proof: Any, allowed: Collection[str]) -> None:
    if not isinstance(proof, dict):
        raise IntegrityError("a proof is not an object")
    expected = {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "proofPurpose": "assertionMethod",
    }
    for member, value in expected.items():
        if proof.get(member) != value:
            raise IntegrityError(f"a proof's `{member}` is not `{value}`")
    method, signature = proof.get("verificationMethod"), proof.get("proofValue")
    name = method.partition("#")[2] if isinstance(method, str) else ""
    if method != f"did:key:{name}#{name}":
        raise IntegrityError("a proof's `verificationMethod` is not `did:key:<key>#<key>`")
    if name not in allowed:
        raise IntegrityError("signed by a key that may not change this identity now")
    if not isinstance(signature, str) or not signature.startswith("z"):
        raise IntegrityError("a proof's `proofValue` is not base58")
    public = parse_multikey(name)
    if not is_strong(public):
        raise IntegrityError("signed with a weak Ed25519 point")
    verify(public, _signed(entry, proof), base58_decode(signature[1:]))


def _signed(entry: Entry, proof: dict[str, Any]) -> bytes:
    options = {member: value for member, value in proof.items() if member != "proofValue"}
    return (
        hashlib.sha256(canonical.dumps(options)).digest()
        + hashlib.sha256(canonical.dumps(_unproven(entry))).digest()
    )


def _unproven(entry: Entry) -> Entry:
    return {member: value for member, value in entry.items() if member != "proof"}
