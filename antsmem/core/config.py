"""The operator's configuration: `config.yaml`, written by people, and one file an agent, written by antsmem.

    ~/.config/antsmem/config.yaml          key_sources: [credentials, host_key], providers
    ~/.config/antsmem/agents/<SCID>.yaml   workspace, host_key, escrow, repositories

Neither holds a secret, only references to one: `env:NAME`, `file:/path`, `command:program argument …`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.duration import seconds_of
from antsmem.core.errors import ConfigError, NotFoundError
from antsmem.core.plainyaml import MAX_BYTES, Node, Reader, read_yaml
from antsmem.core.program import printed
from antsmem.core.record import field, record
from antsmem.core.wakeconfig import WakeConfig, read_wake_config

KEY_SOURCES: Final = ("credentials", "keyring", "host_key", "command:…", "file:…", "fd:N", "passphrase:…")
VERIFY: Final = ("read", "hash", "none")
LEVELS: Final = ("L0", "L1", "L2", "L3", "L4")
ANCHOR_PREFIX: Final = "git+"
ROLES: Final = ("log", "durable", "cache", "vectors", "text", "blob", "directory")
TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PROVIDER_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_DEFAULT_SOURCES: Final[tuple[str, ...]] = ("credentials", "host_key")
_LONGEST_SECONDS: Final = 7 * 86400
_PREFIXES: Final = ("command:", "file:", "fd:", "passphrase:")


@record
class RepositoryConfig:
    """Where a repository is. `options` may hold references; `verify` is how a write is read back: `read` all
    bytes, `hash` what the store says of them (default), or `none`."""

    name: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    verify: str = "hash"


@record
class BackendConfig:
    """What plays a role of the shared memory: a driver's URL. Values of `options` may be references."""

    role: str
    url: str
    options: Mapping[str, str] = field(default_factory=dict)


@record
class AgentConfig:
    """What this host knows of one agent. `escrow` is a store's URL for `keystore-escrow.age`."""

    workspace: str = ""
    host_key: str = ""
    escrow: str = ""
    repositories: tuple[RepositoryConfig, ...] = ()
    anchors: Mapping[str, str] = field(default_factory=dict)
    """Name → `git+URL` of further places that keep the ledger, besides the repositories."""
    level: str = ""
    """The reliability level that the agent has to hold here, `L0` to `L4`; empty: none is asked for."""
    backends: tuple[BackendConfig, ...] = ()
    """At most one a role."""
    tenant: str = "local"
    """Whose agent it is, where several share the backends."""


@record
class ProviderConfig:
    """Where secrets come from. `kind` is the driver; values of `options` may be references."""

    name: str
    kind: str
    options: Mapping[str, str] = field(default_factory=dict)


@record
class ProgramConfig:
    """The program that the heartbeat runs as the agent: a `preset`, or with `command` another command line that
    speaks like it. `environment` names the variables that it gets besides the preset's own, or is `*`. Without a
    `preset` none is configured."""

    preset: str = ""
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    timeout_seconds: float | None = None


@record
class OperatorConfig:
    """What holds for every agent of this operator. `origin` says where each setting comes from."""

    key_sources: tuple[str, ...] = _DEFAULT_SOURCES
    providers: tuple[ProviderConfig, ...] = ()
    agent: ProgramConfig = field(default_factory=ProgramConfig)
    heartbeat: WakeConfig = field(default_factory=WakeConfig)
    origin: Mapping[str, str] = field(default_factory=dict)


def read_operator(path: Path) -> OperatorConfig:
    """The operator's configuration; defaults where there is none. `ConfigError` with file, line and what was
    probably meant."""
    try:
        data = read_file(path, MAX_BYTES)
    except NotFoundError:
        return OperatorConfig(origin={"key_sources": "default"})
    reader = Reader(str(path))
    known = ("key_sources", "providers", "agent", "heartbeat")
    entries = reader.mapping(read_yaml(data, str(path)), known)
    sources, origin = _DEFAULT_SOURCES, "default"
    if (node := entries.get("key_sources")) is not None:
        sources, origin = _key_sources(reader, node), f"{path}:{node.line}"
    providers = _providers(reader, entries.get("providers"))
    agent = _program(reader, entries.get("agent"))
    heartbeat = read_wake_config(reader, entries.get("heartbeat"))
    return OperatorConfig(sources, providers, agent, heartbeat, {"key_sources": origin})


