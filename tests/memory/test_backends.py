"""Backends are copies: what they hold is sealed, and either side can be made again from the other.

Method: every byte of the embedded backends is searched for canaries; backends and devices are deleted in turn, and
the digest of the state has to be the same afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from devices import Agent, DeviceAt, backends_at, settle
from sealed import seen_in_the_clear

from antsmem.core.errors import AntsmemError, IntegrityError, NotFoundError, RollbackError, UsageError
from antsmem.core.record import replace
from antsmem.memory.digest import state_digest
from antsmem.memory.embedded.blobs import FileBlobs
from antsmem.memory.embedded.logs import FileLog
from antsmem.memory.exchange import remote_heads
from antsmem.memory.rebuilding import rebuild
from antsmem.memory.redacting import redact
from antsmem.memory.replaying import replay
from antsmem.memory.roles import LogRecord, Row
from antsmem.memory.verifying import verify_events


def bytes_below(root: Path) -> list[bytes]:
    found = []
    for path in root.rglob("*"):
        found += [str(path).encode(), path.read_bytes() if path.is_file() else b""]
    return found


def digest_of(device: DeviceAt) -> str:
    memory = device.memory()
    found = state_digest(memory.index)
    memory.close()
    return found


@pytest.fixture
def agent() -> Agent:
    return Agent("laptop", "desktop", "server")


def device(agent: Agent, host: str, place: Path) -> DeviceAt:
    return DeviceAt(agent, host, place / host, backends_at(place / "backend"))


@pytest.fixture
def pair(agent: Agent, tmp_path: Path) -> tuple[DeviceAt, DeviceAt]:
    one, other = device(agent, "laptop", tmp_path), device(agent, "desktop", tmp_path)
    one.write("MEMORY.md", "- tea\n")
    one.write("big.bin", os.urandom(200_000))
    settle(one, other)
    one.write("MEMORY.md", "- tea\n- cats\n")
    other.write("MEMORY.md", "- tea\n- dogs\n")
    other.write("big.bin", os.urandom(200_000))
    one.write("big.bin", os.urandom(200_000))
    settle(one, other)
    return one, other


def test_no_backend_holds_a_word_or_a_path(agent: Agent, tmp_path: Path) -> None:
    one, other = device(agent, "laptop", tmp_path), device(agent, "desktop", tmp_path)
    canaries = [f"canary-{number}-{os.urandom(6).hex()}".encode() for number in range(4)]
    one.write(f"notes/{canaries[0].decode()}.md", canaries[1] * 3)
    one.write("blob.bin", canaries[2] * 20_000)
    settle(one, other)
    other.write("SOUL.md", canaries[3].decode())
    settle(other, one)
    assert seen_in_the_clear(bytes_below(tmp_path / "backend"), canaries) == set()
    assert seen_in_the_clear(bytes_below(tmp_path / "laptop/workspace"), canaries) == set(canaries)  # the control


def test_all_backends_are_made_again_from_one_device(
    agent: Agent, pair: tuple[DeviceAt, DeviceAt], tmp_path: Path
) -> None:
    one, other = pair
    digest = digest_of(one)
    assert digest == digest_of(other)
    shutil.rmtree(tmp_path / "backend")
    other.backends = backends_at(tmp_path / "backend")
    memory = other.memory()
    assert rebuild(memory, other.backends, ("log", "durable", "blob"), ()).missing == 0
    memory.close()
    third = device(agent, "server", tmp_path)
    third.sync()
    assert digest_of(third) == digest and third.files() == one.files()


def test_an_event_log_that_was_lost_alone_is_made_again(
    agent: Agent, pair: tuple[DeviceAt, DeviceAt], tmp_path: Path
) -> None:
    one, _ = pair
    for path in (tmp_path / "backend").glob("log*"):
        path.unlink()
    third = device(agent, "server", tmp_path)
    assert third.sync().pulled.gaps
    one.backends = backends_at(tmp_path / "backend")
    memory = one.memory()
    rebuild(memory, one.backends, ("log",), ())
    memory.close()
    assert third.sync(backends=backends_at(tmp_path / "backend")).complete
    assert digest_of(third) == digest_of(one)


def test_a_device_that_was_lost_is_made_again_from_the_backends(
    pair: tuple[DeviceAt, DeviceAt], tmp_path: Path
) -> None:
    one, other = pair
    digest, files = digest_of(one), one.files()
    shutil.rmtree(one.place)
    one.root.mkdir(parents=True)
    assert one.sync().complete
    assert (digest_of(one), one.files()) == (digest, files)
    assert digest_of(other) == digest


def test_an_index_that_was_lost_or_damaged_is_made_again(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, _ = pair
    digest = digest_of(one)
    for damage in (b"", b"not a database at all" * 500):
        (one.root / ".antsmem/cache/memory.db").write_bytes(damage)
        for side in ("-wal", "-shm"):
            (one.root / f".antsmem/cache/memory.db{side}").unlink(missing_ok=True)
        result = one.sync()
        assert not result.recorded.changed and result.complete
        assert digest_of(one) == digest


def test_a_redacted_content_is_gone_everywhere_and_the_chain_holds(
    agent: Agent, pair: tuple[DeviceAt, DeviceAt], tmp_path: Path
) -> None:
    one, other = pair
    one.write("leak.txt", "SECRET-PIECE\n")
    settle(one, other)
    memory = one.memory()
    (old,) = memory.index.history("leak.txt")
    with pytest.raises(UsageError):
        redact(memory, one.job(), old)
    memory.close()
    one.write("leak.txt", "harmless\n")
    settle(one, other)
    memory = one.memory()
    redact(memory, one.job(), old)
    with pytest.raises(NotFoundError):
        redact(memory, one.job(), old)
    memory.close()
    settle(one, other)
    third = device(agent, "server", tmp_path)
    third.sync()
    for each in (one, other, third):
        memory = each.memory()
        past = memory.index.revision(old)
        assert past is not None and past.shredded
        found = memory.index.spot(old)
        assert found is not None and not memory.files.read(found[0], found[2]).key
        assert verify_events(memory, None).faults == []
        memory.close()
        assert each.files()["leak.txt"] == b"harmless\n"
    assert digest_of(third) == digest_of(one)


@pytest.mark.parametrize("what", ["half a line more", "gone", "put back"])
def test_what_was_destroyed_stays_so_when_the_log_of_its_device_is_read_again(
    agent: Agent, tmp_path: Path, what: str
) -> None:
    """Neither does what was written before come back as a version of its own."""
    one, other = device(agent, "laptop", tmp_path), device(agent, "desktop", tmp_path)
    for content in (b"\0first", b"\0SECRET-PIECE", b"\0third"):
        one.write("photo.bin", content)
        settle(one, other)
    (log,) = (one.root / ".antsmem/events").glob("laptop~*/*.jsonl")
    before = log.read_bytes()
    memory = other.memory()
    (old,) = (past.id for past in memory.index.history("photo.bin").values() if past.sequence == 2)
    redact(memory, other.job(), old)
    memory.close()
    settle(other, one)
    if what == "half a line more":
        log.write_bytes(log.read_bytes() + b'{"of a run that died')
    elif what == "put back":
        log.write_bytes(before)
    else:
        log.unlink()
        log.parent.rmdir()
    assert one.sync().complete and one.files() == other.files() == {"photo.bin": b"\0third"}
    memory = one.memory()
    past, spot = memory.index.revision(old), memory.index.spot(old)
    assert past is not None and past.shredded and spot is not None
    assert not memory.files.read(spot[0], spot[2]).key
    memory.close()


@pytest.mark.parametrize("others_too", [False, True], ids=["own log", "all logs"])
def test_an_edit_whose_event_was_lost_before_it_was_given_is_an_edit_again(
    agent: Agent, tmp_path: Path, others_too: bool
) -> None:
    """Otherwise the state before would be written over it, which is all that the others know."""
    one, other = device(agent, "laptop", tmp_path), device(agent, "desktop", tmp_path)
    one.write("photo.bin", b"\0first")
    other.write("b.md", "- of the other\n")
    settle(one, other)
    one.write("photo.bin", b"\0second")
    one.write("new.md", "- new\n")
    one.sync(give=False, take=False)
    for log in (one.root / ".antsmem/events").glob("*~*" if others_too else "laptop~*"):
        shutil.rmtree(log)
    settle(one, other)
    assert one.files() == other.files()
    assert {b"- new\n", b"\0second"} < set(one.files().values()) and one.files()["photo.bin"] == b"\0second"


def test_a_host_that_was_put_back_whole_goes_on_as_the_hint_says(agent: Agent, tmp_path: Path) -> None:
    one, other = device(agent, "laptop", tmp_path), device(agent, "desktop", tmp_path)
    one.write("MEMORY.md", "- tea\n")
    settle(one, other)
    shutil.copytree(one.place, tmp_path / "image")
    one.write("MEMORY.md", "- tea\n- cats\n")
    settle(one, other)
    shutil.rmtree(one.place)
    shutil.copytree(tmp_path / "image", one.place)
    one.write("new.md", "- new\n")
    with pytest.raises(RollbackError) as told:
        one.sync()
    (name,) = re.findall(r"move `(.*?)` away, then: antsmem sync", told.value.hint)
    shutil.rmtree(one.root / name)
    settle(one, other)
    assert one.files() == other.files() == {"MEMORY.md": b"- tea\n- cats\n", "new.md": b"- new\n"}


def test_a_damaged_content_is_told_by_its_place_and_fetched_anew(
    pair: tuple[DeviceAt, DeviceAt], tmp_path: Path
) -> None:
    one, other = pair
    for blob in (one.root / ".antsmem/events/blobs").glob("*/*"):
        blob.write_bytes(b"damaged")
    memory = one.memory()
    assert all(".antsmem/events/blobs/" in fault for fault in verify_events(memory, None).faults)
    with pytest.raises(IntegrityError, match="is damaged"):
        rebuild(memory, replace(one.backends, blobs=FileBlobs(tmp_path / "another")), ("blob",), ())
    memory.close()
    (one.root / ".antsmem/cache/memory.db").unlink()
    (one.root / "big.bin").unlink()
    assert one.sync().complete and one.files() == other.files()


class Forgetful:
    """An event log that has nothing any more where its readers were."""

    def __init__(self, log: FileLog, error: type[AntsmemError]) -> None:
        self._log, self._error = log, error
        self._known: set[str] = set()

    def append(self, records: Sequence[LogRecord]) -> None:
        self._log.append(records)

    def read(self, stream: str, after: str | None, limit: int) -> list[tuple[str, LogRecord]]:
        if after is not None and after not in self._known:
            raise self._error("the log ends before the position asked for")
        found = self._log.read(stream, after, limit)
        self._known |= {position for position, _ in found}
        return found


@pytest.mark.parametrize("error", [RollbackError, NotFoundError])
def test_a_log_that_was_made_anew_is_read_from_its_first(
    pair: tuple[DeviceAt, DeviceAt], tmp_path: Path, error: type[AntsmemError]
) -> None:
    """A broker tells a reader whose position it never gave; that reader must not stay with it for ever."""
    one, other = pair
    one.write("new.md", "after that\n")
    one.sync()
    anew = Forgetful(FileLog(tmp_path / "another"), error)
    between = replace(backends_at(tmp_path / "backend"), log=anew)
    memory = one.memory()
    rebuild(memory, between, ("log",), ())
    memory.close()
    result = other.sync(backends=between)
    assert result.complete and result.pulled.new == 1 and other.read("new.md") == "after that\n"
    one.write("new.md", "and that\n")
    one.sync(backends=between)
    assert other.sync(backends=between).pulled.again == 0, "the new position is remembered"


def test_a_stranger_in_the_log_makes_nobody_ask_the_store_for_rows(
    pair: tuple[DeviceAt, DeviceAt], tmp_path: Path
) -> None:
    """A name of the stranger's choice could be one that the store refuses, and end every sync."""
    one, other = pair
    between = backends_at(tmp_path / "backend")
    asked: list[str] = []
    rows = between.durable.rows

    def noted(stream: str, after_key: str, limit: int) -> list[tuple[str, Row]]:
        asked.append(after_key)
        return rows(stream, after_key, limit)

    between.durable.rows = noted  # type: ignore[method-assign]
    strange = {"source": "ants://x/dev/" + "y" * 5000, "sequence": "1"}
    between.log.append([LogRecord(one.agent.stream, "strange", strange, b"data")])
    one.write("new.md", "after that\n")
    one.sync()
    result = other.sync(backends=between)
    assert [item.why for item in result.refused] == ["is no event"] and other.read("new.md") == "after that\n"
    assert asked and not any("y" * 100 in key for key in asked)


