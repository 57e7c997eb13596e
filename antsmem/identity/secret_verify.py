"""Verbs: compare this host's ledger with the anchors and take over what is newer; vouch for a waiting secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from antsmem.core.clock import utc_text
from antsmem.core.errors import RollbackError
from antsmem.core.record import record, replace
from antsmem.identity.anchor import Anchor, ask
from antsmem.identity.custody import (
    Access,
    Change,
    Custody,
    adopt_ledger,
    change_custody,
    open_custody,
)
from antsmem.identity.gate import newest_ledger
from antsmem.identity.ledger import Ledger, secret_row
from antsmem.identity.secret import usable
from antsmem.identity.secret_set import ChangedSecrets


@record
class Compared:
    """How this host's ledger stands: how many rows came from anchors, and who did not answer, and why."""

    custody: Custody
    adopted: int
    silent: Mapping[str, str]


def compare_ledger(access: Access, anchors: Sequence[Anchor], now_ns: int) -> Compared:
    """Ask all `anchors` and take over a ledger that continues this host's; that mends one that was lost, too.

    Raises `RollbackError` where two histories part, `IntegrityError` for a forged one; an anchor that does not
    answer is told of.
    """
    told = ask(anchors)
    custody, held = _held(access)
    newest = newest_ledger(told, [access.host], access.log, held).ledger
    before = custody.ledger.seq if custody else 0
    if newest is not None and newest.seq > before:
        custody = adopt_ledger(access, newest, now_ns)
    custody = custody or open_custody(access)
    return Compared(custody, custody.ledger.seq - before, told.silent)


def vouch_for(access: Access, name: str, now_ns: int, *, reason: str = "") -> ChangedSecrets:
    """Make the quarantined version of the secret `name` active: a person says that it is still good. One that is
    active stays so; `NotFoundError` if it has ended."""

    def change(custody: Custody) -> Change:
        secrets = custody.keystore.secrets
        waiting = [each for each in secrets if each.name == name and each.state == "quarantined"]
        if not waiting:
            usable(secrets, name)
            return Change(secrets)
        newest = max(waiting, key=lambda each: each.version)
        known = custody.ledger.standings().get((name, newest.version))
        op = "verify" if known is not None else "set"
        after = tuple(
            replace(each, state="active", changed=utc_text(now_ns)) if each is newest else each for each in secrets
        )
        return Change(after, [secret_row(op, name, newest.version, newest.kind, reason)])

    custody = change_custody(access, change, now_ns)
    return ChangedSecrets((usable(custody.keystore.secrets, name),), custody)


def _held(access: Access) -> tuple[Custody | None, dict[str, Ledger]]:
    """This host's ledger; nothing where it was lost, which the anchors may mend."""
    try:
        custody = open_custody(access)
    except RollbackError:
        return None, {}
    return custody, {"this host": custody.ledger} if custody.ledger.rows else {}
