"""The DID document inside an identity log entry: which op keys speak for the agent, and where it is reached.

One host has one op key, named `#op-<host>` and listed under `assertionMethod`. Members of a document that are
not ours are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import record
from antsmem.identity.multikey import multikey, parse_multikey
from antsmem.identity.signing import is_strong

Document: TypeAlias = dict[str, Any]

CONTEXT = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"]

_OP = "#op-"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})")


@record
class Service:
    """A place where the agent is reached: `name` is its fragment, `kind` its type."""

    name: str
    kind: str
    url: str


def check_host(host: str) -> None:
    """`UsageError` unless `host` may name a key: 1 to 63 of letters, digits, `.`, `_`, `-`, first not a sign."""
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"host name `{host[:80]}` cannot name a key",
            hint="use up to 63 letters, digits, `.`, `_` and `-`, for example `--host laptop`",
        )


def new_document(did: str, op_keys: Mapping[str, bytes], services: Collection[Service] = ()) -> Document:
    """The document of `did` with `op_keys` (host → 32-byte public key) and `services`."""
    document: Document = {"@context": CONTEXT, "id": did}
    if services:
        document["service"] = [
            {"id": f"{did}#{service.name}", "type": service.kind, "serviceEndpoint": service.url}
            for service in services
        ]
    return with_op_keys(document, op_keys)


def with_op_keys(document: Document, op_keys: Mapping[str, bytes]) -> Document:
    """`document` with exactly `op_keys` (host → 32-byte public key) for op keys."""
    did = document["id"]
    methods = [item for item in _listed(document, "verificationMethod") if _host_of(did, _id_of(item)) is None]
    uses = [item for item in _listed(document, "assertionMethod") if _host_of(did, item) is None]
    for host, public in sorted(op_keys.items()):
        check_host(host)
        name = f"{did}{_OP}{host}"
        key = {"id": name, "type": "Multikey", "controller": did, "publicKeyMultibase": multikey(public)}
        methods.append(key)
        uses.append(name)
    return {**document, "verificationMethod": methods, "assertionMethod": uses}


def op_keys_of(document: Document) -> dict[str, bytes]:
    """Host → public key of every op key in `document`. `IntegrityError` if one is malformed, weak or doubled."""
    did = document["id"]
    uses = _listed(document, "assertionMethod")
    found: dict[str, bytes] = {}
    for item in _listed(document, "verificationMethod"):
        name = _id_of(item)
        host = _host_of(did, name)
        if host is None or (name not in uses and f"{_OP}{host}" not in uses):
            continue
        if not _HOST.fullmatch(host) or item.get("type") != "Multikey" or item.get("controller") != did:
            raise IntegrityError("an op key is not written as `#op-<host>`, a Multikey of this document")
        public = parse_multikey(item.get("publicKeyMultibase"))
        if not is_strong(public):
            raise IntegrityError(f"the op key of host `{host}` is a weak Ed25519 point")
        if host in found or public in found.values():
            raise IntegrityError(f"the op key of host `{host}` stands twice")
        found[host] = public
    return found


def _listed(document: Document, member: str) -> list[Any]:
    value = document.get(member, [])
    if not isinstance(value, list):
        raise IntegrityError(f"`{member}` of the document is not a list")
    return value


def _id_of(item: object) -> object:
    return item.get("id") if isinstance(item, dict) else None


def _host_of(did: str, name: object) -> str | None:
    """The host that `#op-<host>`, absolute or relative, names."""
    if isinstance(name, str) and name.removeprefix(did).startswith(_OP):
        return name.removeprefix(did).removeprefix(_OP)
    return None
