"""Verbs: say of a secret that it may never be used again, and erase its value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from antsmem.core.clock import utc_text
from antsmem.core.errors import NotFoundError
from antsmem.core.record import replace
from antsmem.identity.custody import ENDED, Access, Change, Custody, change_custody
from antsmem.identity.ledger import Standing, secret_row
from antsmem.identity.secret import Secret
from antsmem.identity.secret_set import ChangedSecrets


def revoke_secret(
    access: Access, name: str, now_ns: int, *, version: int | None = None, reason: str = ""
) -> ChangedSecrets:
    """Revoke every version of the secret `name`, or one `version`: no recovery brings it back.

    The value stays in this host's keystore, so that the scanner still knows it; `destroy_secret` erases it.
    Revoking what is revoked changes nothing. `NotFoundError` if neither keystore nor ledger knows it. Raises as
    `change_custody` does. The revocation holds elsewhere once an anchor has the new head.
    """
    return _end(access, ("revoke", "revoked"), (name, version), now_ns, reason)


def destroy_secret(
    access: Access, name: str, now_ns: int, *, version: int | None = None, reason: str = ""
) -> ChangedSecrets:
    """Revoke every version of the secret `name`, or one `version`, and erase the value from the keystore. As
    `revoke_secret` otherwise. Copies in older escrows stay sealed to recovery, and never come back."""
    return _end(access, ("destroy", "destroyed"), (name, version), now_ns, reason)


def _end(
    access: Access, how: tuple[str, str], what: tuple[str, int | None], now_ns: int, reason: str
) -> ChangedSecrets:
    (op, state), (name, version) = how, what

    def meant(secret: Secret) -> bool:
        return secret.name == name and version in (None, secret.version)

    def change(custody: Custody) -> Change:
        secrets = custody.keystore.secrets
        known = {key: each for key, each in custody.ledger.standings().items() if key[0] == name}
        told = [each for (_, number), each in known.items() if version in (None, number)]
        if not told and not any(map(meant, secrets)):
            which = f" in version {version}" if version else ""
            raise NotFoundError(f"no secret is named `{name}`{which}", hint="antsmem secret list")
        done = ("destroyed",) if op == "destroy" else ("revoked", "destroyed")
        # To end one version by its number the ledger has to know all by theirs, also of a class that changes
        # often: else it would come back, or the newer ones would end with it.
        silent = [] if version is None and known else _unknown(secrets, name, known)
        rows = []
        if any(each.state not in done for each in told) or any(map(meant, silent)):
            kind = (told[-1] if told else silent[0]).kind
            rows = [secret_row("rotate", name, each.version, each.kind) for each in silent]
            rows.append(secret_row(op, name, version or 0, kind, reason))
        after = tuple(
            replace(each, state=state, changed=utc_text(now_ns), value=b"" if op == "destroy" else each.value)
            if meant(each) and each.state not in done
            else each
            for each in secrets
        )
        return Change(after, rows)

    custody = change_custody(access, change, now_ns)
    return ChangedSecrets(tuple(secret for secret in custody.keystore.secrets if meant(secret)), custody)


def _unknown(secrets: Iterable[Secret], name: str, known: Mapping[tuple[str, int], Standing]) -> list[Secret]:
    """The versions, in their order, that have no row yet, unless they ended with the one before them."""
    newest = max((version for _, version in known), default=0)
    if newest and known[name, newest].state in ENDED:
        return []
    found = [each for each in secrets if each.name == name and each.version > newest]
    return sorted(found, key=lambda each: each.version)
