"""One secret of the agent, one version of it, as the keystore and the escrow hold it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from antsmem.core.errors import NotFoundError, UsageError
from antsmem.core.record import record
from antsmem.identity.fields import Fields, to_base64

STATES = ("pending", "active", "quarantined", "withheld", "superseded", "revoked", "destroyed")
CLASSES = ("static", "rotating", "leased", "derived", "identity")
SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
MAX_VALUE_BYTES = 1 << 16


@record
class Secret:
    """Version `version` (from 1) of the secret `name`. `repr` never shows the value."""

    name: str
    version: int
    state: str
    """One of `STATES`."""
    kind: str
    """One of `CLASSES`: how it lives, and so whether a restore may bring it back."""
    created: str
    changed: str
    """UTC times as text: of this version's making and of its last change of state."""
    value: bytes
    """Empty where it was destroyed or did not come back in a recovery."""

    def __repr__(self) -> str:
        return f"<Secret {self.name!r} version {self.version} {self.state}>"


def check_secret_name(name: str) -> None:
    """`UsageError` unless `name` can name a secret: 1 to 128 letters, digits, `_`, `.` and `-`."""
    if not SECRET_NAME.fullmatch(name):
        raise UsageError(
            f"`{name[:80]}` cannot name a secret", hint="use up to 128 letters, digits, `_`, `.` and `-`"
        )


def usable(secrets: Iterable[Secret], name: str) -> Secret:
    """The version of the secret `name` that may be used now: the active one.

    `NotFoundError`: there is none, or its versions were revoked or destroyed. `UsageError`: it came back in a
    recovery of which nobody could say how fresh it was, and waits for somebody to vouch for it.
    """
    versions = [secret for secret in secrets if secret.name == name]
    for secret in versions:
        if secret.state == "active":
            return secret
    if any(secret.state == "quarantined" for secret in versions):
        raise UsageError(
            f"secret `{name}` is quarantined: nothing could tell whether it was revoked since",
            hint=f"antsmem secret verify {name}",
        )
    if versions:
        newest = max(versions, key=lambda secret: secret.version)
        raise NotFoundError(
            f"secret `{name}` is {newest.state} (version {newest.version})", hint=f"antsmem secret set {name}"
        )
    raise NotFoundError(f"no secret is named `{name}`", hint="antsmem secret list")


def secret_to_json(secret: Secret) -> dict[str, Any]:
    """The JSON object of `secret`."""
    return {
        "name": secret.name,
        "version": secret.version,
        "state": secret.state,
        "class": secret.kind,
        "created": secret.created,
        "changed": secret.changed,
        "value": to_base64(secret.value),
    }


def secret_from_json(value: object) -> Secret:
    """The secret in a JSON object, else `IntegrityError`."""
    fields = Fields(value, "a secret")
    secret = Secret(
        name=fields.text("name"),
        version=fields.number("version"),
        state=fields.choice("state", STATES),
        kind=fields.choice("class", CLASSES),
        created=fields.text("created"),
        changed=fields.text("changed"),
        value=fields.data("value"),
    )
    fields.end()
    return secret
