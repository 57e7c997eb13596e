"""docs/spec/event-v1.md says what the program does. Method: its test vectors are read from the page and computed
again; the AsyncAPI document is checked for the shape that AsyncAPI 3.0 asks for, and against real events."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from devices import Agent, DeviceAt

from antsmem.memory.digest import state_digest
from antsmem.memory.event import TYPES
from antsmem.memory.sealing import MemoryKeys, padded_size

SPEC = Path(__file__).parents[2] / "docs/spec"
PAGE = (SPEC / "event-v1.md").read_text("utf-8")
VECTORS = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", PAGE.partition("## 9. Test vectors")[2], re.MULTILINE))


def test_the_vectors_of_the_page_are_those_of_the_program(tmp_path: Path) -> None:
    sizes = VECTORS["padded lengths of 0, 512, 513, 1000, 65537"]
    assert sizes == ", ".join(str(padded_size(size)) for size in (0, 512, 513, 1000, 65537))
    subject = MemoryKeys({"e": b"\1" * 32}, "e").subject("MEMORY.md", "e")
    assert VECTORS["subject of `MEMORY.md`, epoch key 32 bytes of `0x01`"] == f"`{subject}`"
    device = DeviceAt(Agent("laptop"), "laptop", tmp_path)
    memory = device.memory()
    assert VECTORS["state digest of no file"] == f"`{state_digest(memory.index)}`"
    memory.close()
    device.write("a.txt", "x")
    device.sync()
    memory = device.memory()
    assert VECTORS["state digest of `a.txt` holding `x`"] == f"`{state_digest(memory.index)}`"
    memory.close()


def test_padding_never_adds_more_than_an_eighth() -> None:
    for size in [*range(512, 5000), 10**6, 10**9 + 7]:
        assert size <= padded_size(size) <= size * 1.125


def resolved(document: Any, value: Any) -> Any:
    if isinstance(value, dict) and "$ref" in value:
        for part in value["$ref"].removeprefix("#/").split("/"):
            document = document[part]
        return document
    return value


def test_the_asyncapi_document_has_its_shape_and_describes_real_events(tmp_path: Path) -> None:
    document = json.loads((SPEC / "event-v1.asyncapi.json").read_text("utf-8"))
    assert document["asyncapi"] == "3.0.0" and set(document["info"]) >= {"title", "version"}
    (channel,) = document["channels"].values()
    assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"} and resolved(document, operation["channel"]) == channel
    (message,) = (resolved(document, each) for each in channel["messages"].values())
    schema = resolved(document, message["headers"])
    assert schema["properties"]["type"]["enum"] == list(TYPES)
    device = DeviceAt(Agent("laptop"), "laptop", tmp_path)
    device.write("a.txt", "x")
    device.write("big.bin", b"x" * 100_000)
    device.sync()
    memory = device.memory()
    (name,) = memory.files.devices()
    for event, _ in memory.files.events(name):
        assert set(schema["required"]) <= set(event.attributes) <= set(schema["properties"])
        for attribute, text in event.attributes.items():
            assert re.search(schema["properties"][attribute].get("pattern", ""), text)
        assert hashlib.sha256(event.data).hexdigest() == event.attributes["datadigest"]
    memory.close()
