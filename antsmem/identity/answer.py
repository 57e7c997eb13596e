"""Answer requests for secrets as OpenClaw makes them: its exec protocol for SecretRefs, the server's side.

docs.openclaw.ai/gateway/secrets: one JSON object in, one out.

    {"protocolVersion": 1, "provider": "antsmem", "ids": ["openai", "vault/db:password"]}
    {"protocolVersion": 1, "values": {"openai": "…"}, "errors": {"vault/db:password": {"message": "…"}}}

An id is what stands behind `secret://` in a reference, with `:` for the `#` that ids cannot hold.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.disk import Buffer
from antsmem.core.errors import AntsmemError, UsageError
from antsmem.core.record import field, record
from antsmem.identity.reference import Reference, parse_reference

PROTOCOL: Final = 1
MAX_REQUEST_BYTES: Final = 1 << 18
"""What OpenClaw sends at most, by its documentation."""

_MAX_IDS: Final = 512


@record
class Answer:
    """The bytes of the answer, and which ids have no value; `repr` does not show the bytes."""

    data: bytes = field(repr=False)
    failed: tuple[str, ...]


def answer(request: Buffer, value_of: Callable[[Reference], bytes]) -> Answer:
    """The answer to `request`: of each id its value, or in one line why there is none.

    `UsageError` if the request is not one of version 1 with at most 512 ids.
    """
    values: dict[str, str] = {}
    errors: dict[str, dict[str, str]] = {}
    for each in _ids(request):
        try:
            values[each] = value_of(reference_of(each)).decode()
        except UnicodeDecodeError:
            errors[each] = {"message": "the value is no UTF-8"}
        except AntsmemError as error:
            errors[each] = {"message": str(error)}
    document: dict[str, Any] = {"protocolVersion": PROTOCOL, "values": values}
    if errors:
        document["errors"] = errors
    return Answer(json.dumps(document, ensure_ascii=False).encode() + b"\n", tuple(errors))


def reference_of(id_: str) -> Reference:
    """The reference that an id means, else `UsageError`."""
    name, colon, key = id_.rpartition(":")
    return parse_reference(f"secret://{name}#{key}" if colon else f"secret://{id_}")


def _ids(request: Buffer) -> list[str]:
    try:
        found = canonical.loads(request, MAX_REQUEST_BYTES)
    except AntsmemError:
        found = None
    if not isinstance(found, dict) or found.get("protocolVersion") != PROTOCOL:
        raise UsageError(f"standard input holds no request of protocol version {PROTOCOL}", hint=_HINT)
    ids = found.get("ids")
    if not isinstance(ids, list) or len(ids) > _MAX_IDS or not all(isinstance(each, str) for each in ids):
        raise UsageError(f"the request has no list `ids` of at most {_MAX_IDS} texts", hint=_HINT)
    return ids


_HINT: Final = 'echo \'{"protocolVersion":1,"provider":"antsmem","ids":["NAME"]}\' | antsmem secret resolve'
