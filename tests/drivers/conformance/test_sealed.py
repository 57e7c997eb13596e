"""No backend, of whatever driver, holds a word or a path of an agent's files in the clear.

Method: two devices meet through one driver at a time, the other roles embedded; then every byte that the system
keeps is searched for canaries, as they are, in hex and in base64. Control: what is put into any driver of any role
as it is, is found by the same search, so the search looks where the system keeps things.
"""

from __future__ import annotations

import hashlib
import os
import time
from array import array
from pathlib import Path
from typing import Any

import pytest
from devices import Agent, DeviceAt, settle
from roles import OPENERS, drivers
from sealed import seen_in_the_clear

from antsmem.memory.embedded.blobs import FileBlobs
from antsmem.memory.embedded.durables import FileDurable
from antsmem.memory.embedded.logs import FileLog
from antsmem.memory.exchange import Backends
from antsmem.memory.roles import Change, LogRecord, Row, TextRow, VectorRow

PLAYED = [
    pytest.param(role, *item.values, marks=item.marks, id=f"{role}-{item.id}")
    for role in ("log", "durable", "blob")
    for item in drivers(role)
]


@pytest.mark.parametrize(("role", "name"), PLAYED)
def test_what_a_backend_holds_is_sealed(
    role: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    request.param = name
    made = OPENERS[role][name](request)
    opened = made.open()
    if role != "blob":
        opened.create()
    place = tmp_path / "others"
    between = Backends(
        log=opened if role == "log" else FileLog(place),
        durable=opened if role == "durable" else FileDurable(place),
        blobs=opened if role == "blob" else FileBlobs(place),
    )
    agent = Agent("laptop", "desktop")
    one, other = (DeviceAt(agent, host, tmp_path / host, between) for host in ("laptop", "desktop"))
    canaries = [f"canary-{number}-{os.urandom(6).hex()}".encode() for number in range(3)]
    one.write(f"notes/{canaries[0].decode()}.md", canaries[1] * 3)
    one.write("blob.bin", canaries[2] * 20_000)
    settle(one, other)
    assert one.files() == other.files()
    assert seen_in_the_clear(made.held(), canaries) == set()
    between.close()


EVERY = [
    pytest.param(role, *item.values, marks=item.marks, id=f"{role}-{item.id}")
    for role in OPENERS
    for item in drivers(role)
]


def put(role: str, opened: Any, canary: str) -> None:
    """Give a driver `canary` as it must never get it: not sealed."""
    data = canary.encode()
    match role:
        case "log":
            opened.append([LogRecord("tenant/agent", "1", {"id": "1"}, data)])
        case "durable":
            opened.commit("tenant/agent", [Change("row", data)], [LogRecord("tenant/agent", "1", {}, b"x")])
        case "cache":
            opened.set_if_newer("row", Row(1, data))
        case "vectors":
            opened.upsert([VectorRow("tenant/agent", canary, 1, array("f", [1.0] * 8))])
        case "text":
            opened.upsert([TextRow("tenant/agent", canary, 1, "some words")])
        case "blob":
            opened.put(hashlib.sha256(data).hexdigest(), data)
        case "directory":
            opened.acquire(canary, "owner", 60)


@pytest.mark.parametrize(("role", "name"), EVERY)
def test_control_what_is_put_as_it_is_would_be_found(role: str, name: str, request: pytest.FixtureRequest) -> None:
    request.param = name
    made = OPENERS[role][name](request)
    opened = made.open()
    if role in {"log", "durable", "text"}:
        opened.create()
    if role == "vectors":
        opened.create("test-model", 8)
    canary = f"canary-of-{os.urandom(8).hex()}"
    put(role, opened, canary)
    give_up = time.monotonic() + 120  # some write behind what they acknowledge, to memory that others have too
    while seen_in_the_clear(made.held(), [canary.encode()]) != {canary.encode()}:
        assert time.monotonic() < give_up, "the search does not look where it is kept"
        time.sleep(0.1)
    opened.close()


def test_the_search_finds_what_is_there() -> None:
    import base64

    canary = b"canary-of-the-control"
    for held in (canary, canary.hex().encode(), *(base64.b64encode(b"x" * shift + canary) for shift in range(3))):
        assert seen_in_the_clear([b"before", held, b"after"], [canary]) == {canary}
    assert seen_in_the_clear([b"nothing"], [canary]) == set()
