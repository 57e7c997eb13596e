"""Which backend plays which role of the shared memory here, and the profiles that name a combination."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from antsmem.core.config import BackendConfig, resolve
from antsmem.core.errors import BackendError, ConfigError, DriverMissingError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from antsmem.cli.context import Context
    from antsmem.memory.exchange import Backends

GROUPS: Final = {
    "log": "antsmem.logs",
    "durable": "antsmem.durables",
    "cache": "antsmem.caches",
    "vectors": "antsmem.vectors",
    "text": "antsmem.texts",
    "blob": "antsmem.blobs",
    "directory": "antsmem.directories",
}
"""Role → the group of entry points of its drivers."""

NEEDED: Final = ("log", "durable", "blob")
"""The roles without which devices cannot meet."""

READABLE: Final = ("vectors", "text")
"""The roles in which a server can read what an agent remembers, or recover much of it."""

TRUST: Final = "trusted_tenant"
"""The option by which the operator says that this server may."""

_EMBEDDED: Final = {
    ("log", "file"): "logs:FileLog",
    ("durable", "file"): "durables:FileDurable",
    ("cache", "memory"): "caches:MemoryCache",
    ("vectors", "file"): "vectors:FileVectors",
    ("text", "file"): "texts:FileTexts",
    ("blob", "file"): "blobs:FileBlobs",
    ("directory", "file"): "directories:FileDirectory",
}

PROFILES: Final[dict[str, dict[str, str]]] = {
    "embedded": {
        "log": "{place}",
        "durable": "{place}",
        "cache": "memory:",
        "blob": "{place}",
        "directory": "{place}",
    },
    "milvus-kafka-redis": {
        "log": "kafka://{place}:9092/antsmem",
        "durable": "postgres://{place}:5432/antsmem",
        "cache": "redis://{place}:6379",
        "vectors": "milvus://{place}:19530/antsmem",
        "text": "postgres://{place}:5432/antsmem",
        "blob": "s3://antsmem/memory",
        "directory": "etcd://{place}:2379/antsmem",
    },
    "cockroach-pulsar-memcached": {
        "log": "pulsar://{place}:6650/public/default/antsmem",
        "durable": "cockroach://{place}:26257/antsmem",
        "cache": "memcached://{place}:11211",
        "blob": "s3://antsmem/memory",
        "directory": "etcd://{place}:2379/antsmem",
    },
    "aws": {
        "log": "dynamodb://antsmem-log",
        "durable": "dynamodb://antsmem",
        "cache": "dax:///antsmem-cache",
        "blob": "s3://antsmem/memory",
    },
}
"""Profile → role → URL; `{place}` is a host name, or for `embedded` a folder."""


def opened(ctx: Context, config: BackendConfig) -> Any:
    """The driver of a backend, open. `DriverMissingError`: there is none for its URL's scheme; `ConfigError`:
    it would read what nobody said it may."""
    options = {name: resolve(value, ctx.environment) for name, value in config.options.items()}
    if config.role in READABLE:
        check_trust(config)
        options.pop(TRUST, None)
    return driver(config.role, scheme_of(config.url)).open(config.url, options)


def scheme_of(url: str) -> str:
    """The scheme of a backend's URL; a path is a `file`."""
    return url.partition(":")[0] if ":" in url else "file"


def check_trust(config: BackendConfig) -> None:
    """`ConfigError` for a server that could read what the agent remembers, and nobody said that it may."""
    local = (config.role, scheme_of(config.url)) in _EMBEDDED
    if config.role in READABLE and not local and config.options.get(TRUST) != "yes":
        raise ConfigError(
            f"the server of the role `{config.role}` could read what the agent remembers",
            hint=f"if it may: antsmem backend add {config.role} URL --trusted-tenant",
        )


def driver(role: str, scheme: str) -> Any:
    """The driver for URLs with `scheme` in the role `role`: an embedded one by name, any other by entry point."""
    if place := _EMBEDDED.get((role, scheme)):
        module, _, name = place.partition(":")
        return getattr(import_module(f"antsmem.memory.embedded.{module}"), name)
    from importlib.metadata import entry_points

    points = entry_points(group=GROUPS[role])
    for point in points:
        if point.name == scheme:
            try:
                return point.load()
            except ModuleNotFoundError as error:
                raise DriverMissingError(
                    f"the library for `{scheme}://` is not installed", hint=f"pip install 'antsmem[{scheme}]'"
                ) from error
    raise DriverMissingError(
        f"no driver for `{scheme}://` in the role `{role}`",
        hint=f"there are: {', '.join(sorted(point.name for point in points))}",
    )


def configured(ctx: Context, role: str) -> BackendConfig:
    """The backend of `role`; `NotFoundError` if none is configured, `UsageError` if there is no such role."""
    if role not in GROUPS:
        raise UsageError(f"`{role}` is no role of a backend: there are {', '.join(GROUPS)}")
    for config in ctx.agent.backends:
        if config.role == role:
            return config
    raise NotFoundError(f"no backend is configured for the role `{role}`", hint="antsmem backend add embedded DIR")


def devices_meet(ctx: Context) -> bool:
    """Whether any backend through which devices meet is configured: an index alone is none."""
    return any(config.role in NEEDED for config in ctx.agent.backends)


def exchange_backends(ctx: Context, *, make: bool = False) -> Backends | None:
    """The backends through which devices meet, open; None if none of them is configured. `BackendError` for a
    folder that was not made, or whose disk is not mounted, unless it may be made now."""
    if not devices_meet(ctx):
        return None
    from antsmem.memory.exchange import Backends

    wanted = [configured(ctx, role) for role in NEEDED]
    if not make:
        _require_made(wanted)
    log, durable, blob = (opened(ctx, config) for config in wanted)
    return Backends(log, durable, blob, where=wanted[0].url)


def _require_made(configs: Sequence[BackendConfig]) -> None:
    """Opening an embedded backend makes it: where its disk is not mounted, in the empty place of it."""
    for config in configs:
        if config.role in {"log", "durable"} and (config.role, scheme_of(config.url)) in _EMBEDDED:
            from antsmem.memory.embedded.place import folder_of

            path = folder_of(config.url, config.options) / f"{config.role}.db"
            if not path.exists():
                raise BackendError(
                    f"`{path}` is not there",
                    hint="mount its disk, or make it: antsmem backend init; lost: antsmem backend rebuild",
                )
