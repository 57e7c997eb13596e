"""Two hosts of one agent meet through the real servers of a profile, and lose nothing, whoever dies.

Method: two home directories and the commands themselves, at the servers of one profile after the other; edits,
syncs and syncs without a network in random order, then both have to be byte-identical, with every word, and the
servers may hold none of it in the clear. Then a broker or a database is killed within a sync, at a moment of a
call that is chosen. Controls: an outbox that is forgotten too early, and a commit in two parts. A sync uses log,
durable store and blobs; the other roles are tried by `backend test`, and no sync waits for them.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from devices import Agent, DeviceAt
from doomed import Doomed, Moment
from homes import tree
from made_homes import KIT, Home
from played import PROFILES, Played
from roles import bytes_below
from sealed import seen_in_the_clear
from seeds import SEED
from tallies import tally

from antsmem.core.errors import BackendError
from antsmem.core.record import replace
from antsmem.drivers.kafka import KafkaLog
from antsmem.drivers.postgres import PostgresStore
from antsmem.drivers.pulsar import PulsarLog
from antsmem.memory import exchange
from antsmem.memory.digest import state_digest
from antsmem.memory.embedded.blobs import FileBlobs
from antsmem.memory.embedded.durables import FileDurable
from antsmem.memory.embedded.logs import FileLog
from antsmem.memory.exchange import Backends, remote_heads
from antsmem.memory.roles import Change, DurableStore, EventLog, LogRecord
from antsmem.memory.verifying import verify_events

STEPS, FILES = 14, 60


def joined(played: Played, home: Home) -> None:
    """Tell a home of its backends."""
    home.environment.update(played.secrets)
    for role, url in played.urls.items():
        home.must("backend", "add", role, url, *played.options.get(role, ()))


def unplugged(home: Home, url: str, code: int = 40) -> None:
    """A sync of a host that does not reach the backend at `url`. One that it needs: it fails, and what changed is
    recorded."""
    settings = [path for path in home.home.rglob("*.yaml") if url in path.read_text()]
    nowhere = re.sub("127.0.0.1:[0-9]+", "127.0.0.1:1", url)
    kept = {path: path.read_bytes() for path in settings}
    assert kept and nowhere != url
    for path, data in kept.items():  # a role may share its server with others
        path.write_bytes(data.replace(url.encode(), nowhere.encode()))
    home.must("sync", code=code)
    for path, data in kept.items():
        path.write_bytes(data)


@pytest.mark.server
@pytest.mark.parametrize("profile", PROFILES)
def test_two_hosts_end_byte_identical_through_a_profile_that_reads_nothing(
    profile: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    played = PROFILES[profile](request)
    one = Home(tmp_path / "one")
    one.init()
    joined(played, one)
    one.must("backend", "init")
    tested = one.must("backend", "test", "--json").document["backends"]
    assert {row["role"]: row["error"] for row in tested} == dict.fromkeys(played.urls, "")
    one.must("backup")
    two = Home(tmp_path / "two")
    words = ("--kit", str(one.root / KIT), "--repository", str(one.repository), "--host", "desktop")
    assert two.run("recover", str(two.workspace), *words).code == 0
    joined(played, two)

    dice = random.Random(SEED)
    canaries = [f"canary{number}of{uuid.uuid4().hex[:10]}" for number in range(STEPS)]
    (one.workspace / f"{canaries[0]}.bin").write_bytes(b"\0" + canaries[0].encode() * 9000)
    for number, canary in enumerate(canaries[1:]):
        home = (one, two)[number % 2] if number < 2 else dice.choice((one, two))
        if number % 3:
            with (home.workspace / "MEMORY.md").open("a") as file:
                file.write(f"\n- {canary}\n")
        else:
            home.must("log", f"saw {canary}")
        step = ("unplugged", "sync", "", "sync push", "sync pull")[number % 5 if number < 5 else dice.randrange(5)]
        if step == "unplugged":
            unplugged(home, played.urls["durable"])
        elif step:
            home.must(*step.split())
    for home in (one, two, one, two):
        home.must("sync")
    for role in {"cache", "vectors", "directory"} & played.urls.keys():
        if "127.0.0.1" in played.urls[role]:
            unplugged(one, played.urls[role], code=0)  # no sync waits for them

    trees = [tree(one), tree(two)]
    assert trees[0] == trees[1]
    everything = b"\n".join([*trees[0].values(), *(name.encode() for name in trees[0])])
    assert [word for word in canaries if word.encode() not in everything] == []
    assert len({home.must("sync", "status", "--json").document["digest"] for home in (one, two)}) == 1
    for home in (one, two):
        home.must("events", "verify")
    words_of = [word.encode() for word in canaries]
    assert seen_in_the_clear(played.held(), words_of) == set()
    assert seen_in_the_clear(bytes_below(one.workspace), words_of) == set(words_of)  # the control
    tally("profiles")[f"steps through {profile}"] += STEPS


class Between:
    """Where two devices meet: a log or a durable store that is the real server of the fixture `dies`; the other
    one and the blobs are files."""

    def __init__(self, dies: str, request: pytest.FixtureRequest, root: Path) -> None:
        self.server: Any = request.getfixturevalue(dies)
        self._root, self._dies, name = root, dies, f"t{uuid.uuid4().hex[:8]}"
        where = f"127.0.0.1:{self.server.port}"
        if dies == "kafka":
            self._url = f"kafka://{where}/{name}?tls=no&partitions=2&replication=1"
        elif dies == "pulsar":
            web = f"http://127.0.0.1:{self.server.web}"
            self._url = f"pulsar://{where}/public/default/{name}?tls=no&partitions=2&admin_url={web}"
        else:
            self._url = f"postgres://antsmem@{where}/{self.server.database()}?tls=no"
        made = self.open("120")
        made.log.create()
        made.durable.create()
        made.close()

    def open(self, timeout_seconds: str) -> Backends:
        """Connections of its own, that try so long."""
        log: EventLog = FileLog(self._root)
        durable: DurableStore = FileDurable(self._root)
        told = {"timeout_seconds": timeout_seconds}
        if self._dies == "postgres":
            durable = PostgresStore.open(self._url, told)
        else:
            log = {"kafka": KafkaLog, "pulsar": PulsarLog}[self._dies].open(self._url, told)
        return Backends(log, durable, FileBlobs(self._root))


@dataclass
class Told:
    """What came of two devices' syncs, in one of which the server was killed."""

    lost: int
    doubled: int
    twice_in_the_log: int
    settled: bool
    devices: list[DeviceAt]


