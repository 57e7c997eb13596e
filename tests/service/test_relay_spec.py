"""Goal: docs/spec/relay-v1.md says exactly what is signed, sealed and answered.

Method: every vector is taken from the page and made again from the keys that the page names; the tables of
requests, codes and limits are compared with the program.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from antsmem.core import canonical
from antsmem.identity import endpoint, http_signature
from antsmem.identity.entry import SCID_PLACEHOLDER
from antsmem.identity.http_signature import Request, sign_request, verify_request
from antsmem.identity.message import SCHEMA as MESSAGE_SCHEMA
from antsmem.identity.message import _recipient
from antsmem.identity.multikey import base58_encode, multikey
from antsmem.identity.signing import SigningKey
from antsmem.identity.statement import open_statement, sign_statement
from antsmem.service import relay, relay_store

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs/spec/relay-v1.md").read_text("utf-8")
OP_KEY, RELAY_KEY = SigningKey(bytes([0x11]) * 32), SigningKey(bytes([0x77]) * 32)
TIME = "2026-11-20T15:23:31.000Z"


def vector(name: str) -> str:
    (found,) = re.findall(rf"^```vector:{name}\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def the_request() -> Request:
    scid = str(canonical.loads(vector("head").encode(), 4096)["scid"])
    target = f"https://relay.example/agents/{scid}/epoch"
    return Request("PUT", target, b"seven", "application/octet-stream", "", "*")


def test_the_request_vectors_hold() -> None:
    fields = sign_request(the_request(), OP_KEY, 1795188211, bytes(range(16)))
    assert "\n".join(f"{name}: {value}" for name, value in fields.items()) == vector("fields")
    parameters = fields["Signature-Input"].removeprefix("ants=")
    assert http_signature._base(the_request().covered(), parameters).decode() == vector("base")
    read = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in vector("fields").splitlines())
    }
    assert verify_request(the_request(), read).public == OP_KEY.public


@pytest.mark.parametrize(
    ("name", "schema", "key"),
    [("head", endpoint.HEAD_SCHEMA, RELAY_KEY), ("read", endpoint.READ_SCHEMA, OP_KEY)],
)
def test_the_statement_vectors_hold(name: str, schema: str, key: SigningKey) -> None:
    data = vector(name).encode() + b"\n"
    body = open_statement(data, schema, [key.public], name)
    del body["key"]
    assert sign_statement(body, key) == data


def test_the_message_vectors_hold() -> None:
    assert _recipient(OP_KEY.public) == vector("recipient")
    line, signed = vector("message").splitlines()
    assert canonical.loads(line.encode(), 4096)["schema"] == MESSAGE_SCHEMA
    signature = base58_encode(OP_KEY.sign(line.encode()))
    assert signed == f"{multikey(OP_KEY.public)} z{signature}"


def test_every_vector_is_checked_here() -> None:
    named = set(re.findall(r"^```vector:(\S+)$", PAGE, re.MULTILINE))
    assert named == {"base", "fields", "head", "read", "recipient", "message"}


def test_every_refusal_of_the_program_is_on_the_page_and_no_other() -> None:
    section = PAGE.partition("## 5.")[2].partition("## 6.")[0]
    rows = re.findall(r"^\| [\d, ]+ \| (.*?) \|", section, re.MULTILINE)
    listed = set(re.findall(r"`([a-z-]+)`", " ".join(rows)))
    code = "".join(Path(module.__file__ or "").read_text("utf-8") for module in (relay, relay_store))
    raised = set(re.findall(r'(?:Refusal|_refused)\([^"()]*?"([a-z-]+)"', code))
    assert listed == raised


def test_the_numbers_on_the_page_are_those_of_the_program() -> None:
    assert "1 MiB" in PAGE and endpoint.MAX_LOG_BYTES == 1 << 20 == relay.MAX_BODY_BYTES
    assert "64 KiB" in PAGE and endpoint.MAX_SEALED_BYTES == 64 << 10
    assert "256 KiB" in PAGE and endpoint.MAX_SLOT_BYTES == 256 << 10
    assert "60 seconds" in PAGE and endpoint.WINDOW_SECONDS == 60
    assert (relay_store.MAX_ITEMS, relay_store.MAX_FROM_ONE, endpoint.MAX_ITEMS) == (1000, 100, 100)
    limits = relay.Limits()
    assert (limits.key[0], limits.address[0], limits.new_agents[0]) == (20, 200, 1)
    for schema in (endpoint.HEAD_SCHEMA, endpoint.HANDLE_SCHEMA, endpoint.RECEIPT_SCHEMA, endpoint.SLOT_SCHEMA):
        assert f"`{schema}`" in PAGE
    assert SCID_PLACEHOLDER not in PAGE