def test_verify_finds_every_damaged_line(pair: tuple[DeviceAt, DeviceAt]) -> None:
    one, _ = pair
    memory = one.memory()
    assert verify_events(memory, remote_heads(memory, one.backends.durable)).faults == []  # type: ignore[union-attr]
    (path,) = (one.root / ".antsmem/events").glob("laptop~*/000001.jsonl")
    good = path.read_bytes()
    lines = good.splitlines(keepends=True)
    damages = [
        b"".join(lines[1:]),
        lines[0] + b"".join(lines[2:]),
        lines[1] + lines[0] + b"".join(lines[2:]),
        good.replace(b'"recordkey":"', b'"recordkey":"A', 1),
        good[: len(good) // 2] + b"\n",
    ]
    for damage in damages:
        path.write_bytes(damage)
        assert verify_events(memory, None).faults, damage[:80]
    path.write_bytes(good)
    memory.close()


def test_a_replay_shows_the_files_as_they_were(agent: Agent, tmp_path: Path) -> None:
    one = DeviceAt(agent, "laptop", tmp_path / "laptop")
    then = {}
    for turn in range(3):
        one.write("a.txt", f"{turn}\n")
        one.write(f"b{turn}.txt", "x")
        one.sync()
        then[turn] = (f"{one.now_ns // 1_000_000:013d}-9999", one.files())
    memory = one.memory()
    for turn, (until, files) in then.items():
        into = tmp_path / f"replay{turn}"
        replay(memory, until, into, one.job().classifier, one.now_ns)
        assert {path.name: path.read_bytes() for path in into.iterdir()} == files
    memory.close()


def test_two_hosts_with_one_key_are_noticed(agent: Agent, tmp_path: Path) -> None:
    one = device(agent, "laptop", tmp_path)
    one.write("a.txt", "1\n")
    one.sync(give=False, take=False)
    shutil.copytree(one.place, tmp_path / "clone/laptop")
    clone = DeviceAt(agent, "laptop", tmp_path / "clone/laptop", backends_at(tmp_path / "backend"))
    one.write("a.txt", "2\n")
    clone.write("a.txt", "3\n")
    one.sync()
    with pytest.raises(RollbackError):
        clone.sync(take=False)


def test_an_empty_disk_is_no_deletion(agent: Agent, tmp_path: Path) -> None:
    one = device(agent, "laptop", tmp_path)
    for number in range(12):
        one.write(f"{number}.txt", "x")
    one.sync()
    for number in range(12):
        one.remove(f"{number}.txt")
    with pytest.raises(UsageError, match="no file at all"):
        one.sync()