def killed_within_a_sync(
    place: Between, root: Path, method: str, turn: int, moment: Moment, apart: bool = False
) -> Told:
    """One device has given its files; while the other takes them and gives its own, the server dies. Then it is
    back, and both sync until nothing is left. With `apart` the control's store stands between."""
    agent, role = Agent("laptop", "desktop"), "log" if method in {"append", "read"} else "durable"
    sides = []
    for host, turns in (("laptop", 0), ("desktop", turn)):
        plain = place.open("2")
        doomed: Any = Doomed(getattr(plain, role), place.server, method, turns, moment)
        given: Any = Apart(doomed) if apart else doomed
        sides.append((DeviceAt(agent, host, root / host, replace(plain, **{role: given})), doomed))
        for number in range(FILES):
            sides[-1][0].write(f"{host}/{number}.md", f"- {number}\n")
    (one, _), (other, dying) = sides
    assert settled(one)
    while dying.killed < 0:  # a busy machine may have it fail before
        with pytest.raises(BackendError):
            other.sync()
    assert dying.killed >= (method in {"append", "commit"})  # something went before, and more was to come
    place.server.restart()
    done = settled(one, other)
    told = counted(place, [one, other], {id_ for _, each in sides for id_ in each.acknowledged})
    told.settled = done
    for device in (one, other):
        assert device.backends is not None
        device.backends.close()
    return told


def settled(*devices: DeviceAt) -> bool:
    """Sync until nothing is left to be done; False: there is, although the servers answer."""
    give_up, answered = time.monotonic() + 300, 0
    while answered < 5:
        try:
            results = [device.sync() for device in devices]
        except BackendError:  # a busy machine starts a server slowly
            assert time.monotonic() < give_up, "the server did not come back"
            continue
        answered += 1
        if answered > 1 and all(result.complete for result in results):
            return True
    return False