def _program(reader: Reader, node: Node | None) -> ProgramConfig:
    if node is None:
        return ProgramConfig()
    entries = reader.mapping(node, ("preset", "command", "environment", "timeout"))
    if "preset" not in entries:
        reader.fail(node, "`agent` has no `preset`")
    lists = {
        name: tuple(reader.line(item, name) for item in reader.items(entries[name])) if name in entries else ()
        for name in ("command", "environment")
    }
    seconds = None
    if (given := entries.get("timeout")) is not None:
        seconds = _seconds(reader, given)
    return ProgramConfig(reader.line(entries["preset"], "preset"), **lists, timeout_seconds=seconds)


def _seconds(reader: Reader, node: Node) -> float:
    seconds = seconds_of(str(node.value)) or 0
    if not 0 < seconds <= _LONGEST_SECONDS:
        reader.fail(node, "`timeout` is a time from 1s to 7d, such as 90s, 15m or 2h")
    return float(seconds)


def _key_sources(reader: Reader, node: Node) -> tuple[str, ...]:
    sources = tuple(reader.line(item, "key_sources") for item in reader.items(node))
    for item, source in zip(reader.items(node), sources, strict=True):
        if source not in KEY_SOURCES[:3] and not source.startswith(_PREFIXES):
            reader.fail(item, f"`{source}` is no key source: there are {', '.join(KEY_SOURCES)}")
    return sources


def _providers(reader: Reader, node: Node | None) -> tuple[ProviderConfig, ...]:
    providers = []
    for name, entry in reader.table(node).items():
        options = {key: reader.line(value, key) for key, value in reader.table(entry).items()}
        if not PROVIDER_NAME.fullmatch(name):
            reader.fail(entry, f"`{ascii(name[:64])[1:-1]}` is no name for a provider: a-z, 0-9, `-`, `_`")
        providers.append(ProviderConfig(name, options.pop("kind", name), options))
    return tuple(providers)


def agent_path(config_dir: Path, scid: str) -> Path:
    """The file of one agent."""
    return config_dir / "agents" / f"{scid}.yaml"


def read_agent(path: Path) -> AgentConfig:
    """What `write_agent` wrote, or an operator edited; empty where there is none."""
    try:
        data = read_file(path, MAX_BYTES)
    except NotFoundError:
        return AgentConfig()
    reader = Reader(str(path))
    known = ("workspace", "host_key", "escrow", "level", "tenant", "repositories", "anchors", "backends")
    entries = reader.mapping(read_yaml(data, str(path)), known)
    texts = {name: reader.line(entries[name], name) for name in known[:5] if name in entries}
    if texts.get("level", LEVELS[0]) not in LEVELS:
        reader.fail(entries["level"], f"`level` is one of {', '.join(LEVELS)}")
    if not TENANT.fullmatch(texts.get("tenant", "local")):
        reader.fail(entries["tenant"], "`tenant` is up to 64 letters, digits, `.`, `_` and `-`")
    repositories = []
    for name, node in reader.table(entries.get("repositories")).items():
        fields = reader.mapping(node, ("url", "options", "verify"))
        if "url" not in fields:
            reader.fail(node, f"repository `{name}` has no `url`")
        verify = reader.line(fields["verify"], "verify") if "verify" in fields else "hash"
        if verify not in VERIFY:
            reader.fail(fields["verify"], f"`verify` is one of {', '.join(VERIFY)}")
        options = {key: reader.line(value, key) for key, value in reader.table(fields.get("options")).items()}
        repositories.append(RepositoryConfig(name, reader.line(fields["url"], "url"), options, verify))
    anchors = {name: reader.line(node, name) for name, node in reader.table(entries.get("anchors")).items()}
    for name, url in anchors.items():
        if not url.startswith(ANCHOR_PREFIX):
            reader.fail(entries["anchors"], f"anchor `{name}` is not `{ANCHOR_PREFIX}URL`")
        if any(name == item.name for item in repositories):
            reader.fail(entries["anchors"], f"anchor `{name}` has the name of a repository")
    backends = _backends(reader, entries.get("backends"))
    return AgentConfig(**texts, repositories=tuple(repositories), anchors=anchors, backends=backends)


