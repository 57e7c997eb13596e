"""The client of one relay, for one agent: signs what it asks, and believes only what the relay's key has
signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NoReturn

from antsmem.core import canonical
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConflictError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    RetiredError,
    RollbackError,
    UsageError,
)
from antsmem.core.record import record
from antsmem.drivers.relay_http import Answer, Bounds, exchange
from antsmem.identity.anchor import head_only
from antsmem.identity.endpoint import (
    HANDLE_SCHEMA,
    HEAD_SCHEMA,
    LEDGER,
    MAX_ITEMS,
    MAX_LOG_BYTES,
    MAX_SEALED_BYTES,
    MAX_SLOT_BYTES,
    RECEIPT_SCHEMA,
    SCHEMA,
    SLOT_SCHEMA,
    FetchedLog,
    Head,
    InboxItem,
    Receipt,
    RelayInfo,
    Slot,
)
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.handle import is_scid, relay_url
from antsmem.identity.http_signature import NONCE_BYTES, Request, sign_request
from antsmem.identity.multikey import parse_multikey
from antsmem.identity.seen import Seen
from antsmem.identity.signing import SigningKey
from antsmem.identity.statement import open_statement

_SMALL: Final = 64 << 10
_INBOX: Final = 4 << 20
_TRIES: Final = 5
_MESSAGE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_HINT: Final = "see `antsmem relay status`"


@record
class Credentials:
    """Whose requests these are: an agent's SCID and this host's op key."""

    scid: str
    key: SigningKey


class RelayClient:
    """The relay at `url`. Without `credentials` it only answers what it tells everybody. `seen` knows its key,
    `now_ns` tells time, `seconds` bounds one exchange."""

    def __init__(
        self,
        url: str,
        seen: Seen,
        now_ns: Callable[[], int],
        credentials: Credentials | None = None,
        seconds: float = 20.0,
    ) -> None:
        self.url = relay_url(url)
        self._seen = seen
        self._now_ns = now_ns
        self._credentials = credentials
        self._seconds = seconds
        self._info: RelayInfo | None = None

    def info(self) -> RelayInfo:
        """See `identity.endpoint.Relay`, as for the other methods."""
        if self._info is None:
            fields = Fields(self._json(self._ask("GET", "/", _SMALL)), "the relay's answer")
            if fields.text("schema") != SCHEMA:
                raise IntegrityError(
                    f"what answers at `{self.url}` is no relay that this antsmem knows", hint=_HINT
                )
            self._info = RelayInfo(fields.text("url"), parse_multikey(fields.text("key")))
            if self._info.url != self.url:
                raise RefusedError(
                    f"the relay at `{self.url}` calls itself `{self._info.url[:200]}`",
                    hint="use that name, or start it with --url",
                )
            self._seen.relay_key(self.url, self._info.key)
        return self._info

    def register(self, log: bytes) -> Head:
        """The log goes there whole; the relay takes what extends the one it has."""
        if len(log) > MAX_LOG_BYTES:
            raise UsageError(f"a relay keeps logs of up to {MAX_LOG_BYTES} bytes, this one has {len(log)}")
        kind = {"Content-Type": "application/jsonl"}
        try:
            answer = self._ask("PUT", f"/agents/{self._own().scid}/log", _SMALL, log, kind, sign=True)
        except NotFoundError:
            answer = self._ask("POST", "/agents", _SMALL, log, kind, sign=True)
        return self._head(answer)

    def head(self, scid: str) -> Head:
        """What the relay says of an agent."""
        return self._head(self._ask("GET", f"/agents/{scid}", _SMALL))

    def log(self, scid: str) -> FetchedLog:
        """The log and, in a field, the relay's word for it."""
        answer = self._ask("GET", f"/log?scid={scid}", MAX_LOG_BYTES)
        try:
            word = base64.b64decode(answer.fields.get("antsmem-head", ""), validate=True)
        except (binascii.Error, ValueError):
            word = b""
        said = self._statement(word, HEAD_SCHEMA)
        if said.text("scid") != scid:
            raise self._other("another agent")
        return FetchedLog(answer.body, word)

    def handle(self, name: str) -> str:
        """The SCID behind a handle."""
        said = self._statement(self._ask("GET", f"/handles/{name}", _SMALL).body, HANDLE_SCHEMA)
        scid = said.text("scid")
        if said.text("handle") != name or not is_scid(scid):
            raise self._other("another handle")
        return scid

    def send(self, to: str, message: str, sealed: bytes) -> Receipt:
        """A message; the same one again is the same message."""
        if len(sealed) > MAX_SEALED_BYTES:
            raise UsageError(f"a sealed message has up to {MAX_SEALED_BYTES} bytes, this one {len(sealed)}")
        body = canonical.dumps({"from": self._own().scid, "id": message, "sealed": to_base64(sealed)})
        answer = self._ask("POST", f"/agents/{to}/messages", _SMALL, body, _JSON, sign=True)
        said = self._statement(answer.body, RECEIPT_SCHEMA)
        receipt = Receipt(
            said.text("id"),
            said.text("from"),
            said.text("to"),
            said.text("digest"),
            said.text("accepted"),
            answer.body,
        )
        wanted = (message, self._own().scid, to, hashlib.sha256(sealed).hexdigest())
        if (receipt.message, receipt.sender, receipt.to, receipt.digest) != wanted:
            raise self._other("another message")
        return receipt

    def inbox(self, after: int = 0) -> Sequence[InboxItem]:
        """The oldest items."""
        answer = self._ask("GET", f"/agents/{self._own().scid}/inbox?after={after}", _INBOX, sign=True)
        items = Fields(self._json(answer), "the inbox").items("items")
        found = []
        for item in items[:MAX_ITEMS]:
            fields = Fields(item, "an item of the inbox")
            kind = fields.choice("kind", ("message", "read"))
            sender, message, body = fields.text("from"), fields.text("id"), fields.data("body")
            if not is_scid(sender) or not _MESSAGE.fullmatch(message):
                raise self._other("something else")
            found.append(InboxItem(fields.number("number"), kind, sender, message, body))
        return found

    def settle(self, read: Sequence[bytes], drop: Collection[tuple[str, str, str]]) -> None:
        """Acknowledge: with the reader's signed words, or (kind, sender, message) without any."""
        rows = [{"kind": kind, "from": sender, "id": message} for kind, sender, message in drop]
        body = canonical.dumps({"read": [canonical.loads(word, _SMALL) for word in read], "drop": rows})
        self._ask("POST", f"/agents/{self._own().scid}/inbox", _SMALL, body, _JSON, sign=True)

    def slot(self, name: str, scid: str = "") -> Slot | None:
        """What a slot holds, compared with its etag; without credentials only the ledger of `scid`."""
        place = f"/agents/{scid or self._own().scid}/{name}"
        try:
            answer = self._ask("GET", place, MAX_SLOT_BYTES, sign=self._credentials is not None)
        except NotFoundError:
            return None
        etag = hashlib.sha256(answer.body).hexdigest()
        if answer.fields.get("etag") != f'"{etag}"':
            raise self._other("other bytes")
        return Slot(answer.body, etag)

    def put_slot(self, name: str, data: bytes, expected: str | None) -> Slot:
        """Compare and set."""
        if len(data) > MAX_SLOT_BYTES:
            raise UsageError(f"a relay keeps up to {MAX_SLOT_BYTES} bytes here, these are {len(data)}")
        condition = {"If-None-Match": "*"} if expected is None else {"If-Match": f'"{expected}"'}
        fields = {"Content-Type": "application/octet-stream", **condition}
        answer = self._ask("PUT", f"/agents/{self._own().scid}/{name}", _SMALL, data, fields, sign=True)
        said, etag = self._statement(answer.body, SLOT_SCHEMA), hashlib.sha256(data).hexdigest()
        if (said.text("scid"), said.text("slot"), said.text("digest")) != (self._own().scid, name, etag):
            raise self._other("another slot")
        return Slot(data, etag)

    def _own(self) -> Credentials:
        if self._credentials is None:
            raise UsageError("this needs an agent's key", hint="run it in the agent's workspace")
        return self._credentials

    def _head(self, answer: Answer) -> Head:
        said = self._statement(answer.body, HEAD_SCHEMA)
        return Head(
            said.text("scid"),
            said.text("version_id"),
            said.texts("relays"),
            said.truth("home"),
            said.texts("handles"),
            answer.body,
        )

    def _statement(self, data: bytes, schema: str) -> Fields:
        """The relay's signed word in `data`, verified."""
        text = data if data.endswith(b"\n") else data + b"\n"
        try:
            said = Fields(open_statement(text, schema, [self.info().key], "the relay's word"), "the relay's word")
        except IntegrityError as error:
            raise IntegrityError(f"relay `{self.url}`: {error}", hint=_HINT) from None
        if said.text("relay") != self.url:
            raise self._other("another relay")
        return said

    def _other(self, what: str) -> IntegrityError:
        return IntegrityError(f"relay `{self.url}` answered about {what} than was asked for", hint=_HINT)

    def _ask(
        self,
        method: str,
        path: str,
        most: int,
        body: bytes = b"",
        fields: Mapping[str, str] | None = None,
        sign: bool = False,
    ) -> Answer:
        """One exchange; what the relay refuses is raised."""
        fields = dict(fields or {})
        if sign:
            self.info()  # nothing is signed for a relay that calls itself otherwise
            request = Request(
                method,
                self.url + path,
                body,
                fields.get("Content-Type", ""),
                fields.get("If-Match", ""),
                fields.get("If-None-Match", ""),
            )
            created = self._now_ns() // 1_000_000_000
            fields |= sign_request(request, self._own().key, created, os.urandom(NONCE_BYTES))
        answer = exchange(method, self.url + path, Bounds(most, self._seconds), body, fields)
        if not 200 <= answer.status < 300:
            self._refuse(answer)
        return answer

    def _json(self, answer: Answer) -> Any:
        try:
            return canonical.loads(answer.body, _INBOX)
        except IntegrityError:
            raise IntegrityError(f"what answers at `{self.url}` is no relay", hint=_HINT) from None

    def _refuse(self, answer: Answer) -> NoReturn:
        """Raise what an answer means: by its code, never with its text."""
        try:
            body = canonical.loads(answer.body, _SMALL)
            code = str(body.get("error", "")) if isinstance(body, dict) else ""
        except IntegrityError:
            code = ""
        what = f"relay `{self.url}`"
        if code == "retired-key":
            raise RetiredError(f"{what} refuses this host: the identity log revoked its key")
        if code in {"log-fork", "log-older"}:
            if code == "log-fork":
                raise RollbackError(f"{what} has another log of this identity than this one", hint=_FORK)
            raise RollbackError(
                f"{what} has a longer log of this identity", hint="antsmem relay register takes it over"
            )
        if code in _MEANINGS:
            kind_of, says, hint = _MEANINGS[code]
            raise kind_of(f"{what} {says}", hint=hint)
        if answer.status == 429 or answer.status >= 500:
            raise BackendError(f"{what} answered {answer.status}", hint=_HINT)
        raise RefusedError(f"{what} answered {answer.status}", hint=_HINT)


