"""Verb: replace the value of a secret, at once or in two steps (pending, then active)."""

from __future__ import annotations

from antsmem.core.clock import utc_text
from antsmem.core.errors import NotFoundError, WouldOverwriteError
from antsmem.core.record import replace
from antsmem.identity.custody import Access, Change, Custody, change_custody
from antsmem.identity.ledger import secret_row
from antsmem.identity.secret import Secret
from antsmem.identity.secret_set import (
    ChangedSecrets,
    NewSecret,
    check_new,
    made,
    next_version,
    with_version,
)
from antsmem.identity.secrets_escrow import COMING_BACK


def rotate_secret(
    access: Access, name: str, value: bytes, now_ns: int, *, pending: bool = False, reason: str = ""
) -> ChangedSecrets:
    """Give the secret `name` the new `value`: active at once, or `pending` until `activate_secret`.

    The class stays. Of a class that no recovery brings back (rotating, leased) the new version needs no row in the
    ledger: it may change every hour. `NotFoundError` if there is no such secret, `WouldOverwriteError` if another
    version is pending. Raises as `change_custody` does.
    """

    def change(custody: Custody) -> Change:
        secrets = custody.keystore.secrets
        versions = _versions(secrets, name)
        if any(secret.state == "pending" for secret in versions):
            raise WouldOverwriteError(
                f"secret `{name}` has a pending version", hint=f"antsmem secret rotate {name} --activate"
            )
        new = NewSecret(name, value, versions[-1].kind)
        check_new(new)
        version = next_version(name, secrets, custody.ledger)
        after = with_version(secrets, made(new, version, "pending" if pending else "active", now_ns))
        if new.kind not in COMING_BACK and not pending and versions[-1].state == "active":
            return Change(after)
        return Change(after, [secret_row("prepare" if pending else "rotate", name, version, new.kind, reason)])

    return _changed(name, change_custody(access, change, now_ns))


def activate_secret(access: Access, name: str, now_ns: int, *, reason: str = "") -> ChangedSecrets:
    """Make the pending version of the secret `name` the active one. `NotFoundError` if there is none."""

    def change(custody: Custody) -> Change:
        secrets = custody.keystore.secrets
        waiting = [secret for secret in _versions(secrets, name) if secret.state == "pending"]
        if not waiting:
            raise NotFoundError(
                f"secret `{name}` has no pending version", hint=f"antsmem secret rotate {name} --pending"
            )
        new = replace(waiting[0], state="active", changed=utc_text(now_ns))
        return Change(with_version(secrets, new), [secret_row("rotate", name, new.version, new.kind, reason)])

    return _changed(name, change_custody(access, change, now_ns))


def _versions(secrets: tuple[Secret, ...], name: str) -> list[Secret]:
    found = sorted((secret for secret in secrets if secret.name == name), key=lambda secret: secret.version)
    if not found:
        raise NotFoundError(f"no secret is named `{name}`", hint=f"antsmem secret set {name}")
    return found


def _changed(name: str, custody: Custody) -> ChangedSecrets:
    return ChangedSecrets((_versions(custody.keystore.secrets, name)[-1],), custody)
