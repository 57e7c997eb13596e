"""What another host published: a newer identity log in a repository is taken over, or retires this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from antsmem.backup.publish import newer_log
from antsmem.backup.repository import IDENTITY_LOG, Keyring
from antsmem.core.disk import write_file
from antsmem.core.record import replace

if TYPE_CHECKING:
    from antsmem.backup.store import Store
    from antsmem.cli.context import Context
    from antsmem.identity.log import IdentityLog


def with_newest_log(context: Context, store: Store, keys: Keyring) -> Keyring:
    """`keys` as the newest identity log sees them: this host's, or a longer one that lies in `store`.

    A longer one is kept here, and said. `RetiredError` if it revokes this host's op key, now and from now on;
    `RollbackError` if it is another history.
    """
    if keys.signer is None:  # a kit reads: it takes the log that lies there
        return keys
    found = newer_log(store, context.log)
    if found is None:
        return keys
    take_over(context, found, f"another host published at `{store.url}`")
    from antsmem.cli.keys import current_keys

    return replace(
        keys,
        identity_version=found.version,
        trusted=found.operational_keys.keys(),
        current=current_keys(found),
        carried={**keys.carried, IDENTITY_LOG.partition("/")[2]: found.text},
    )


def take_over(context: Context, log: IdentityLog, whose: str) -> None:
    """Keep `log`, which continues this host's, and say so; `whose` says where it is from. `RetiredError` if it
    revokes this host's op key, now and from now on."""
    _keep(context, log)
    context.output.note(f"took over version {log.version} of the identity log, which {whose}")
    if context.keystore.recovery_hash not in log.next_key_hashes:
        context.output.warn(
            "the identity was changed by a recovery: if the kit was replaced, run "
            "`antsmem keys rewrap --kit FILE` here with the kit that counts now"
        )


def _keep(context: Context, log: IdentityLog) -> None:
    """Save the longer log here, and that it was seen; a host that it retires keeps the log alone."""
    from antsmem.identity.change import save_change
    from antsmem.identity.keystore import check_keystore

    keystore, files = context.keystore, context.identity_files
    own = log.operational_keys.get(keystore.op_key.public)
    if own is None or own.revoked:
        write_file(files.retired, [b""])
        write_file(files.log, [log.text])
        context.forget_identity()
        check_keystore(keystore, log)
    save_change(files, replace(keystore, log_head=log.head), context.unlocked, {"log": log.text})
    context.forget_identity()
