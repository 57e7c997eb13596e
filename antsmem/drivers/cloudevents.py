"""An event as a broker's message, in CloudEvents' binary mode: attributes are headers, data is the payload.

As the Kafka Protocol Binding for CloudEvents 1.0.2 says in section 3.2: `ce_` before each name, but
`datacontenttype` is `content-type`. Pulsar has no binding of its own; its properties are used the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from antsmem.memory.roles import LogRecord

_PREFIX: Final = "ce_"
_CONTENT_TYPE: Final = "content-type"
_PLAIN_ID: Final = "id"
_FOREIGN: Final = " "  # no attribute is named so
_REMEMBERED: Final = 256  # headers, which strangers may name


@lru_cache(256)
def _header(attribute: str) -> str:
    return _CONTENT_TYPE if attribute == "datacontenttype" else _PREFIX + attribute


class _Attributes(dict[str, str]):
    """Header → the attribute that it names; "" for the id of an event that is no CloudEvent."""

    def __missing__(self, header: str) -> str:
        if header.startswith(_PREFIX):
            found = header[len(_PREFIX) :] or _FOREIGN
        else:
            found = {_CONTENT_TYPE: "datacontenttype", _PLAIN_ID: ""}.get(header, _FOREIGN)
        if len(self) < _REMEMBERED:
            self[header] = found
        return found


_ATTRIBUTES: Final = _Attributes()


def headers_of(event: LogRecord) -> list[tuple[str, str]]:
    """The message's headers. An event whose attributes lack `id` is no CloudEvent: its id goes without prefix."""
    found = [(_header(name), value) for name, value in event.headers.items()]
    if event.headers.get("id") != event.id:
        found.append((_PLAIN_ID, event.id))
    return found


def event_of(stream: str, headers: Iterable[tuple[str, bytes]], data: bytes | None) -> LogRecord | None:
    """The event that a message is; None if it is none: somebody else's, or a value-less tombstone."""
    try:
        told = {_ATTRIBUTES[header]: value.decode() for header, value in headers}
    except (UnicodeDecodeError, AttributeError):  # a value that is no text, or none
        return None
    return _event(stream, told, data)


def event_with(stream: str, properties: Mapping[str, str], data: bytes | None) -> LogRecord | None:
    """`event_of` where the library has the headers as text."""
    return _event(stream, {_ATTRIBUTES[header]: value for header, value in properties.items()}, data)


def _event(stream: str, told: dict[str, str], data: bytes | None) -> LogRecord | None:
    told.pop(_FOREIGN, None)
    name = told.pop("", "") or told.get("id", "")
    return LogRecord(stream, name, told, data) if name and data is not None else None
