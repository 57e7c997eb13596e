"""Where a repository is, as far as its address and this host's table of mounts say: on this host or on another."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs, urlsplit

from antsmem.core.config import local_folder

_SERVER: Final = re.compile(r"\[([^\]]*)\]|([^:/]*)")
_LOOPBACK: Final = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost", "::1", "0.0.0.0", "::"})  # noqa: S104
_NETWORK: Final = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "fuse.sshfs",
    "davfs",
    "virtiofs",
)


def is_here(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine: to its own addresses alone can a socket be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    for family, kind, _, _, address in found:
        with suppress(OSError), socket.socket(family, kind) as own:
            own.bind(address)
            return True
    return False


def host_of(url: str, options: Mapping[str, str], mounts: str, is_own: Callable[[str], bool] = is_here) -> str:
    """The host on which the repository at `url` is; empty for this one, and where that cannot be told.

    `mounts` is what `/proc/mounts` says: a directory counts as away only on a network file system. `is_own` tells
    whether a name or an address is this host's: then it is this host, whatever it serves.
    """
    if (folder := local_folder(url)) is not None:
        return _mounted_from(folder, mounts, is_own)
    parts = urlsplit(url)
    if parts.scheme == "s3":
        endpoint = parse_qs(parts.query).get("endpoint", [options.get("endpoint", "")])[0]
        if not endpoint:
            return "s3.amazonaws.com"
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
    return _other(parts.hostname or "", is_own)


def _other(host: str, is_own: Callable[[str], bool]) -> str:
    """`host`, unless it is this one."""
    name = host.lower().rstrip(".")
    if name in _LOOPBACK or name.startswith("127.") or name.endswith(".localhost") or is_own(name):
        return ""
    return name


def _mounted_from(path: str, mounts: str, is_own: Callable[[str], bool]) -> str:
    """The server of the network file system on which `path` is; empty for a local disk."""
    best, server = "", ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = words[1].encode().decode("unicode_escape", "replace")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best = point
            away = words[2].startswith(_NETWORK)
            server = words[0].removeprefix("//") if away else ""
    name = _SERVER.match(server.rpartition("@")[2])
    return _other(name[1] or name[2], is_own) if server and name else ""
