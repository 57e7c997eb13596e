"""An event as a broker's message, in CloudEvents' binary mode: attributes are headers, data is the payload.

As the Kafka Protocol Binding for CloudEvents 1.0.2 says in section 3.2: `ce_` before each name, but
`datacontenttype` is `content-type`. Pulsar has no binding of its own; its properties are used the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from antsmem.memory.roles import LogRecord

_PREFIX: Final = "ce_"
_CONTENT_TYPE: Final = "content-type"
_PLAIN_ID: Final = "id"
_FOREIGN: Final = " "  # no attribute is named so


@lru_cache(256)
def _header(attribute: str) -> str:
    return _CONTENT_TYPE if attribute == "datacontenttype" else _PREFIX + attribute


@lru_cache(256)
def _attribute(header: str) -> str:
    """The attribute that a header names; "" for the id of an event that is no CloudEvent."""
    if header.startswith(_PREFIX):
        return header[len(_PREFIX) :] or _FOREIGN
    return {_CONTENT_TYPE: "datacontenttype", _PLAIN_ID: ""}.get(header, _FOREIGN)


def headers_of(event: LogRecord) -> list[tuple[str, str]]:
    """The message's headers. An event whose attributes lack `id` is no CloudEvent: its id goes without prefix."""
    found = [(_header(name), value) for name, value in event.headers.items()]
    if event.headers.get("id") != event.id:
        found.append((_PLAIN_ID, event.id))
    return found


def event_of(stream: str, headers: Iterable[tuple[str, str | bytes]], data: bytes | None) -> LogRecord | None:
    """The event that a message is; None if it is none: somebody else's, or a value-less tombstone."""
    if data is None:
        return None
    try:
        told = {
            _attribute(header): value if isinstance(value, str) else value.decode() for header, value in headers
        }
    except (UnicodeDecodeError, AttributeError):
        return None
    told.pop(_FOREIGN, None)
    name = told.pop("", "") or told.get("id", "")
    return LogRecord(stream, name, told, data) if name else None