_FORK: Final = "stop: find out who holds a control key; `antsmem identity verify` compares the logs"
_JSON: Final = {"Content-Type": "application/json"}
_MEANINGS: Final[Mapping[str, tuple[type[AntsmemError], str, str]]] = {
    "not-found": (NotFoundError, "has nothing there", _HINT),
    "unknown-agent": (NotFoundError, "does not know this agent", "antsmem relay register"),
    "unknown-key": (RefusedError, "has a log that does not name this host's key", "antsmem relay register"),
    "stale": (RefusedError, "has another time than this machine", "set this machine's clock"),
    "changed": (ConflictError, "keeps something else there by now", ""),
    "moved": (NotFoundError, "says that the agent moved elsewhere", "run the same command again"),
    "inbox-full": (RefusedError, "says that the inbox is full", "try again when it was read"),
    "too-large": (RefusedError, "says that this is too large", ""),
    "full": (RefusedError, "takes no more agents", "choose another relay"),
}


class RelayLedger:
    """The ledger's anchor at a relay: its newest head, as an opaque document in the slot `ledger`. `name` is what
    messages call it; `scid` is whose it is, for a client without credentials, which can only fetch."""

    def __init__(self, client: RelayClient, name: str = "", scid: str = "") -> None:
        self._client = client
        self._scid = scid
        self.name = name or client.url

    def fetch(self) -> bytes | None:
        """The document, None if there is none. `BackendError`: the relay does not answer."""
        found = self._client.slot(LEDGER, self._scid)
        return None if found is None else found.data

    def publish(self, data: bytes) -> None:
        """Make `data` the document, or its head where it is larger than a slot. One about the same head is left
        as it is; `RollbackError` if the head there has a higher `seq`, or the same one and another `hash`;
        `ConflictError` if others keep writing."""
        if len(data) > MAX_SLOT_BYTES:
            data = head_only(data)
        mine = _head_of(data)
        for _ in range(_TRIES):
            found = self._client.slot(LEDGER)
            if found is not None:
                theirs = _head_of(found.data)
                if theirs == mine:
                    return
                if theirs[0] >= mine[0]:
                    what = "is newer than" if theirs[0] > mine[0] else "is another one than"
                    raise RollbackError(
                        f"anchor `{self.name}`: ledger entry {theirs[0]} {what} {mine[0]}", hint=_HINT
                    )
            try:
                self._client.put_slot(LEDGER, data, None if found is None else found.etag)
                return
            except ConflictError:
                continue
        raise ConflictError(f"anchor `{self.name}`: others keep writing the ledger")


def _head_of(data: bytes) -> tuple[int, str]:
    """`seq` and `hash` of the document's `head`."""
    document = canonical.loads(data, MAX_SLOT_BYTES)
    fields = Fields(document.get("head") if isinstance(document, dict) else None, "the head of a ledger")
    return fields.number("seq"), fields.text("hash")
