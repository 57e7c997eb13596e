"""Which relays and which memory of them a command gets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from antsmem.core.clock import now_ns
from antsmem.core.errors import BackendError, IntegrityError, NotFoundError, RefusedError, RollbackError
from antsmem.identity.handle import handles_of, is_scid, parse_handle, relay_url, relays_of
from antsmem.identity.seen import Seen

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.drivers.relay import RelayClient
    from antsmem.identity.log import IdentityLog
    from antsmem.identity.resolve import Resolved, Resolver


def seen(context: Context) -> Seen:
    """What this host saw of identities and relays."""
    return Seen(context.state_dir / "seen")


def public_relay(context: Context, url: str) -> RelayClient:
    """A relay, asked without saying who asks."""
    from antsmem.drivers.relay import RelayClient

    return RelayClient(url, seen(context), now_ns)


def own_relay(context: Context, url: str, seconds: float = 20.0) -> RelayClient:
    """A relay, asked by the workspace's agent; it has `seconds` to answer."""
    from antsmem.drivers.relay import Credentials, RelayClient

    credentials = Credentials(context.keystore.scid, context.keystore.op_key)
    return RelayClient(url, seen(context), now_ns, credentials, seconds)


def own_relays(context: Context, wanted: str) -> list[str]:
    """The URL `wanted`, or those of the agent's document if it is empty."""
    found = [relay_url(wanted)] if wanted else list(relays_of(context.log.document))
    if not found:
        raise NotFoundError(
            "the identity log names no relay",
            hint="antsmem identity move --relay URL --kit FILE enters one; --relay URL asks one without that",
        )
    return found


def resolver(context: Context, nameserver: str) -> Resolver:
    """How other identities are found. `nameserver` (`ADDRESS:PORT`) instead of the system's if not empty."""
    from antsmem.drivers.handles import Domains
    from antsmem.identity.resolve import Resolver

    return Resolver(lambda url: public_relay(context, url), Domains(nameserver), seen(context), context.now_ns)


def tell_relays(context: Context, urls: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Push the log: (relays that took it, relays that did not, handles that others have there)."""
    told, not_told, taken = [], [], []
    for url in urls:
        try:
            head = own_relay(context, url).register(context.log.text)
        except (BackendError, NotFoundError, RefusedError) as error:
            context.output.error(error)
            not_told.append(url)
            continue
        told.append(url)
        claimed = [each for each in handles_of(context.log.document) if each.name and each.url == url]
        taken += [str(each) for each in claimed if each.name not in head.handles]
    return told, not_told, taken


def refuse_stale(context: Context, urls: Sequence[str]) -> None:
    """`RollbackError` if a relay has a longer log: one more entry behind this one would be a second history."""
    for url in urls:
        with suppress(BackendError, NotFoundError, RefusedError):
            theirs = log_at(context, url)
            if theirs.version > context.log.version:
                raise RollbackError(
                    f"relay `{url}` has version {theirs.version} of the log, this workspace {context.log.version}",
                    hint="antsmem relay register takes it over; then run the same command again",
                )


def log_at(context: Context, url: str) -> IdentityLog:
    """The agent's log as a relay has it, of the same history as the one here."""
    from antsmem.identity.log import parse_log
    from antsmem.identity.resolve import newest_of

    log = parse_log(public_relay(context, url).log(context.log.scid).text)
    if log.scid != context.log.scid:
        raise IntegrityError(f"relay `{url}` served the log of another identity")
    newest_of(context.log, log)
    return log


def newest_log(context: Context, text: bytes) -> bytes:
    """An agent's log `text`, or what its relays have more of it: whoever extends an old one makes a second
    history. A relay that does not answer, or answers nonsense, is named and passed over. `RollbackError`: two
    histories."""
    from antsmem.identity.log import parse_log
    from antsmem.identity.resolve import newest_of

    log = parse_log(text)
    for url in relays_of(log.document):
        try:
            theirs = parse_log(public_relay(context, url).log(log.scid).text)
            if theirs.scid != log.scid:
                raise IntegrityError("the log of another identity")
        except (BackendError, IntegrityError, NotFoundError, RefusedError):
            context.output.warn(f"relay `{url}` did not say whether it has a longer identity log")
            continue
        log = newest_of(log, theirs)
        context.output.note("afterwards tell the relays who is host now: antsmem relay register")
    return log.text


def find(context: Context, who: str, relay: str, nameserver: str) -> Resolved:
    """The identity that `who` means: a handle, an SCID or a DID. An SCID is looked for at `relay`, or where the
    workspace's agent has its own relays."""
    scid = who.split(":")[2] if who.startswith("did:webvh:") and who.count(":") >= 3 else who
    found = resolver(context, nameserver)
    if not is_scid(scid):
        return found.handle(parse_handle(who))
    return found.scid(scid, own_relays(context, relay))
