"""`antsmem secret get` without anything that it does not need: scripts ask for secrets often."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from antsmem.core import canonical
from antsmem.core.disk import AnyPath, read_file
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError
from antsmem.identity.secret import usable

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.identity.secret import Secret

_LIMIT = 1 << 16


def get_secret(ctx: Context, name: str, *, show: bool = False) -> None:
    """Print the active value of the secret `name` to standard output; on a terminal only with `show`."""
    from antsmem.cli.values import say_value

    if sys.stdout.isatty() and not show:
        raise UsageError(
            "a secret is not shown on a terminal", hint=f"antsmem secret get {name} --show, or pipe it on"
        )
    say_value(ctx, usable_secret(ctx, name))


def usable_secret(ctx: Context, name: str) -> Secret:
    """The version of the secret `name` that may be used now, as `identity.secret.usable` says.

    The keystore alone knows it, unless it is an older copy than ledger or pin beside it: only then are those
    opened.
    """
    return usable(newest_secrets(ctx), name)


def newest_secrets(ctx: Context) -> Sequence[Secret]:
    """All versions of the agent's secrets as they count now; raises what `open_custody` raises."""
    files, keystore = ctx.identity_files, ctx.keystore
    seen = canonical.loads(keystore.ledger[-1].encode(), _LIMIT)["seq"] if keystore.ledger else 0
    if max(_row(files.head, ("seq",)), _row(ctx.agent_state / "ledger-pin.json", ("head", "seq"))) > seen:
        custody = ctx.custody
        keystore = custody.keystore if custody else keystore
    return keystore.secrets


def _row(path: AnyPath, place: tuple[str, ...]) -> int:
    """The number of the newest row that the file at `path` knows of; 0 if it is not there, more than any if it
    cannot be understood."""
    try:
        found = canonical.loads(read_file(path, _LIMIT), _LIMIT)
        for name in place:
            found = found[name]
        return int(found)
    except NotFoundError:
        return 0
    except (IntegrityError, KeyError, TypeError, ValueError):
        return canonical.MAX_INTEGER
