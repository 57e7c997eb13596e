"""Which host does the agent's work: hosts that share nothing but a copy of the files must not both do it.

    workspace  .antsmem/heartbeat/epoch.json   "host H works in epoch N", signed; travels with the files
    host       <state>/<journal>.json          the epoch that this host holds, and whether it has retired
    host       <state>/<journal>.seen          the newest record that this host saw
    host       <state>/<agent>.agent           that this host has worked for the agent

A copy of the workspace on another host, or an older copy put back on this one, does not go with what the host
knows, and starts nothing until a person lets it take over. A larger epoch than this host holds fences it off.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from antsmem.core import canonical
from antsmem.core.clock import utc_text
from antsmem.core.disk import make_private_dir, read_file, write_file
from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError, RetiredError, UsageError
from antsmem.core.record import record

if TYPE_CHECKING:
    from antsmem.heartbeat.journal import Journal
    from antsmem.identity.statement import Signer

SCHEMA: Final = "antsmem.epoch/1"
_LIMIT: Final = 16 << 10
_MAX_EPOCH: Final = 1 << 12
Standing: TypeAlias = Literal["active", "copy", "older", "fenced", "retired", "damaged"]


class Witness(Protocol):
    """Somebody both hosts can reach, who keeps one small document and replaces it only by compare and swap."""

    def read(self) -> tuple[bytes, str] | None:
        """The document and its version token; None if there is none. `BackendError` if nobody answers."""
        ...

    def swap(self, document: bytes, expected: str | None) -> None:
        """Put `document` in the place of the version `expected` (None: of nothing). `ConflictError` if another
        version is there."""
        ...


@record
class Duty:
    """What a signed statement says: `host` does the work of the agent `scid` in `epoch`."""

    scid: str
    epoch: int
    host: str
    time: str


@record
class Claim:
    """Who takes over: this host, with its op key, for the agent `scid`, before a witness or not."""

    scid: str
    host: str
    key: Signer
    witness: Witness | None = None


@record
class Post:
    """This host's part: its memory in `folder`, and the agent's statement in `statement`.

    `agent` is a name for the agent, fit for a file.
    """

    folder: Path
    statement: Path
    agent: str

    def born(self, journal: str) -> None:
        """A new journal begins here: this host holds epoch 0 of it."""
        self._write(journal, 0, retired=False)
        write_file(self.folder / f"{self.agent}.agent", [journal.encode()])

    def standing(self, journal: Journal) -> tuple[Standing, int]:
        """Whether this host may start work, and the epoch that it holds."""
        epoch = self._stated()
        if epoch is None:
            return "damaged", (self._held(journal.name) or (0, False))[0]
        if not journal.number:
            if epoch:
                return "copy", 0
            # A journal that was to begin, and was cut off before its first record, is none.
            return ("older" if self._seen(self._begun()) else "active"), 0
        held = self._held(journal.name)
        if held is None:
            return "copy", 0
        mine, retired = held
        if retired:
            return "retired", mine
        if epoch > mine:
            return "fenced", mine
        return ("older" if epoch < mine or journal.number < self._seen(journal.name) else "active"), mine

    def require_active(self, journal: Journal) -> int:
        """The epoch that this host holds; `RetiredError` if it may not start work."""
        standing, epoch = self.standing(journal)
        if standing == "active":
            return epoch
        hint = "antsmem heartbeat take-over --old-host-off"
        if standing == "damaged":
            raise IntegrityError(f"`{self.statement}` is damaged: nothing started", hint=hint)
        says = {
            "copy": "this workspace is a copy, and its work may be going on elsewhere",
            "older": "this workspace is older than what this host has done from it",
            "fenced": "another host has taken over the work of this agent",
            "retired": "this host has retired from the work of this agent",
        }
        raise RetiredError(f"{says[standing]}: nothing started", hint=hint)

    def alone(self, journal: Journal, witness: Witness | None) -> bool:
        """Whether all that was done for the agent stands in `journal`: this host works, or it has a copy that ends
        with the word of another host that this one retired; and `witness`, if it answers, knows of nobody else.

        A host's own retirement says nothing of what the next host did. Raises as `witness` does.
        """
        standing, mine = self.standing(journal)
        stated = self._stated() or 0
        known = witness.read() if witness is not None else None
        if known is not None and known[0] != self.stated() and epoch_of(known[0]) >= max(stated, mine):
            return False
        if standing == "active":
            return True
        others = standing in {"copy", "fenced"} or (standing == "retired" and stated > mine)
        return others and journal.retired and journal.number >= self._seen(journal.name)

    def saw(self, journal: Journal, *, anew: bool = False) -> None:
        """Remember how far the journal is; an older one only `anew`. A disk that fails forgets it, which costs a
        little safety, not work."""
        if journal.name and (anew or journal.number > self._seen(journal.name)):
            with suppress(AntsmemError):
                make_private_dir(self.folder)
                path = self.folder / f"{journal.name}.seen"
                write_file(path, [str(journal.number).encode()], durable=False)

    def retire(self, journal: Journal, now_ns: int) -> None:
        """Start nothing any more on this host, and say so in the journal: a copy that ends with this record has
        all that this host did."""
        if not journal.name:
            raise NotFoundError("this workspace has done no work yet: there is nothing to retire from")
        epoch = self.standing(journal)[1]
        self._write(journal.name, epoch, retired=True)
        with journal.deciding(now_ns):
            if not journal.retired:
                journal.append(now_ns, {"kind": "retire", "epoch": epoch})
        self.saw(journal)

    def stated(self) -> bytes:
        """The workspace's statement, empty if there is none."""
        try:
            return read_file(self.statement, _LIMIT)
        except NotFoundError:
            return b""

    def _stated(self) -> int | None:
        """The epoch in the workspace's statement, 0 without one, None if it is damaged: not to be believed yet."""
        try:
            epoch = epoch_of(read_file(self.statement, _LIMIT))
        except NotFoundError:
            return 0
        except IntegrityError:
            return None
        return epoch if 0 < epoch < _MAX_EPOCH else None

    def _held(self, journal: str) -> tuple[int, bool] | None:
        try:
            body = canonical.loads(read_file(self.folder / f"{journal}.json", _LIMIT), _LIMIT)
            return int(body["epoch"]), bool(body["retired"])
        except (NotFoundError, IntegrityError, KeyError, TypeError, ValueError):
            return None

    def _begun(self) -> str:
        """The name of the last journal that began on this host."""
        with suppress(NotFoundError):
            return read_file(self.folder / f"{self.agent}.agent", 64).decode("ascii", "replace")
        return ""

    def _seen(self, journal: str) -> int:
        with suppress(NotFoundError, ValueError):
            return int(read_file(self.folder / f"{journal}.seen", 32))
        return 0

    def _write(self, journal: str, epoch: int, *, retired: bool) -> None:
        make_private_dir(self.folder)
        write_file(self.folder / f"{journal}.json", [canonical.dumps({"epoch": epoch, "retired": retired})])

    def claim(self, journal: Journal, signed: Claim, now_ns: int) -> tuple[Duty, bytes]:
        """Say, to the witness if there is one, that the work is this host's, in an epoch larger than any known.

        Nothing is started by that: see `take`. `ConflictError`: another host took over at the same moment, as the
        witness saw.
        """
        known = signed.witness.read() if signed.witness is not None else None
        seen = epoch_of(known[0]) if known else 0
        held = self._held(journal.name) if journal.name else None
        epoch = 1 + max(self._stated() or 0, held[0] if held else 0, seen)
        if epoch >= _MAX_EPOCH:
            raise UsageError(f"`{self.statement}` names the last epoch there is", hint="remove it if it is forged")
        taken = Duty(signed.scid, epoch, signed.host, utc_text(now_ns))
        document = sign_duty(taken, signed.key)
        if signed.witness is not None:
            signed.witness.swap(document, known[1] if known else None)
        return taken, document

    def take(self, journal: Journal, signed: Claim, now_ns: int, doubts: Sequence[Mapping[str, Any]] = ()) -> Duty:
        """Take over: claim the work, and start it from now on.

        Where it was not `alone`, every key that is open in the copy becomes unknown, because another host may have
        gone on with it; `doubts` are records of what else it may have done (see `takeover.py`). Raises as `claim`
        does.
        """
        doubt = not self.alone(journal, signed.witness)
        taken, document = self.claim(journal, signed, now_ns)
        epoch = taken.epoch
        with journal.deciding(now_ns):
            body = {"kind": "take-over", "epoch": epoch, "host": taken.host, "doubt": doubt}
            journal.append(now_ns, body, *doubts)
        make_private_dir(self.statement.parent)
        write_file(self.statement, [document])
        self._write(journal.name, epoch, retired=False)
        self.saw(journal, anew=True)
        return taken


def sign_duty(duty: Duty, key: Signer) -> bytes:
    """The signed statement of `duty`: one line of canonical JSON."""
    from antsmem.identity.statement import sign_statement

    said = {"schema": SCHEMA, "scid": duty.scid, "epoch": duty.epoch, "host": duty.host, "time": duty.time}
    return sign_statement(said, key)


def read_duty(data: bytes, trusted: Container[bytes]) -> Duty:
    """What the statement `data` says, if one of the keys `trusted` signed it, else `IntegrityError`."""
    from antsmem.identity.fields import Fields
    from antsmem.identity.statement import open_statement

    fields = Fields(open_statement(data, SCHEMA, trusted, "epoch.json"), "an epoch statement")
    return Duty(fields.text("scid"), fields.number("epoch"), fields.text("host"), fields.text("time"))


def epoch_of(document: bytes) -> int:
    """The epoch that a statement names, 0 if it names none: enough to stop, not to believe."""
    body: Any = canonical.loads(document, _LIMIT)
    epoch = body.get("epoch") if isinstance(body, dict) else None
    return epoch if isinstance(epoch, int) else 0
