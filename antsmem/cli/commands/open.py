"""Opening a repository for a command that reads: by this host's keys, or by a recovery kit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from antsmem.backup.repository import Repository, State, list_ids, open_repository, read_state
from antsmem.backup.snapshot import COLD, HOT, TIERS, is_id, time_of
from antsmem.cli.context import Context
from antsmem.cli.keys import host_keyring, kit_keyring
from antsmem.core.config import RepositoryConfig
from antsmem.core.errors import AntsmemError, NotFoundError, UsageError
from antsmem.core.moment import parse_moment

DriverOptions = Annotated[
    list[str] | None,
    typer.Option(help="KEY=VALUE for the driver, VALUE also env:NAME; may be given several times."),
]
Guardians = Annotated[
    list[Path] | None,
    typer.Option(help="A guardian's age identity file, instead of the kit; may be given several times."),
]


def open_for_reading(ctx: Context, wanted: str | None, kit: Path | None) -> Repository:
    """The repository `wanted` (name or URL; default: the first one configured). With `kit`, any machine will do
    and no workspace is needed."""
    if kit is None:
        return ctx.repository(ctx.named([wanted] if wanted else ())[0], host_keyring(ctx))
    if wanted is None:
        raise UsageError("a recovery kit opens a repository: which one?", hint="name it with --repository URL")
    return with_kit(ctx, ctx.named([wanted])[0], kit)


def with_kit(ctx: Context, config: RepositoryConfig, kit: Path) -> Repository:
    """A repository opened by a recovery kit."""
    store = ctx.store(config)
    return open_repository(store, kit_keyring(store, kit))


@contextmanager
def one_of(
    ctx: Context, configs: Sequence[RepositoryConfig], config: RepositoryConfig, failed: dict[str, AntsmemError]
) -> Iterator[None]:
    """A step for `config`, one of the repositories `configs`: if it fails, the others go on."""
    try:
        yield
    except AntsmemError as error:
        if len(configs) == 1:
            raise
        failed[config.name] = error
        ctx.output.error(error)


def driver_options(texts: Sequence[str]) -> dict[str, str]:
    """The options for a driver, given as `KEY=VALUE`; `UsageError` where one is not."""
    pairs = [text.partition("=") for text in texts]
    if any(not key.isidentifier() or not equals for key, equals, _ in pairs):
        raise UsageError("an --option is KEY=VALUE")
    return {key: value for key, _, value in pairs}


def state_of(ctx: Context, repository: Repository, kit: Path | None) -> State:
    """What is in it; compared with what this host saw last, where it is this host's own."""
    return read_state(repository, None if kit else ctx.pin(repository))


def choose(repository: Repository, state: State, wanted: str, at: str | None, now_ns: int) -> tuple[str, str]:
    """(tier, id) of the snapshot that `wanted` (an id, a part of one, `latest`, `cold`) or `at` (a time) means."""
    if not wanted:
        raise UsageError("which snapshot? its name is empty", hint="see `antsmem snapshots`")
    tiers = {HOT: list(state.ids), COLD: list(state.anchor.cold)}
    if at is not None:
        if wanted not in {"latest", HOT}:
            raise UsageError(f"`{wanted}` names a snapshot and --at a time: which one?", hint="leave one out")
        limit = parse_moment(at, now_ns)
        before = [i for i in tiers[HOT] if time_of(i) <= limit]
        if not before:
            raise NotFoundError(f"no snapshot is as old as {at}", hint="see `antsmem snapshots`")
        return HOT, before[-1]
    if wanted in {"latest", *TIERS}:
        tier = COLD if wanted == COLD else HOT
        if not tiers[tier] and wanted == "latest" and tiers[COLD]:
            tier = COLD
        if not tiers[tier]:
            command = f"antsmem backup{' --tier cold' if tier == COLD else ''}"
            raise NotFoundError(f"no {tier} snapshot in `{repository.store.url}`", hint=f"{command} makes one")
        return tier, tiers[tier][-1]
    found = [(tier, i) for tier, ids in tiers.items() for i in ids if wanted in i]
    if len(found) != 1:
        known = is_id(wanted) and wanted in list_ids(repository)
        what = "forgotten" if known else "ambiguous" if found else "not there"
        raise NotFoundError(f"snapshot `{wanted}` is {what}", hint="see `antsmem snapshots`")
    return found[0]
