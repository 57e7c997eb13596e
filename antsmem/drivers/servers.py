"""Where the servers of a backend are and how a client proves itself: the URL with several hosts, and TLS's files.

For the drivers of shared memory. Secrets are options and never stand in a URL, which may be shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from antsmem.backup.store import check_options, yes_or_no
from antsmem.core.errors import ConfigError
from antsmem.core.record import field, record

if TYPE_CHECKING:
    import ssl

SECRETS: Final = ("access_key_id", "key_password", "password", "secret_access_key", "session_token", "token")
TLS_OPTIONS: Final = ("ca_file", "cert_file", "key_file", "key_password", "tls")
_match_host = re.compile(
    r"(\[(?=[^\]]*:)[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_][A-Za-z0-9_.-]{0,252})(?::([0-9]{1,5}))?"
).fullmatch


@record
class Servers:
    """What a URL says. `hosts` are names or addresses with ports, in the order given; `path` is the rest without
    its first slash."""

    url: str
    hosts: tuple[tuple[str, int], ...]
    path: str

    @property
    def on_this_machine(self) -> bool:
        """Whether nothing sent there leaves it."""
        return all(host in {"localhost", "::1"} or host.startswith("127.") for host, _ in self.hosts)

    def joined(self) -> str:
        """The hosts as most clients want them: `a:1,b:2`."""
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)


@record
class Tls:
    """How the client knows the servers (`ca_file`; empty: as the system does) and proves itself (`cert_file` with
    `key_file`; empty: not at all). Paths are expanded."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    key_password: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext:
        """For clients that take Python's own: certificate and host name are checked. `ConfigError`."""
        import ssl

        try:
            made = ssl.create_default_context(cafile=self.ca_file or None)
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert_file:
                made.load_cert_chain(self.cert_file, self.key_file or None, lambda: self.key_password)
        except (OSError, ValueError):  # SSLError is an OSError
            raise ConfigError("`ca_file`, `cert_file` or `key_file` cannot be used") from None
        return made


def split_url(
    scheme: str, url: str, options: Mapping[str, str], known: Collection[str]
) -> tuple[str, Mapping[str, str]]:
    """The URL without its query, and all options: those of the query, which holds none that is secret, and the
    ones given. `ConfigError` for one that is not `known`."""
    check_options(scheme, options, known)
    place, _, query = url.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    check_options(scheme, asked, [name for name in known if name not in SECRETS])
    return place, {**asked, **options}


def read_url(scheme: str, url: str, default_port: int) -> Servers:
    """Take `SCHEME://host[:port][,host[:port]…][/path]` apart. `ConfigError`; a URL with a password is not
    repeated."""
    given, separator, rest = url.partition("://")
    hosts, _, path = rest.partition("/")
    if "@" in rest:
        raise ConfigError(f"a `{scheme}` URL holds no user or password", hint="give them as options, by reference")
    if given != scheme or not separator or "#" in rest:
        raise ConfigError(f"this is no `{scheme}://host:port/…`")
    found = []
    for text in hosts.split(","):
        match = _match_host(text)
        port = int(match[2] or default_port) if match else 0
        if match is None or not 0 < port < 65536:
            raise ConfigError(f"`{text[:80]}` is no `host:port`", hint=f"write {scheme}://host:{default_port}/…")
        found.append((match[1].strip("[]"), port))
    return Servers(url, tuple(found), path)


def read_tls(options: Mapping[str, str]) -> Tls | None:
    """What the options in `TLS_OPTIONS` say; None with `tls=no`. `ConfigError` where files would be ignored or are
    missing."""
    files = {name: options[name] for name in TLS_OPTIONS if name in options and name != "tls"}
    if not yes_or_no(options, "tls", default=True):
        if files:
            raise ConfigError(f"option `{next(iter(files))}` has no meaning with `tls=no`")
        return None
    if ("cert_file" in files) != ("key_file" in files):
        raise ConfigError("options `cert_file` and `key_file` go together")
    for name in ("ca_file", "cert_file", "key_file"):
        if name in files:
            files[name] = os.path.expanduser(files[name])
            if not os.path.isfile(files[name]):
                raise ConfigError(f"`{files[name]}` (option `{name}`) is not there")
    return Tls(**files)


def check_secrecy(servers: Servers, tls: Tls | None, option: str) -> None:
    """`ConfigError` if the secret `option` would cross a network as it is."""
    if tls is None and not servers.on_this_machine:
        raise ConfigError(f"option `{option}` would be sent as it is with `tls=no`", hint="use TLS")


def whole_number(options: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    """The value of an option that is a number in a range."""
    text = options.get(name, str(default))
    if not re.fullmatch("[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise ConfigError(f"option `{name}` must be {lowest} to {highest}")
    return int(text)
