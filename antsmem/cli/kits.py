"""Where a command gets the recovery kit from: a file, standard input, or guardians together."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from antsmem.cli.keys import read_kit
from antsmem.core.disk import read_file
from antsmem.core.errors import AntsmemError, CannotUnlockError, UsageError

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.core.age import Identity
    from antsmem.identity.recovery import RecoveryKit

_LIMIT = 1 << 20


def kit_or_guardians(
    context: Context, kit: Path | None, guardians: Sequence[Path] | None, files: Mapping[str, bytes]
) -> RecoveryKit:
    """The recovery kit from the file `kit` (`-`, or no name and no guardians: standard input), or from the
    guardians' files `files` by the identity files `guardians`. `UsageError` where nothing is given."""
    if kit is not None and guardians:
        raise UsageError("the recovery kit or guardians, not both", hint="--kit FILE, or --guardian FILE for each")
    if guardians:
        from antsmem.identity.guardians import open_with_guardians

        return open_with_guardians(files, guardian_identities(guardians))
    if kit is None and (context.options.no_input or sys.stdin.isatty()):
        raise UsageError("which recovery kit?", hint="--kit FILE, --guardian FILE for each guardian, or `--kit -`")
    return read_kit(kit or Path("-"))


def newest_guardians(context: Context) -> dict[str, bytes]:
    """The guardians' files in force: this host's, or a newer set that another host put into a repository."""
    from antsmem.backup.repository import read_state
    from antsmem.cli.keys import host_keyring, key_files
    from antsmem.identity.guardians import guardian_files_in
    from antsmem.identity.keyfiles import newest_set, set_number

    found = guardian_files_in(context.identity_files.guardians)
    for config in context.agent.repositories:
        with suppress(AntsmemError):  # what cannot be reached is told where it is written to
            opened = context.repository(config, host_keyring(context))
            listed = read_state(opened, context.pin(opened)).anchor.files
            _, others = key_files(opened.store)
            others = {name: data for name, data in others.items() if set_number(name) and f"keys/{name}" in listed}
            if newest_set(others) > newest_set(found):
                found = others
    return found


def guardian_identities(paths: Sequence[Path]) -> list[Identity]:
    """The keys in the guardians' identity files, as `age-keygen` writes them."""
    from antsmem.core.age import parse_identity_file

    found: list[Identity] = []
    for path in paths:
        try:
            found += parse_identity_file(read_file(path, _LIMIT).decode("latin-1"))
        except UsageError as error:
            raise UsageError(f"`{path}`: {error}", hint="an identity file of `age-keygen` is wanted") from None
    return found


def require_own(context: Context, kit: RecoveryKit) -> None:
    """Return if `kit` may change this workspace's identity, else `CannotUnlockError`."""
    try:
        kit.generation(context.log)
    except UsageError as error:
        raise CannotUnlockError(str(error), hint=error.hint) from None
