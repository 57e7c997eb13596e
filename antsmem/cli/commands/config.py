"""`antsmem config show`: every setting that is in force, and where it comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from antsmem.cli.context import Context
from antsmem.cli.group import group
from antsmem.cli.output import table
from antsmem.core.errors import NotFoundError
from antsmem.core.record import record

app = group("Show the configuration.")


@record
class Setting:
    """One setting in force."""

    name: str
    value: str
    origin: str


@app.callback()
def _group() -> None:
    """Show the configuration."""


@app.command()
def show(
    context: typer.Context,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each setting comes from.")] = False,
) -> None:
    """Print the settings in force. Never a secret: only references are kept."""
    ctx: Context = context.obj
    rows = [*_operator(ctx), *_workspace(ctx)]
    shown = [(row.name, row.value, *((row.origin,) if origin else ())) for row in rows]
    ctx.output.result("config", {"settings": rows}, lambda: table(shown))


def _operator(ctx: Context) -> list[Setting]:
    rows = []
    for name, place in (("config", ctx.config_dir), ("data", ctx.data_dir), ("state", ctx.state_dir)):
        variable = f"XDG_{name.upper()}_HOME"
        origin = f"${variable}" if ctx.environment.get(variable) else "default"
        rows.append(Setting(f"{name}_dir", str(place), origin))
    operator = ctx.operator
    rows.append(Setting("key_sources", ", ".join(operator.key_sources), operator.origin["key_sources"]))
    for provider in operator.providers:
        options = ", ".join((provider.kind, *sorted(provider.options)))
        rows.append(Setting(f"providers.{provider.name}", options, str(ctx.operator_file)))
    heartbeat, where = operator.heartbeat, str(ctx.operator_file)
    if heartbeat.witness:
        rows.append(Setting("heartbeat.witness", heartbeat.witness, where))
    if heartbeat.ping_url:
        kind = heartbeat.ping_url.partition(":")[0]  # the address itself is what lets somebody tell
        rows.append(
            Setting("heartbeat.ping_url", "set" if kind in {"http", "https"} else heartbeat.ping_url, where)
        )
        rows.append(Setting("heartbeat.ping_every", f"{heartbeat.ping_seconds}s", where))
    return rows


def _workspace(ctx: Context) -> list[Setting]:
    try:
        settings, where = ctx.settings, str(ctx.layout.settings)
    except NotFoundError:
        return [Setting("workspace", "none here", "antsmem init makes one")]
    rows = [
        Setting("workspace", str(ctx.layout.root), _workspace_origin(ctx)),
        Setting("name", settings.name, where),
        Setting("time_zone", settings.time_zone, where),
    ]
    for tier in ("hot", "cold", "escrow"):
        held = getattr(settings, tier)
        counts = [f"{getattr(held, unit)} {unit}" for unit in ("hourly", "daily", "weekly", "monthly", "newest")]
        rows.append(Setting(f"tiers.{tier}.keep", ", ".join(c for c in counts if not c.startswith("0 ")), where))
    rows += [Setting(f"classes.{name}", ", ".join(globs), where) for name, globs in settings.classes.items()]
    agent, path = ctx.agent, str(ctx.agent_file)
    rows += [Setting(name, getattr(agent, name), path) for name in ("host_key", "escrow") if getattr(agent, name)]
    for repository in agent.repositories:
        rows.append(Setting(f"repositories.{repository.name}", repository.url, path))
        rows.append(Setting(f"repositories.{repository.name}.verify", repository.verify, path))
        rows += [
            Setting(f"repositories.{repository.name}.{key}", value, path)
            for key, value in repository.options.items()
        ]
    return rows


def _workspace_origin(ctx: Context) -> str:
    if ctx.options.workspace is not None:
        return "-C"
    return "$ANTSMEM_WORKSPACE" if ctx.environment.get("ANTSMEM_WORKSPACE") else "found upward from here"
