"""Targets of the shared memory: events, what is sealed in them, keyrings, brokers' messages, URLs and queries."""

from __future__ import annotations

import sqlite3
from random import Random
from typing import Any

import mutants
from made_agents import FRIDAY_NS
from reading import Making, Target, refused
from specimens import Specimens

from antsmem.core import canonical
from antsmem.core.errors import AntsmemError
from antsmem.drivers.cloudevents import event_of, event_with, headers_of
from antsmem.drivers.servers import read_tls, read_url, split_url
from antsmem.identity.fields import to_base64
from antsmem.identity.multikey import multikey
from antsmem.memory import event, exchange, keyring, payload
from antsmem.memory.embedded import texts
from antsmem.memory.roles import LogRecord


def _made(s: Specimens) -> event.Event:
    """An event of the agent's host."""
    draft = event.Draft(
        id="01JD3QZ4X8M6V0C2N9T5B7K1RA",
        stream=f"local/{s.log.scid}",
        device=f"{s.made.keystore.host}~AAAAAAAA",
        type=event.PATCHED,
        subject="A" * 43,
        sequence=2,
        clock=f"{FRIDAY_NS // 10**6:013d}-0000",
        prev="a" * 64,
        parents=[event.Parent("desktop~BBBBBBBB", 7, "b" * 64)],
        epoch="e1",
        data=b"sealed" * 20,
        key=b"k" * 72,
        blob="c" * 64,
    )
    return event.sign_event(draft, s.made.keystore.op_key)


def _event(s: Specimens) -> Target:
    good = _made(s)
    plain = {name: text for name, text in good.attributes.items() if name != "signature"}

    def read(data: bytes) -> None:
        found = event.event_from_line(data)
        event.verify_event(found, s.log)
        assert event.event_from_line(event.event_to_line(found)) == found

    def inside(dice: Random) -> bytes:
        changed = mutants.of_value(dice, plain)
        if not isinstance(changed, dict):
            return canonical.dumps(changed)
        header = event._header(multikey(s.made.keystore.op_key.public))
        signature = event.base64url(s.made.keystore.op_key.sign(event._signed(header, changed)))
        more = {"data_base64": to_base64(good.data), "recordkey": event.base64url(good.key)}
        return canonical.dumps({**changed, "signature": f"{header}..{signature}", **more})

    return Target([event.event_to_line(good)], read, inside)


def _payload(s: Specimens) -> Target:
    revision = payload.Revision("memory/a.md", ("01JD3QZ4X8M6V0C2N9T5B7K1RA",), "", 0, False)
    redaction = payload.Redaction(
        event="01JD3QZ4X8M6V0C2N9T5B7K1RA", device="laptop~AAAAAAAA", sequence=3, path="a.md", base=()
    )
    rows = [{"sequence": 3, "hash": "a" * 64}, {"3": "AAAA", "4": ""}]
    heads = [payload.revision_to_plain(revision, b""), payload.redaction_to_plain(redaction)]

    def read(data: bytes) -> None:
        refused(lambda: payload.parse_revision(data))
        refused(lambda: payload.parse_redaction(data))
        exchange._parse_keys(data)

    def inside(dice: Random) -> bytes:
        head = canonical.loads(dice.choice(heads).partition(b"\n")[0], 1 << 20)
        return canonical.dumps(mutants.of_value(dice, dice.choice([head, *rows]))) + b"\nrest"

    return Target([*heads, *map(canonical.dumps, rows)], read, inside, good=False)


def _keyring(s: Specimens) -> Target:
    stream, key = f"local/{s.log.scid}", s.made.keystore.op_key
    identity = s.made.host_key
    made = keyring.new_keyring(FRIDAY_NS)
    made = keyring.Keyring(made.epochs, {multikey(key.public): str(identity.recipient)})
    good, asking = (
        keyring.seal_keyring(made, stream, key, [str(s.recipient)]),
        keyring.ask(stream, key, str(identity.recipient)),
    )
    sealed = {name: to_base64(each) for name, each in made.epochs.items()}

    def read(data: bytes) -> None:
        refused(lambda: keyring.signer_of(data))
        refused(lambda: keyring.read_asking(data, stream, s.log))
        found = keyring.open_keyring(data, stream, s.log, [identity])
        refused(lambda: repr(keyring.united(found, made).keys))
        refused(lambda: keyring.with_new_epoch(found, FRIDAY_NS))
        refused(lambda: keyring.without_revoked(found, s.log, FRIDAY_NS))

    def inside(dice: Random) -> bytes:
        box = b"".join(keyring.seal([canonical.dumps(mutants.of_value(dice, sealed))], [identity.recipient]))
        body: dict[str, Any] = {"schema": keyring.SCHEMA, "stream": stream, "grants": dict(made.grants)}
        body["sealed"] = to_base64(box)
        return _stated(s, mutants.of_value(dice, body) if dice.random() < 0.5 else body)

    return Target([good, asking], read, inside, good=False)


def _stated(s: Specimens, body: Any) -> bytes:
    """`body` signed by the agent's host."""
    if not isinstance(body, dict):
        return canonical.dumps(body)
    return keyring.sign_statement(body, s.made.keystore.op_key)


def _message(s: Specimens) -> Target:
    """A broker's message: its headers, a line each, an empty line, its data."""
    good = _made(s)
    item = LogRecord(good.stream, good.id, good.attributes, good.data)
    text = b"".join(f"{name}\0{value}\n".encode() for name, value in headers_of(item))

    def read(data: bytes) -> None:
        head, _, rest = data.partition(b"\n\n")
        pairs = [line.partition(b"\0") for line in head.split(b"\n")]
        headers = [(name.decode("latin-1"), value) for name, _, value in pairs]
        found = event_of(good.stream, headers, rest)
        if found is not None:
            assert event_with(good.stream, dict(headers_of(found)), found.data) == found
            event.verify_event(event.Event(found.headers, found.data, b""), s.log)

    return Target([text + b"\n" + good.data], read)


def _url(s: Specimens) -> Target:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        place, options = split_url("kafka", text, {}, ("tls", "ca_file", "password", "partitions"))
        refused(lambda: read_tls(options))
        found = read_url("kafka", place, 9092)
        try:
            again = read_url("kafka", f"kafka://{found.joined()}/{found.path}", 9092)
        except AntsmemError:
            raise AssertionError("what a URL names is no URL any more") from None
        assert again.hosts == found.hosts and again.path == found.path
        repr(found.on_this_machine)

    seeds = [b"kafka://a.example:9092,[::1]:1,b/topic?tls=no", b"kafka://a/t?partitions=2", b"kafka://u:p@h/t"]
    return Target(seeds, read, good=False)


def _query(s: Specimens) -> Target:
    """What a person looks for, as FTS5 gets it."""
    db = sqlite3.connect(":memory:")
    db.executescript(texts._SCHEMA)

    def read(data: bytes) -> None:
        if asked := texts.expression(data.decode("utf-8", "surrogateescape")):
            assert db.execute(texts._SEARCH, (asked, "a", 9)).fetchall() == []

    seeds = [b'tea AND "milk" NEAR(a, 2)', "-kept:茶* OR café^".encode(), b"x" * 200]
    return Target(seeds, read)


MEMORY: dict[str, Making] = {
    "event": _event,
    "event's inside": _payload,
    "memory keyring": _keyring,
    "broker's message": _message,
    "backend's URL": _url,
    "query": _query,
}
