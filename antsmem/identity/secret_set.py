"""Verb: put secrets into the keystore, as new ones or in place of what ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from antsmem.core.clock import utc_text
from antsmem.core.errors import UsageError, WouldOverwriteError
from antsmem.core.record import field, record, replace
from antsmem.identity.custody import Access, Change, Custody, change_custody
from antsmem.identity.ledger import Ledger, secret_row
from antsmem.identity.secret import CLASSES, MAX_VALUE_BYTES, Secret, check_secret_name

LIVING = ("active", "quarantined")
_ENDED = ("superseded", "revoked", "destroyed", "withheld")


@record
class NewSecret:
    """A secret to be put in: its value (1 byte to 64 KiB) and class."""

    name: str
    value: bytes = field(repr=False)
    kind: str = "static"


@record
class ChangedSecrets:
    """What a change came to: the versions it was about, as they are now, and the custody after it."""

    secrets: tuple[Secret, ...]
    custody: Custody = field(repr=False)


def set_secrets(
    access: Access, wanted: Sequence[NewSecret], now_ns: int, *, reason: str = "", replacing: bool = False
) -> ChangedSecrets:
    """Put all of `wanted` in, each active, or none.

    One that has an active value is refused (`WouldOverwriteError`) unless that is the same, of the same class, or
    `replacing`, which supersedes it. `UsageError` for a name, class or value that cannot be. Raises as
    `change_custody` does.
    """
    for new in wanted:
        check_new(new)
    if len({new.name for new in wanted}) != len(wanted):
        raise UsageError("a secret stands there twice")
    names = {new.name for new in wanted}

    def change(custody: Custody) -> Change:
        secrets, rows = custody.keystore.secrets, []
        living = {secret.name: secret for secret in secrets if secret.state in LIVING and secret.value}
        held = {name: (secret.value, secret.kind) for name, secret in living.items()}
        fresh = [new for new in wanted if held.get(new.name) != (new.value, new.kind)]
        if not replacing and (taken := sorted({new.name for new in fresh} & living.keys())):
            raise WouldOverwriteError(
                f"secret `{taken[0]}` has a value, of class {living[taken[0]].kind}",
                hint=f"antsmem secret rotate {taken[0]} replaces it; import --replace also changes the class",
            )
        for new in fresh:
            version = next_version(new.name, secrets, custody.ledger)
            secrets = with_version(secrets, made(new, version, "active", now_ns))
            rows.append(secret_row("set", new.name, version, new.kind, reason))
        return Change(secrets, rows)

    custody = change_custody(access, change, now_ns)
    done = [secret for secret in custody.keystore.secrets if secret.name in names and secret.state in LIVING]
    return ChangedSecrets(tuple(done), custody)


def check_new(new: NewSecret) -> None:
    """`UsageError` unless `new` can be a secret."""
    check_secret_name(new.name)
    if new.kind not in CLASSES:
        raise UsageError(f"`{new.kind[:40]}` is no class of secrets: there are {', '.join(CLASSES)}")
    if not 0 < len(new.value) <= MAX_VALUE_BYTES:
        raise UsageError(
            f"the value of secret `{new.name}` has {len(new.value)} bytes: 1 to {MAX_VALUE_BYTES} fit",
            hint="make it smaller" if new.value else "give it a value",
        )


def made(new: NewSecret, version: int, state: str, now_ns: int) -> Secret:
    """`new` as a version of its secret."""
    now = utc_text(now_ns)
    return Secret(new.name, version, state, new.kind, now, now, new.value)


def next_version(name: str, secrets: Iterable[Secret], ledger: Ledger) -> int:
    """A version number that no value of `name` ever had."""
    known = [version for each, version in ledger.standings() if each == name]
    return max([0, *known, *(secret.version for secret in secrets if secret.name == name)]) + 1


def with_version(secrets: Sequence[Secret], new: Secret) -> tuple[Secret, ...]:
    """`secrets` with the version `new`. If it is active, those before, pending or active, are superseded; of what
    has ended, only the newest stays: the ledger remembers the rest."""
    found = [secret for secret in secrets if (secret.name, secret.version) != (new.name, new.version)]
    if new.state == "active":
        found = [
            replace(secret, state="superseded", changed=new.changed)
            if secret.name == new.name and secret.state in {*LIVING, "pending"}
            else secret
            for secret in found
        ]
    newest = max((each.version for each in found if each.name == new.name and each.state in _ENDED), default=0)
    kept = [each for each in found if each.name != new.name or each.state not in _ENDED or each.version == newest]
    return (*kept, new)
