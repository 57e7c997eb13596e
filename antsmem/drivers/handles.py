"""Looks up what a domain says about an agent: DNS TXT at `_antsmem.DOMAIN`, or its well-known file.

    _antsmem.example.org. TXT "scid=Qm… relay=https://relay.example"
    https://example.org/.well-known/antsmem.json    {"scid": "Qm…", "relay": "https://relay.example"}

Neither proves anything: the identity log has to name the domain back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.errors import (
    BackendError,
    DriverMissingError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from antsmem.drivers.relay_http import Bounds, exchange
from antsmem.identity.handle import is_loopback, is_scid, origin, relay_url
from antsmem.identity.resolve import Pointer

_SECONDS: Final = 8.0
_MOST: Final = 16 << 10
_PATH: Final = "/.well-known/antsmem.json"


class Domains:
    """Asks the DNS (`nameserver`, as `ADDRESS:PORT`, instead of the system's), then the domain's web server."""

    def __init__(self, nameserver: str = "") -> None:
        address, _, port = nameserver.rpartition(":")
        if nameserver and not (address and port.isdecimal() and int(port) < 65536):
            raise UsageError(f"`{nameserver[:80]}` is no name server", hint="write --nameserver 192.0.2.1:53")
        self._server = (address.strip("[]"), int(port)) if nameserver else None

    def lookup(self, authority: str) -> Pointer:
        """What `authority` (a domain, on this machine with a port) says. `NotFoundError` if nothing,
        `IntegrityError` if something that cannot be read or contradicts itself, `BackendError` if nobody
        answers."""
        url = origin(authority)
        if not is_loopback(url):
            texts = self._texts(f"_antsmem.{authority.partition(':')[0]}")
            if texts:
                return _from_texts(authority, texts)
        answer = exchange("GET", url + _PATH, Bounds(_MOST, _SECONDS))
        if answer.status in {404, 410}:
            raise NotFoundError(f"domain `{authority}` names no agent, in the DNS or at `{_PATH}`")
        if answer.status != 200:
            raise BackendError(f"`{url}` answered {answer.status} to GET of `{_PATH}`", hint="try again later")
        return _pointer(authority, canonical.loads(answer.body, _MOST))

    def _texts(self, name: str) -> Sequence[str]:
        """The TXT records of `name` that are ours."""
        try:
            import dns.exception
            import dns.resolver
        except ImportError:
            raise DriverMissingError.library("dnspython", "relay") from None
        try:
            resolver = dns.resolver.Resolver(configure=self._server is None)
            if self._server is not None:
                resolver.nameservers, resolver.port = [self._server[0]], self._server[1]
            found = resolver.resolve(f"{name}.", "TXT", lifetime=_SECONDS, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, ValueError) as error:
            what = f"the DNS does not answer about `{name}`: {type(error).__name__}"
            raise BackendError(what, hint="is there a network?") from error
        texts = [b"".join(record.strings).decode("ascii", "replace") for record in found]
        return [text for text in texts if text.startswith("scid=")]


def _from_texts(authority: str, texts: Sequence[str]) -> Pointer:
    if len(texts) != 1:
        raise IntegrityError(
            f"the DNS names {len(texts)} agents for `{authority}`: which one is meant?", hint=_HINT
        )
    pairs = [word.partition("=") for word in texts[0].split()]
    return _pointer(authority, {key: value for key, _, value in pairs})


def _pointer(authority: str, value: Any) -> Pointer:
    scid, relay = (value.get("scid"), value.get("relay")) if isinstance(value, dict) else (None, None)
    if not isinstance(scid, str) or not isinstance(relay, str) or not is_scid(scid):
        raise IntegrityError(f"what `{authority}` says about its agent cannot be read", hint=_HINT)
    try:
        return Pointer(scid, relay_url(relay))
    except UsageError:
        raise IntegrityError(f"`{authority}` names a relay that is no relay's URL", hint=_HINT) from None


_HINT: Final = "ask the domain's owner"
