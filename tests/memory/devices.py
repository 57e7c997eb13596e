"""Devices of one agent for tests: workspaces with their own op keys, and the backends between them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from antsmem.identity.document import with_op_keys
from antsmem.identity.extend import Commitment, commit, create_log, extend_log
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import key_hash
from antsmem.identity.signing import SigningKey
from antsmem.memory.author import Speaker
from antsmem.memory.embedded.blobs import FileBlobs
from antsmem.memory.embedded.durables import FileDurable
from antsmem.memory.embedded.logs import FileLog
from antsmem.memory.eventfiles import EventFiles
from antsmem.memory.exchange import Backends
from antsmem.memory.index import Index
from antsmem.memory.local import LocalMemory
from antsmem.memory.sealing import MemoryKeys
from antsmem.memory.sync import SyncJob, SyncResult, sync
from antsmem.workspace.classes import Classifier

START_NS = 1_795_188_211_000_000_000
STEP_NS = 1_000_000_000
KEYS = MemoryKeys({"e1": hashlib.sha256(b"of a test").digest()}, "e1")
_CLASSIFIER = Classifier()


class Agent:
    """An identity with an op key for each of `hosts`. `log` grows when one is revoked."""

    def __init__(self, *hosts: str) -> None:
        self.keys = {host: SigningKey(hashlib.sha256(host.encode()).digest()) for host in hosts}
        self._recovery = key_hash(SigningKey(bytes(32)).public)
        self._commitment: Commitment = commit(self._recovery)
        self._now_ns = START_NS
        self.log: IdentityLog = create_log(
            self._commitment, {host: key.public for host, key in self.keys.items()}, START_NS
        )

    @property
    def stream(self) -> str:
        return f"local/{self.log.scid}"

    def revoke(self, host: str) -> None:
        self._now_ns += 60 * STEP_NS
        left = {name: key.public for name, key in self.keys.items() if name != host}
        following = commit(self._recovery)
        document = with_op_keys(self.log.document, left)
        self.log = extend_log(self.log, self._commitment.next_key, following, document, self._now_ns)
        self._commitment = following


def backends_at(root: Path) -> Backends:
    return Backends(FileLog(root), FileDurable(root), FileBlobs(root))


class DeviceAt:
    """The workspace of `agent` on the host `host`, below `place`. `now_ns` is its clock."""

    def __init__(self, agent: Agent, host: str, place: Path, backends: Backends | None = None) -> None:
        self.agent = agent
        self.host = host
        self.place = place
        self.root = place / "workspace"
        self.root.mkdir(parents=True, exist_ok=True)
        self.backends = backends
        self.now_ns = START_NS + 3600 * STEP_NS

    def memory(self) -> LocalMemory:
        files = EventFiles(self.root / ".antsmem/events")
        index = Index(self.root / ".antsmem/cache/memory.db")
        return LocalMemory(files, index, self.agent.log, self.agent.stream, lambda: KEYS)

    def job(self) -> SyncJob:
        state = self.place / "state/device.json"
        speaker = Speaker(self.host, self.agent.keys[self.host])
        return SyncJob(self.root, _CLASSIFIER, lambda: speaker, state, self.now_ns)

    def sync(self, *, give: bool = True, take: bool = True, backends: Backends | None = None) -> SyncResult:
        self.now_ns += STEP_NS
        memory = self.memory()
        try:
            return sync(memory, self.job(), backends or self.backends, give=give, take=take)
        finally:
            memory.close()

    def write(self, path: str, content: bytes | str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def files(self) -> dict[str, bytes]:
        """Every file of the workspace but antsmem's own."""
        found = {str(path.relative_to(self.root)): path for path in self.root.rglob("*") if path.is_file()}
        return {name: found[name].read_bytes() for name in sorted(found) if not name.startswith(".antsmem/")}


def meeting(agent: Agent, place: Path, *hosts: str) -> list[DeviceAt]:
    """The agent on `hosts`, each below `place`, with one folder between them."""
    return [DeviceAt(agent, host, place / host, backends_at(place / "backend")) for host in hosts]


def settle(*devices: DeviceAt) -> None:
    """Sync until nobody has news for anybody."""
    for _ in range(2):
        for device in devices:
            device.sync()