def counted(place: Between, devices: list[DeviceAt], acknowledged: set[str]) -> Told:
    """Lost is what was acknowledged and is not on both devices; doubled what has two numbers of the stream, or
    changed a file twice."""
    memories, back = [device.memory() for device in devices], place.open("120")
    lost = sum(memory.index.spot(each) is None for memory in memories for each in acknowledged)
    index = memories[0].index
    doubled = back.durable.sequence(memories[0].stream) - sum(head.sequence for head in index.heads().values())
    doubled += sum(len(index.history(path)) - 1 for path in index.paths())
    stream = [item.id for _, item in back.log.read(memories[0].stream, None, 100 * FILES)]
    for memory in memories:
        assert verify_events(memory, remote_heads(memory, back.durable)).faults == []
        memory.close()
    back.close()
    return Told(lost, doubled, len(stream) - len({*stream}), False, devices)


KILLS: list[tuple[str, str, int, Moment]] = [
    ("kafka", "append", 2, "half"),
    ("kafka", "read", 1, "unread"),
    ("pulsar", "append", 2, "half"),
    ("postgres", "rows", 3, "unread"),
    ("postgres", "commit", 2, "unread"),
    ("postgres", "commit", 2, "unheard"),
    ("postgres", "pending", 3, "unread"),
    ("postgres", "relayed", 2, "unread"),
    ("postgres", "relayed", 2, "unheard"),
]


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many commits, pages and batches in one sync that its middle can be chosen."""
    monkeypatch.setattr(exchange, "BATCH_EVENTS", FILES // 4)
    monkeypatch.setattr(exchange, "_PAGE", FILES // 4)


@pytest.mark.server
@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(("dies", "method", "turn", "moment"), KILLS)
def test_a_server_killed_within_a_sync_loses_nothing_and_nothing_is_applied_twice(
    dies: str, method: str, turn: int, moment: Moment, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = Between(dies, request, tmp_path / "between")
    told = killed_within_a_sync(place, tmp_path, method, turn, moment)
    assert (told.settled, told.lost, told.doubled) == (True, 0, 0)
    if moment == "half" or (method, moment) == ("relayed", "unread"):
        assert told.twice_in_the_log > 0  # else perhaps too: an answer that comes too late is one that is lost
    one, other = told.devices
    assert len(one.files()) == 2 * FILES and one.files() == other.files()
    memories = one.memory(), other.memory()
    assert len({state_digest(memory.index) for memory in memories}) == 1
    for memory in memories:
        memory.close()
    tally("profiles")["syncs in which a server was killed"] += 1


@pytest.mark.server
@pytest.mark.usefixtures("small_steps")
def test_control_an_outbox_forgotten_before_it_is_appended_loses_events(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(stream: str, backends: Backends) -> int:
        while waiting := backends.durable.pending(stream, FILES // 4):
            backends.durable.relayed(stream, waiting[-1][0])
            backends.log.append([item for _, item in waiting])
        return 0

    monkeypatch.setattr(exchange, "relay", hasty)
    told = killed_within_a_sync(Between("kafka", request, tmp_path / "between"), tmp_path, "append", 2, "unread")
    assert not told.settled and told.lost > 0


class Apart:
    """A durable store that writes how far a device is, with its last event, by a commit after the others'."""

    def __init__(self, inner: DurableStore) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def commit(self, stream: str, changes: list[Change], outbox: list[LogRecord]) -> int:
        if outbox[:-1]:
            self._inner.commit(stream, changes[1:], outbox[:-1])
        return self._inner.commit(stream, changes[:1], outbox[-1:])


@pytest.mark.server
@pytest.mark.usefixtures("small_steps")
def test_control_two_transactions_for_one_commit_give_events_a_second_number(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = Between("postgres", request, tmp_path / "between")
    assert killed_within_a_sync(place, tmp_path, "commit", 4, "unread", apart=True).doubled > 0
