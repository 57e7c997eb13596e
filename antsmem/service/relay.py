"""A relay: the place where an agent's identity log, handle and messages are found, whichever machine it lives on.

A WSGI application over `RelayStore`, and the server that runs it. The wire is docs/spec/relay-v1.md.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from antsmem.core import canonical
from antsmem.core.clock import utc_text
from antsmem.core.errors import AntsmemError, DiskError, IntegrityError
from antsmem.core.record import field, record
from antsmem.identity.endpoint import (
    ERROR_SCHEMA,
    HANDLE_SCHEMA,
    HEAD_SCHEMA,
    LEDGER,
    MAX_ITEMS,
    MAX_LOG_BYTES,
    MAX_SEALED_BYTES,
    MAX_SLOT_BYTES,
    READ_SCHEMA,
    RECEIPT_SCHEMA,
    SCHEMA,
    SLOT_SCHEMA,
    SLOTS,
    WINDOW_SECONDS,
)
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.handle import handles_of, is_scid, relays_of
from antsmem.identity.http_signature import Request, SignedBy, verify_request
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.multikey import multikey
from antsmem.identity.signing import SigningKey
from antsmem.identity.statement import open_statement, sign_statement
from antsmem.service.relay_store import Item, Refusal, RelayStore
from antsmem.service.throttle import Throttle

JSON: Final = "application/json"
JSONL: Final = "application/jsonl"
OCTETS: Final = "application/octet-stream"
MAX_BODY_BYTES: Final = MAX_LOG_BYTES

_MAX_HANDLES: Final = 16
_ANSWER_BYTES: Final = 2 << 20
_ETAG: Final = re.compile(r'"([0-9a-f]{64})"')
_URI: Final = re.compile(r"/[A-Za-z0-9/._~?=&:-]{0,300}")
_MESSAGE: Final = re.compile(r"[A-Za-z0-9_-]{22}")
_REASONS: Final = {
    200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 412: "Precondition Failed", 413: "Content Too Large",
    415: "Unsupported Media Type", 421: "Misdirected Request", 428: "Precondition Required",
    429: "Too Many Requests", 503: "Service Unavailable", 507: "Insufficient Storage",
}  # fmt: skip


@record
class Limits:
    """Requests a second, and at once, of one address, of one key, and of new agents altogether."""

    address: tuple[float, int] = (200.0, 1000)
    key: tuple[float, int] = (20.0, 200)
    new_agents: tuple[float, int] = (1.0, 200)


@record
class Answer:
    """What goes back over the wire."""

    status: int
    body: bytes
    kind: str = JSON
    fields: Mapping[str, str] = field(default_factory=dict)


class RelayService:
    """The relay that is reached at `url` and signs with `key`; `now_ns` tells time."""

    def __init__(
        self, store: RelayStore, url: str, key: SigningKey, now_ns: Callable[[], int], limits: Limits | None = None
    ) -> None:
        limits = limits or Limits()
        self.url = url
        self._store = store
        self._key = key
        self._now_ns = now_ns
        self._addresses = Throttle(*limits.address)
        self._keys = Throttle(*limits.key)
        self._new_agents = Throttle(*limits.new_agents)

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """WSGI (PEP 3333). Every failure that is expected becomes an answer."""
        try:
            answer = self._answered(environ)
        except Refusal as refusal:
            answer = _refused(refusal.status, refusal.code, str(refusal), refusal.more)
        except DiskError:
            answer = _refused(503, "disk", "the relay cannot keep this now", {})
        except AntsmemError as error:
            answer = _refused(400, "malformed", str(error), {})
        fields = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body)))]
        fields += [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), *answer.fields.items()]
        start_response(f"{answer.status} {_REASONS[answer.status]}", fields)
        return [answer.body]

    def _answered(self, environ: Mapping[str, Any]) -> Answer:
        if not self._addresses.allows(str(environ.get("REMOTE_ADDR", "")), self._seconds):
            raise Refusal(429, "too-often", "too many requests from this address")
        uri = str(environ.get("REQUEST_URI", ""))
        if not _URI.fullmatch(uri):
            raise Refusal(400, "malformed", "the request's target is not of this service")
        request = Request(
            method=str(environ["REQUEST_METHOD"]),
            target=self.url + uri,
            body=environ["wsgi.input"].read(MAX_BODY_BYTES + 1),
            content_type=str(environ.get("CONTENT_TYPE", "")),
            if_match=str(environ.get("HTTP_IF_MATCH", "")),
            if_none_match=str(environ.get("HTTP_IF_NONE_MATCH", "")),
        )
        names = ("content-digest", "signature-input", "signature")
        signed = {name: str(environ.get(f"HTTP_{name.upper().replace('-', '_')}", "")) for name in names}
        path, _, query = uri.partition("?")
        return self._routed(request, signed, path.split("/")[1:], dict(parse_qsl(query)))

    def _routed(
        self, request: Request, signed: Mapping[str, str], path: list[str], query: Mapping[str, str]
    ) -> Answer:
        """The answer to a request, by method and path."""
        match [request.method, *path]:
            case ["GET", ""]:
                answer = _json(200, {"schema": SCHEMA, "url": self.url, "key": multikey(self._key.public)})
            case ["GET", "log"]:
                answer = self._log(query.get("scid", ""))
            case ["GET", "handles", name]:
                answer = self._handle(name)
            case ["POST", "agents"]:
                answer = self._keep_log(request, signed, None)
            case ["GET", "agents", scid]:
                answer = _json(200, self._head(scid))
            case ["PUT", "agents", scid, "log"]:
                answer = self._keep_log(request, signed, scid)
            case ["POST", "agents", scid, "messages"]:
                answer = self._message(request, signed, scid)
            case ["GET", "agents", scid, "inbox"]:
                self._own(request, signed, scid)
                answer = self._inbox(scid, query.get("after", "0"))
            case ["POST", "agents", scid, "inbox"]:
                answer = self._settle(request, signed, scid)
            case ["GET", "agents", scid, name] if name in SLOTS:
                if name != LEDGER:  # sealed, and whoever recovers an agent has no key of it yet
                    self._own(request, signed, scid)
                answer = self._slot(scid, name)
            case ["PUT", "agents", scid, name] if name in SLOTS:
                answer = self._put_slot(request, signed, scid, name)
            case _:
                raise Refusal(404 if request.method == "GET" else 405, "not-found", "there is nothing here")
        return answer

    @property
    def _seconds(self) -> int:
        return self._now_ns() // 1_000_000_000

    def _signed_by(self, request: Request, signed: Mapping[str, str]) -> SignedBy:
        """Whoever signed the request, just now."""
        try:
            by = verify_request(request, signed)
        except IntegrityError as error:
            raise Refusal(401, "bad-signature", str(error)) from None
        if abs(by.created - self._seconds) > WINDOW_SECONDS:
            raise Refusal(401, "stale", "signed too long ago, or by a clock that is wrong")
        if not self._keys.allows(by.public.hex(), self._seconds):
            raise Refusal(429, "too-often", "too many requests with this key")
        return by

    def _own(self, request: Request, signed: Mapping[str, str], scid: str) -> bytes:
        """The public key that signed: a current op key of the agent `scid`. Its nonce is spent."""
        by = self._signed_by(request, signed)
        revoked = self._store.key_state(_scid(scid), by.public)
        if revoked is None:
            raise Refusal(403, "unknown-key", "the agent's log does not name this key")
        if revoked:
            raise Refusal(403, "retired-key", "the agent's log revoked this key")
        self._spend(by)
        return by.public

    def _spend(self, by: SignedBy) -> None:
        name = f"{by.public.hex()}:{by.nonce}"
        if not self._store.spend_nonce(name, self._seconds - WINDOW_SECONDS, by.created + WINDOW_SECONDS):
            raise Refusal(401, "replayed", "this request was made before")

    def _keep_log(self, request: Request, signed: Mapping[str, str], scid: str | None) -> Answer:
        """`POST /agents` and `PUT /agents/{scid}/log`: the log proves itself, the signature that its host sends
        it."""
        _require_kind(request, JSONL)
        if scid is not None and self._store.log(_scid(scid))[0] == request.body:
            self._own(request, signed, scid)  # nothing new, so nothing to verify at length
            return _json(200, self._head(scid))
        by = self._signed_by(request, signed)
        log = parse_log(request.body)
        if scid not in {None, log.scid} or not log.text.endswith(b"\n"):
            raise Refusal(400, "malformed", "not the log of this agent")
        known = log.operational_keys.get(by.public)
        if known is None:
            raise Refusal(403, "unknown-key", "the log does not name the key that signed the request")
        if known.revoked:
            raise Refusal(403, "retired-key", "the log revoked the key that signed the request")
        if not self._store.knows(log.scid) and not self._new_agents.allows("", self._seconds):
            raise Refusal(429, "too-often", "too many new agents")
        self._spend(by)
        new = self._store.keep_log(log, relays_of(log.document), self._claimed(log))
        return _json(201 if new else 200, self._head(log.scid))

    def _claimed(self, log: IdentityLog) -> list[str]:
        """The handles of this relay that a log names."""
        return [handle.name for handle in handles_of(log.document) if handle.name and handle.url == self.url][
            :_MAX_HANDLES
        ]

    def _statement(self, schema: str, **members: Any) -> dict[str, Any]:
        """The relay's signed word, as an object."""
        body = {"schema": schema, "relay": self.url, "time": utc_text(self._now_ns()), **members}
        statement: dict[str, Any] = canonical.loads(sign_statement(body, self._key), 1 << 20)
        return statement

    def _head(self, scid: str) -> dict[str, Any]:
        kept = self._store.agent(_scid(scid))
        return self._statement(
            HEAD_SCHEMA,
            scid=kept.scid,
            version_id=kept.head,
            relays=list(kept.relays),
            home=not kept.relays or self.url in kept.relays,
            handles=list(kept.handles),
        )

    def _log(self, scid: str) -> Answer:
        text, head = self._store.log(_scid(scid))
        word = self._statement(HEAD_SCHEMA, scid=scid, version_id=head)
        field_text = base64.b64encode(canonical.dumps(word)).decode()
        return Answer(200, text, JSONL, {"Antsmem-Head": field_text})

    def _handle(self, name: str) -> Answer:
        scid = self._store.holder(name.lower())
        return _json(200, self._statement(HANDLE_SCHEMA, handle=name.lower(), scid=scid))

    def _message(self, request: Request, signed: Mapping[str, str], to: str) -> Answer:
        """`POST /agents/{scid}/messages`: sealed, so all that can be checked is who sends it and its size."""
        _require_kind(request, JSON)
        fields = Fields(_object(request.body), "the message")
        sender, message, sealed = fields.text("from"), fields.text("id"), fields.data("sealed")
        fields.end()
        self._own(request, signed, sender)
        if not _MESSAGE.fullmatch(message):
            raise Refusal(400, "malformed", "the message's id is not 22 letters of base64url")
        if not 0 < len(sealed) <= MAX_SEALED_BYTES:
            raise Refusal(413, "too-large", f"a message has up to {MAX_SEALED_BYTES} bytes")
        kept = self._store.agent(_scid(to))
        if kept.relays and self.url not in kept.relays:
            raise Refusal(421, "moved", "the agent reads its messages elsewhere", relays=list(kept.relays))
        digest, now = hashlib.sha256(sealed).hexdigest(), utc_text(self._now_ns())
        came = self._store.put_item(to, Item("message", sender, message, sealed, now))
        members = {"from": sender, "to": to, "id": message, "digest": digest, "accepted": came}
        return _json(201, self._statement(RECEIPT_SCHEMA, **members))

    def _inbox(self, scid: str, after: str) -> Answer:
        if not (after.isdecimal() and len(after) < 16):
            raise Refusal(400, "malformed", "`after` is no number")
        rows = [
            {
                "number": number,
                "kind": item.kind,
                "from": item.sender,
                "id": item.message,
                "time": item.time,
                "body": to_base64(item.body),
            }
            for number, item in self._store.items(scid, int(after), MAX_ITEMS, _ANSWER_BYTES // 2)
        ]
        return _json(200, {"schema": SCHEMA, "items": rows})

    def _settle(self, request: Request, signed: Mapping[str, str], scid: str) -> Answer:
        """`POST /agents/{scid}/inbox`: what was read or is to go. A reader's signed word is kept for the
        sender."""
        _require_kind(request, JSON)
        reader = self._own(request, signed, scid)
        fields = Fields(_object(request.body), "the list")
        read, dropped = fields.items("read"), fields.items("drop")
        fields.end()
        if len(read) + len(dropped) > MAX_ITEMS:
            raise Refusal(413, "too-large", f"at most {MAX_ITEMS} at a time")
        gone, told, now = [], [], utc_text(self._now_ns())
        for word in read:
            text = canonical.dumps(word) + b"\n"
            said = Fields(open_statement(text, READ_SCHEMA, [reader], "the reader's word"), "the reader's word")
            sender, message = said.text("from"), said.text("id")
            if said.text("to") != scid:
                raise Refusal(400, "malformed", "the reader's word is about another inbox")
            gone.append(("message", sender, message))
            told.append((sender, Item("read", scid, message, text, now)))
        for item in dropped:
            which = Fields(item, "an item")
            gone.append((which.choice("kind", ("message", "read")), which.text("from"), which.text("id")))
        return _json(200, {"schema": SCHEMA, "gone": self._store.settle(scid, gone, told)})

    def _slot(self, scid: str, name: str) -> Answer:
        found = self._store.slot(scid, name)
        if found is None:
            raise Refusal(404, "not-found", "the slot is empty")
        return Answer(200, found[0], OCTETS, {"ETag": f'"{hashlib.sha256(found[0]).hexdigest()}"'})

    def _put_slot(self, request: Request, signed: Mapping[str, str], scid: str, name: str) -> Answer:
        """`PUT /agents/{scid}/epoch` or `/ledger`: compare and set."""
        _require_kind(request, OCTETS)
        self._own(request, signed, scid)
        if not 0 < len(request.body) <= MAX_SLOT_BYTES:
            raise Refusal(413, "too-large", f"a slot holds up to {MAX_SLOT_BYTES} bytes")
        found = _ETAG.fullmatch(request.if_match)
        if bool(found) == (request.if_none_match == "*"):
            raise Refusal(428, "unconditional", 'either `If-Match: "…"` or `If-None-Match: *` is needed')
        version = self._store.put_slot(scid, name, request.body, found[1] if found else None)
        digest = hashlib.sha256(request.body).hexdigest()
        word = self._statement(SLOT_SCHEMA, scid=scid, slot=name, version=version, digest=digest)
        return Answer(200, canonical.dumps(word), JSON, {"ETag": f'"{digest}"'})


def _scid(text: str) -> str:
    if not is_scid(text):
        raise Refusal(404, "unknown-agent", "this is no SCID")
    return text


def _require_kind(request: Request, kind: str) -> None:
    if request.content_type != kind:
        raise Refusal(415, "wrong-type", f"the body has to be `{kind}`")
    if len(request.body) > MAX_BODY_BYTES:
        raise Refusal(413, "too-large", "the body is too large")


def _object(body: bytes) -> Any:
    return canonical.loads(body, MAX_BODY_BYTES)


def _json(status: int, value: Mapping[str, Any]) -> Answer:
    return Answer(status, canonical.dumps(value))


def _refused(status: int, code: str, message: str, more: Mapping[str, object]) -> Answer:
    return _json(status, {"schema": ERROR_SCHEMA, "error": code, "message": message, **more})