def _backends(reader: Reader, node: Node | None) -> tuple[BackendConfig, ...]:
    backends = []
    for role, entry in reader.mapping(node, ROLES).items():
        fields = reader.mapping(entry, ("url", "options"))
        if "url" not in fields:
            reader.fail(entry, f"backend `{role}` has no `url`")
        options = {key: reader.line(value, key) for key, value in reader.table(fields.get("options")).items()}
        backends.append(BackendConfig(role, reader.line(fields["url"], "url"), options))
    return tuple(backends)


def write_agent(path: Path, config: AgentConfig) -> None:
    """Replace the file of one agent."""
    lines = ["# Written by antsmem; edit it as you like, but comments are not kept.\n"]
    for name in ("workspace", "host_key", "escrow", "level"):
        if value := getattr(config, name):
            lines.append(f"{name}: {_quoted(value)}\n")
    lines.append(f"tenant: {_quoted(config.tenant)}\n" if config.tenant != "local" else "")
    if config.repositories:
        lines.append("repositories:\n")
    for repository in config.repositories:
        lines += [f"  {repository.name}:\n", f"    url: {_quoted(repository.url)}\n"]
        lines.append(f"    verify: {repository.verify}\n" if repository.verify != "hash" else "")
        lines.append("    options:\n" if repository.options else "")
        lines += [f"      {key}: {_quoted(value)}\n" for key, value in sorted(repository.options.items())]
    lines.append("anchors:\n" if config.anchors else "")
    lines += [f"  {name}: {_quoted(url)}\n" for name, url in config.anchors.items()]
    lines.append("backends:\n" if config.backends else "")
    for backend in config.backends:
        lines.append(f"  {backend.role}:\n    url: {_quoted(backend.url)}\n")
        lines.append("    options:\n" if backend.options else "")
        lines += [f"      {key}: {_quoted(value)}\n" for key, value in sorted(backend.options.items())]
    make_private_dir(path.parent)
    write_file(path, ["".join(lines).encode()])


def local_folder(url: str) -> str | None:
    """The folder that a repository's `url` or path names on this machine, links resolved; None for other schemes,
    and for what no file system can hold."""
    from urllib.parse import unquote

    scheme, colon, rest = url.partition(":")
    if colon and scheme == "file":
        url = unquote("/" + rest[2:].partition("/")[2] if rest.startswith("//") else rest)
    elif rest.startswith("//"):
        return None
    return None if "\0" in url else os.path.realpath(url)


def resolve(reference: str, environment: Mapping[str, str]) -> str:
    """The value that `env:NAME`, `file:/path` or `command:…` refers to; any other text is itself. Raises
    `ConfigError` where there is nothing; never shows a value."""
    kind, _, rest = reference.partition(":")
    if kind == "env":
        if rest not in environment:
            raise ConfigError(f"environment variable `{rest}` is not set")
        return environment[rest]
    if kind == "file" and not rest.startswith("//"):
        return read_file(rest, MAX_BYTES).decode(errors="replace").strip("\n")
    if kind == "command":
        return _output_of(rest)
    return reference


def _output_of(command: str) -> str:
    import shlex
    from subprocess import SubprocessError

    name = command.split(" ", maxsplit=1)[0]
    data, status = b"", 1
    with suppress(IndexError, OSError, ValueError, SubprocessError):
        data, status = printed(shlex.split(command), 30, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise ConfigError(f"command `{name}` printed more than {MAX_BYTES >> 10} KiB: no value")
    if status != 0:
        raise ConfigError(f"command `{name}` gave no value")
    return data.decode(errors="replace").strip("\n")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


__all__ = [
    "AgentConfig",
    "BackendConfig",
    "Node",
    "OperatorConfig",
    "ProviderConfig",
    "RepositoryConfig",
    "agent_path",
    "read_agent",
    "read_operator",
    "resolve",
    "write_agent",
]
