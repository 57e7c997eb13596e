"""One relay's inbox, opened: what is shown, and what the relay is told afterwards."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from antsmem.cli.relays import own_relay, resolver
from antsmem.core.clock import utc_text
from antsmem.core.errors import AntsmemError, CannotUnlockError, IntegrityError, NotFoundError
from antsmem.core.record import record
from antsmem.identity.endpoint import MAX_ITEMS, READ_SCHEMA, InboxItem
from antsmem.identity.fields import Fields
from antsmem.identity.message import Address, open_message
from antsmem.identity.statement import open_statement, sign_statement

if TYPE_CHECKING:
    from antsmem.cli.context import Context
    from antsmem.identity.log import IdentityLog

_MOST: Final = 1000


@record
class InboxRow:
    """One item as it is shown: a message with its text, or another agent's word that it read one (`kind`
    `read`)."""

    kind: str
    message: str
    sender: str
    host: str
    time: str
    text: str
    problem: str

    def shown(self) -> str:
        """For a terminal: strangers' words are indented, and their control characters cannot act."""
        lines = [f"--- {self.kind} {self.message} from {self.sender}, {self.time}"]
        lines += [f"  {line}" for line in self.text.split("\n")] if self.text else []
        lines += [f"!!! {self.problem}"] if self.problem else []
        return "\n".join(
            "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines
        )


class Inbox:
    """The inbox of the workspace's agent at the relay `url`."""

    def __init__(self, context: Context, url: str) -> None:
        self._context = context
        self._relay = own_relay(context, url)
        # The log as this relay has it: whoever writes must not make this host ask a server of his choice.
        self._resolver = resolver(context, "")
        self._senders: dict[str, IdentityLog] = {}
        self._read: list[bytes] = []
        self._drop: list[tuple[str, str, str]] = []
        self._stuck: list[tuple[str, str, str]] = []

    def read(self) -> list[InboxRow]:
        """Everything that waits, oldest first. What is forged is named, and goes with `settle`; what this host
        cannot open or check now stays."""
        rows: list[InboxRow] = []
        after = 0
        while len(rows) < _MOST and (items := self._relay.inbox(after)):
            if items[0].number <= after:
                raise IntegrityError(f"relay `{self._relay.url}` shows its inbox in a circle")
            after = items[-1].number
            rows += [self._row(item) for item in items]
        return rows

    def settle(self, *, discard: bool) -> None:
        """Tell the relay what was read: it then tells the senders. `discard`: what this host cannot open goes
        too."""
        self._drop += self._stuck if discard else []
        while self._read or self._drop:
            read, drop = self._read[:MAX_ITEMS], self._drop[: MAX_ITEMS - len(self._read[:MAX_ITEMS])]
            self._relay.settle(read, drop)
            del self._read[: len(read)], self._drop[: len(drop)]

    def _row(self, item: InboxItem) -> InboxRow:
        try:
            sender = self._senders.get(item.sender) or self._resolver.at(item.sender, self._relay.url)
            self._senders[item.sender] = sender
            return self._message(item, sender) if item.kind == "message" else self._word(item, sender)
        except IntegrityError as error:
            self._drop.append((item.kind, item.sender, item.message))
            problem: AntsmemError = error
        except (CannotUnlockError, NotFoundError) as error:
            self._stuck.append((item.kind, item.sender, item.message))
            problem = error
        return InboxRow(item.kind, item.message, item.sender, "", "", "", str(problem))

    def _message(self, item: InboxItem, sender: IdentityLog) -> InboxRow:
        keystore = self._context.keystore
        address = Address(item.sender, keystore.scid, item.message)
        found = open_message(item.body, address, keystore.op_key, sender)
        word = {
            "schema": READ_SCHEMA,
            "from": item.sender,
            "to": keystore.scid,
            "id": item.message,
            "digest": hashlib.sha256(item.body).hexdigest(),
            "time": utc_text(self._context.now_ns),
        }
        self._read.append(sign_statement(word, keystore.op_key))
        problem = "signed by a key that was revoked since: it may not be from this agent" if found.revoked else ""
        return InboxRow("message", item.message, item.sender, found.host, found.time, found.text, problem)

    def _word(self, item: InboxItem, reader: IdentityLog) -> InboxRow:
        what = "the reader's word"
        said = Fields(open_statement(item.body, READ_SCHEMA, reader.operational_keys, what), what)
        mine = self._context.keystore.scid
        if (said.text("from"), said.text("to"), said.text("id")) != (mine, item.sender, item.message):
            raise IntegrityError("a reader's word is about another message")
        self._drop.append((item.kind, item.sender, item.message))
        return InboxRow("read", item.message, item.sender, "", said.text("time"), "", "")
