"""Good files of every kind, made by antsmem, with the keys to sign and seal changed ones again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import zstandard
from made_agents import FRIDAY_NS, new_agent
from made_backups import Agent, Place, write
from made_logs import text_of, two

from antsmem.backup.repository import Repository, read_head
from antsmem.core import age, canonical, clock
from antsmem.identity.entry import entry_hash, scid_of, with_proof
from antsmem.identity.envelope import PAD_BYTES
from antsmem.identity.multikey import base58_encode, multikey
from antsmem.identity.signing import SigningKey
from antsmem.identity.statement import sign_statement


class Specimens:
    """Everything below `place`, the same for the same `seed`."""

    def __init__(self, place: Path, seed: int = 1) -> None:
        real, now = os.urandom, clock.now_ns
        os.urandom, clock.now_ns = Random(seed).randbytes, lambda: FRIDAY_NS  # type: ignore[assignment]
        try:
            self._make(place)
        finally:
            os.urandom, clock.now_ns = real, now

    def _make(self, place: Path) -> None:
        self.files, self.made = new_agent(place / "identity")
        self.log = self.made.log
        self.kit = self.made.kit
        self.keys = [self.made.host_key, self.kit.identity]
        self.recipient = self.kit.identity.recipient
        self.control = SigningKey.generate()
        self.two = two()
        self.backup = Place(place / "backup", Agent(scid=self.log.scid))
        write(self.backup.workspace / "SOUL.md", "I am kevin.\n" * 50)
        write(self.backup.workspace / "memory/2026-11-20.md", "- 14:03:22 laptop\n  Met the locksmith.\n")
        write(self.backup.workspace / "db.bin", bytes(range(256)) * 6000)
        (self.backup.workspace / "link").symlink_to("SOUL.md")
        self.hot = self.backup.back_up().snapshot
        self.cold = self.backup.back_up("cold").snapshot

    @property
    def repository(self) -> Repository:
        """The repository, opened by the kit, its list of snapshots believed."""
        return self.backup.believed(self.backup.agent.kit())

    def head(self) -> dict[str, Any]:
        """What the hot snapshot's head says."""
        return read_head(self.repository, self.hot).as_json()

    def statement(self, name: str) -> dict[str, Any]:
        """The content of a signed file of the repository, without key and signature."""
        body = json.loads((self.backup.folder / name).read_bytes())
        return {key: value for key, value in body.items() if key not in {"key", "signature"}}

    def signed(self, body: Any) -> bytes:
        """`body` as a statement of the agent's host; what no statement can be is signed as it is."""
        if isinstance(body, dict):
            return sign_statement(body, self.backup.agent.op_key)
        return canonical.dumps(body)

    def enveloped(self, body: Any, key: SigningKey | None = None) -> bytes:
        """`body` as keystore and escrow are written: signed, padded, sealed to the kit."""
        line = canonical.dumps(body)
        key = key or self.made.keystore.op_key
        text = line + f"\n{multikey(key.public)} z{base58_encode(key.sign(line))}\n".encode()
        return self.sealed(text + b" " * (-len(text) % PAD_BYTES))

    def sealed(self, *parts: bytes) -> bytes:
        """Sealed to the kit."""
        return b"".join(age.seal(parts, [self.recipient]))

    def entered(self, entry: Any) -> bytes:
        """`entry` as the first of an identity log, with the SCID, hash and proof that it asks for."""
        if not isinstance(entry, dict) or not {"parameters", "state", "versionTime"} <= entry.keys():
            return canonical.dumps(entry)
        parameters = entry["parameters"]
        if isinstance(parameters, dict):
            parameters["updateKeys"] = parameters.get("updateKeys") and [multikey(self.control.public)]
            old = parameters.get("scid")
            if isinstance(old, str) and old:
                entry = json.loads(canonical.dumps(entry).replace(old.encode(), scid_of(entry, old).encode()))
        parameters = entry["parameters"]
        scid = parameters.get("scid") if isinstance(parameters, dict) else None
        entry["versionId"] = f"1-{entry_hash(entry, scid if isinstance(scid, str) else '')}"
        return text_of([with_proof(entry, self.control)])

    def zipped(self, data: bytes) -> bytes:
        """One zstd frame."""
        return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(data)
