"""Handles: names for people that lead to an identity, and count only if the identity log names them back.

    @kevin@relay.example    given out by the relay at https://relay.example     acct:kevin@relay.example
    example.org             DNS TXT at _antsmem.example.org, or a well-known file    https://example.org

The last column is how `alsoKnownAs` of the identity's document names it (RFC 7565 for the first kind).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from antsmem.core.errors import IntegrityError, UsageError
from antsmem.core.record import record
from antsmem.identity.document import Document
from antsmem.identity.log import IdentityLog

SERVICE: Final = "AntsmemRelay"
"""The type of the `service` entries that name relays."""

_NAME: Final = r"[a-z0-9](?:[a-z0-9_-]{0,30}[a-z0-9])?"
_PORT: Final = r"(?::[1-9][0-9]{0,4})?"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_DOMAIN: Final = r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_AUTHORITY: Final = rf"(?:{_DOMAIN}|127\.0\.0\.1|localhost|\[::1\]){_PORT}"
_AT: Final = re.compile(rf"@({_NAME})@({_AUTHORITY})")
_ACCT: Final = re.compile(rf"acct:({_NAME})@({_AUTHORITY})")
_HOST: Final = re.compile(_AUTHORITY)
_SCID: Final = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}")


@record
class Handle:
    """`name` at the relay of `authority` (a domain, with a port if not the usual one); no name: the domain
    itself."""

    name: str
    authority: str

    def __str__(self) -> str:
        return f"@{self.name}@{self.authority}" if self.name else self.authority

    @property
    def uri(self) -> str:
        """How an identity's document names it."""
        return f"acct:{self.name}@{self.authority}" if self.name else f"https://{self.authority}"

    @property
    def url(self) -> str:
        """The origin that answers for it."""
        return origin(self.authority)


def parse_handle(text: str) -> Handle:
    """The handle in `text`, `@name@authority` or a domain, else `UsageError`."""
    found = _AT.fullmatch(text.lower())
    if found:
        return Handle(found[1], found[2])
    if _HOST.fullmatch(text.lower()):
        return Handle("", text.lower())
    raise UsageError(f"`{text[:80]}` is no handle", hint="write @name@relay.example, or a domain")


def is_scid(text: str) -> bool:
    """Whether `text` looks like an SCID."""
    return bool(_SCID.fullmatch(text))


def origin(authority: str) -> str:
    """`https://authority`; on this machine itself `http://`."""
    host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
    return f"{'http' if host in _LOOPBACK else 'https'}://{authority}"


def relay_url(text: str) -> str:
    """`text` as the URL of a relay: `https://` and an authority, nothing else; `http://` on this machine only.
    `UsageError` for anything else."""
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    authority = parts.netloc.lower()
    default = ":443" if parts.scheme == "https" else ":80"
    authority = authority.removesuffix(default)
    plain = not (parts.query or parts.fragment or parts.path.strip("/"))
    if not plain or not _HOST.fullmatch(authority) or parts.scheme not in {"https", "http"}:
        raise UsageError(f"`{text[:80]}` is no URL of a relay", hint="write https://relay.example, without a path")
    if parts.scheme == "http" and not is_loopback(f"http://{authority}"):
        raise UsageError(
            f"`{text[:80]}` is not encrypted", hint="a relay is reached by https, but on this machine"
        )
    return f"{parts.scheme}://{authority}"


def is_loopback(url: str) -> bool:
    """Whether `url`, as `relay_url` gives it, is on this machine."""
    host = urlsplit(url).netloc
    return (host if host.endswith("]") else host.rpartition(":")[0] or host) in _LOOPBACK


def relays_of(document: Document) -> tuple[str, ...]:
    """The URLs of the relays in `document`, in order; entries of other kinds or forms are passed over."""
    found: dict[str, None] = {}
    services = document.get("service")
    for item in services if isinstance(services, list) else ():
        if isinstance(item, dict) and item.get("type") == SERVICE and isinstance(item.get("serviceEndpoint"), str):
            try:
                found[relay_url(item["serviceEndpoint"])] = None
            except UsageError:
                continue
    return tuple(found)


def with_relays(document: Document, urls: Collection[str]) -> Document:
    """`document` with exactly `urls` for relays, in this order; its other services stay."""
    services = document.get("service")
    kept = [
        item
        for item in (services if isinstance(services, list) else ())
        if not (isinstance(item, dict) and item.get("type") == SERVICE)
    ]
    ours = [
        {"id": f"{document['id']}#relay-{number}", "type": SERVICE, "serviceEndpoint": url}
        for number, url in enumerate(urls, 1)
    ]
    rest = {member: value for member, value in document.items() if member != "service"}
    return {**rest, "service": [*ours, *kept]} if ours or kept else rest


def handles_of(document: Document) -> tuple[Handle, ...]:
    """The handles that `document` names under `alsoKnownAs`; other names are passed over."""
    names = document.get("alsoKnownAs")
    found = []
    for name in names if isinstance(names, list) else ():
        if not isinstance(name, str):
            continue
        acct = _ACCT.fullmatch(name)
        if acct:
            found.append(Handle(acct[1], acct[2]))
        elif name.startswith("https://") and _HOST.fullmatch(name.removeprefix("https://")):
            found.append(Handle("", name.removeprefix("https://")))
    return tuple(found)


def with_handles(document: Document, handles: Collection[Handle]) -> Document:
    """`document` with exactly `handles`; its other names under `alsoKnownAs` stay."""
    ours = {handle.uri for handle in handles_of(document)}
    names = document.get("alsoKnownAs")
    kept = [name for name in (names if isinstance(names, list) else ()) if name not in ours]
    named = [*kept, *(handle.uri for handle in handles)]
    rest = {member: value for member, value in document.items() if member != "alsoKnownAs"}
    return {**rest, "alsoKnownAs": named} if named else rest


def check_named_back(handle: Handle, log: IdentityLog) -> None:
    """Return if the newest entry of `log` names `handle`: then both say the same. Else `IntegrityError`: whoever
    answers for the handle points at an identity that does not know of it."""
    if handle not in handles_of(log.document):
        raise IntegrityError(
            f"`{handle}` points to identity `{log.scid}`, which does not name it back: the handle proves nothing",
            hint="the agent's owner adds it with `antsmem identity move --handle`",
        )
