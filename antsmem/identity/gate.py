"""The restore gate: old values come back only as far as the newest ledger allows.

A backup, an escrow or an anchor may each be old, by accident or because somebody wants a revoked secret back. So
the newest ledger that any of them holds decides about all values, and where nobody but the place that is restored
from could say how new that ledger is, values wait until a person vouches for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from antsmem.core.age import X25519Identity
from antsmem.core.clock import utc_text
from antsmem.core.errors import CannotUnlockError, IntegrityError, RollbackError
from antsmem.core.record import field, record, replace
from antsmem.identity.anchor import REMOVE, Told, check_head, publication_from_bytes
from antsmem.identity.custody import fork
from antsmem.identity.ledger import Ledger, Standing
from antsmem.identity.log import IdentityLog
from antsmem.identity.secret import Secret
from antsmem.identity.secrets_escrow import COMING_BACK, SecretsEscrow


@record
class Verdict:
    """What becomes of one version of a secret. `state` is as in identity/secret.py; `why` is for people, and
    `reissue` says that a new value has to be had from whoever issues it."""

    name: str
    version: int
    state: str
    kind: str
    why: str
    reissue: bool = False


@record
class Newest:
    """The newest ledger there is (None: nobody has one). `witnesses` are the anchors that vouch for it: they hold
    it or its beginning; `silent` the ones that did not answer, and why."""

    ledger: Ledger | None
    witnesses: tuple[str, ...]
    silent: Mapping[str, str] = field(default_factory=dict)


@record
class Gated:
    """What passed the gate: the secrets for the new keystore, the ledger that goes on, and what was decided of
    each secret. `fresh`: somebody besides the restored place vouched for the ledger."""

    ledger: Ledger | None
    secrets: tuple[Secret, ...]
    verdicts: tuple[Verdict, ...]
    fresh: bool
    witnesses: tuple[str, ...] = ()
    silent: Mapping[str, str] = field(default_factory=dict)


def newest_ledger(
    told: Told, identities: Sequence[X25519Identity], log: IdentityLog, held: Mapping[str, Ledger] | None = None
) -> Newest:
    """The newest of the ledgers that the anchors told of and of those already opened (`held`: where → ledger).

    A publication without a ledger is a pin. Raises `IntegrityError` if one is damaged or forged, `RollbackError`
    if one is not the beginning of the newest (a fork), or a pin has seen more than the newest has.
    """
    ledgers = dict(held or {})
    pins: list[tuple[str, int, str]] = [(name, ledger.seq, ledger.hash) for name, ledger in ledgers.items()]
    for name, data in told.answers.items():
        if data is None:
            continue
        try:
            publication = publication_from_bytes(data)
            check_head(publication.head, log)
            pins.append((name, publication.head.seq, publication.head.hash))
            if publication.sealed and _is_longer(publication.head.seq, ledgers.values()):
                ledgers[name] = publication.ledger(identities, log)
        except CannotUnlockError as error:
            raise CannotUnlockError(
                f"anchor `{name}` holds a ledger that this kit does not open: {error}",
                hint="name the newest secrets' escrow with --secrets; antsmem restore --to DIR needs no ledger",
            ) from None
        except IntegrityError as error:
            raise IntegrityError(
                f"anchor `{name}`: {error}",
                hint=f"is the agent at another host now, of which this one does not know? else {REMOVE}",
            ) from None
    newest = max(ledgers.values(), key=lambda ledger: ledger.seq, default=None)
    for name, seq, digest in pins:
        if newest is None or seq > newest.seq:
            raise RollbackError(
                f"`{name}` has seen row {seq} of the ledger, but the newest that is to be had ends with row "
                f"{newest.seq if newest else 0}: something older was put in its place",
                hint="make the anchor that has it reachable, and name it with --anchor",
            )
        if not newest.holds(seq, digest):
            raise fork(f"`{name}`")
    witnesses = tuple(name for name, data in told.answers.items() if data is not None)
    return Newest(newest, witnesses, told.silent)


def gate(
    newest: Newest,
    escrow: SecretsEscrow | None,
    backup: Collection[str],
    now_ns: int,
    *,
    accept_stale: bool = False,
) -> Gated:
    """Apply the newest ledger to the older values of `escrow`.

    What was revoked, destroyed or superseded comes back without a value; what is for one use, or leased, is
    withheld; the rest is active if an anchor besides `backup` (the names of what is being restored from) vouched
    for the ledger, or `accept_stale`, and quarantined otherwise.
    """
    fresh = accept_stale or bool(set(newest.witnesses) - set(backup))
    standings = newest.ledger.standings() if newest.ledger else {}
    values = {(secret.name, secret.version): secret for secret in (escrow.secrets if escrow else ())}
    secrets: list[Secret] = []
    verdicts: list[Verdict] = []
    for key in (*standings, *(key for key in values if key not in standings)):
        verdict = _verdict(key, standings.get(key), values.get(key), fresh=fresh)
        verdicts.append(verdict)
        secrets.append(_under(verdict, standings.get(key), values.get(key), utc_text(now_ns)))
    missed = {each.name: each.version for each in sorted(verdicts, key=lambda each: each.version) if each.reissue}
    told = [each for each in verdicts if not each.reissue or missed[each.name] == each.version]
    return Gated(newest.ledger, tuple(_kept(secrets)), tuple(told), fresh, newest.witnesses, dict(newest.silent))


def _verdict(key: tuple[str, int], standing: Standing | None, secret: Secret | None, *, fresh: bool) -> Verdict:
    kind = standing.kind if standing else secret.kind if secret else ""
    state, why = _decided(standing, kind, secret, fresh)
    return Verdict(*key, state, kind, why, reissue=state == "withheld")


def _decided(standing: Standing | None, kind: str, secret: Secret | None, fresh: bool) -> tuple[str, str]:
    """The state that a version comes back in, and why."""
    if standing is not None and standing.state in {"superseded", "revoked", "destroyed"}:
        return standing.state, f"{standing.state} on {standing.changed}"
    if kind not in COMING_BACK:
        return "withheld", "it is for one host or one use"
    if secret is None or not secret.value:
        return "withheld", "no escrow at hand holds its value"
    if standing is None:
        return "quarantined", "the ledger does not know it"
    if standing.state == "pending":
        return "pending", "was waiting to be made active"
    if secret.state == "quarantined":
        return "quarantined", "it was quarantined when the escrow was made"
    if not fresh:
        return "quarantined", "no other anchor could tell whether it was revoked"
    return "active", "the newest ledger allows it"


def _under(verdict: Verdict, standing: Standing | None, secret: Secret | None, now: str) -> Secret:
    """The secret as the new keystore holds it."""
    made = secret.created if secret else standing.changed if standing else now
    known = secret or Secret(verdict.name, verdict.version, verdict.state, verdict.kind, made, now, b"")
    allowed = verdict.state in {"active", "pending", "quarantined"}
    changed = known.changed if known.state == verdict.state else now
    return replace(
        known, state=verdict.state, kind=verdict.kind, changed=changed, value=known.value if allowed else b""
    )


def _kept(secrets: Sequence[Secret]) -> list[Secret]:
    """Of each secret what lives, and the newest version that does not: the ledger remembers the rest."""
    ended = {"superseded", "revoked", "destroyed", "withheld"}
    newest: dict[str, int] = {}
    for secret in secrets:
        if secret.state in ended:
            newest[secret.name] = max(newest.get(secret.name, 0), secret.version)
    return [secret for secret in secrets if secret.state not in ended or newest[secret.name] == secret.version]


def _is_longer(seq: int, ledgers: Collection[Ledger]) -> bool:
    return all(seq > ledger.seq for ledger in ledgers)
