"""Goal: one writer at a time, whoever and wherever he is, and a dead one stops nobody.

Method: real processes that hold the lease, die with it, or lose it to another; clocks that go back; restores that
meet in one place.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made_backups import HOUR_NS, Place, aged, tree_of, write

from antsmem.backup.intake import Intake
from antsmem.backup.lease import LEASE, LEASE_SECONDS, Lease, _boot_id, leased
from antsmem.backup.restore import staging, staging_for
from antsmem.backup.store import Capabilities
from antsmem.core import canonical, clock
from antsmem.core.disk import Buffer
from antsmem.core.errors import LockedError, RefusedError, UsageError
from antsmem.drivers.file import FileStore

HOLDER = """
import sys
from antsmem.backup.lease import leased
from antsmem.drivers.file import FileStore
with leased(FileStore.open(sys.argv[1], {}), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(place: Place, host: str = "laptop") -> subprocess.Popen[bytes]:
    """Another process that has the repository's lease."""
    command = [sys.executable, "-c", HOLDER, str(place.folder), host]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_a_second_writer_is_told_who_holds_the_repository_and_may_go_on_when_he_is_done(place: Place) -> None:
    write(place.workspace / "a.md")
    other = holder(place)
    try:
        for action in (place.back_up, lambda: place.back_up("cold"), place.prune):
            with pytest.raises(LockedError, match=f"written by process {other.pid} on `laptop`"):
                action()
        assert list(place.files("packs")) == list(place.files("cold")) == []
    finally:
        other.communicate()
    assert not (place.folder / LEASE).exists()
    assert place.back_up().complete


def test_the_lease_of_a_killed_writer_of_this_host_is_taken_over_at_once(place: Place) -> None:
    write(place.workspace / "a.md")
    other = holder(place)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert (place.folder / LEASE).exists()
    assert place.back_up().complete
    assert not (place.folder / LEASE).exists()


def test_the_lease_of_another_host_holds_until_it_expires(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place.workspace / "a.md")
    other = holder(place, "desktop")
    other.send_signal(signal.SIGKILL)
    other.communicate()
    with pytest.raises(LockedError, match="`desktop`"):
        place.back_up()
    later = clock.now_ns() + (LEASE_SECONDS + 1) * 1_000_000_000
    monkeypatch.setattr(clock, "now_ns", lambda: later)
    assert place.back_up().complete


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid":"x","expires_ns":"y"}', b"\xff" * 100])
def test_a_torn_lease_protects_nobody(place: Place, content: bytes) -> None:
    write(place.folder / LEASE, content)
    assert place.back_up().snapshot


@pytest.mark.parametrize("pid", [0, -1, 1 << 40, -(1 << 40)])
def test_a_lease_of_a_process_that_cannot_be_protects_nobody(place: Place, pid: int) -> None:
    expires_ns = str(clock.now_ns() + LEASE_SECONDS * 1_000_000_000)
    content = {"host": "laptop", "boot": _boot_id(), "pid": pid, "expires_ns": expires_ns, "token": "x"}
    write(place.folder / LEASE, canonical.dumps(content))
    assert place.back_up().snapshot


def test_a_lease_far_in_the_future_is_a_broken_clock_and_not_a_writer(place: Place) -> None:
    content = {"host": "desktop", "pid": 1, "expires_ns": str(clock.now_ns() + 1000 * HOUR_NS), "token": "x"}
    write(place.folder / LEASE, canonical.dumps(content))
    assert place.back_up().snapshot


def test_a_long_run_renews_its_lease(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.now_ns()
    with leased(place.store(), "laptop") as lease:
        before = place.store().get(LEASE)
        lease.renew()
        assert place.store().get(LEASE) == before, "it is fresh: nothing to do"
        monkeypatch.setattr(clock, "now_ns", lambda: now + LEASE_SECONDS * 600_000_000)
        lease.renew()
        assert place.store().get(LEASE) != before
        assert lease.expires_ns > now + LEASE_SECONDS * 1_500_000_000


def test_a_run_that_lost_its_lease_stops_and_leaves_the_new_holders_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = clock.now_ns() + (LEASE_SECONDS + 1) * 1_000_000_000
    with pytest.raises(LockedError, match="another writer took over"), leased(place.store(), "laptop") as slow:
        (place.folder / LEASE).unlink()
        quick = Lease(place.store(), "desktop")
        quick._take()
        monkeypatch.setattr(clock, "now_ns", lambda: later)
        slow.renew()
    assert canonical.loads(place.store().get(LEASE), 4096)["token"] == quick.token


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_run_that_slept_through_anothers_prune_commits_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, tier: str
) -> None:
    """A laptop that was shut when all was read: what it wrote was garbage meanwhile, and is gone."""
    aged(write(place.workspace / "a.md"))
    place.back_up()
    before, count = place.state(), len(place.files("cold"))
    write(place.workspace / "b.md")

    def sleeping(intake: Intake, linked: list[Any]) -> None:
        mend_links(intake, linked)
        (place.folder / LEASE).unlink()  # another host took it, pruned, and gave it back
        later = clock.now_ns() + 50 * HOUR_NS
        monkeypatch.setattr(clock, "now_ns", lambda: later)

    mend_links = Intake.mend_links
    monkeypatch.setattr(Intake, "mend_links", sleeping)
    with pytest.raises(LockedError, match="another writer took over"):
        place.back_up(tier)
    assert place.state() == before and len(place.files("cold")) == count
    monkeypatch.undo()
    assert place.back_up(tier).complete and place.check().problems == []


def test_many_writers_at_once_make_whole_snapshots_or_none(place: Place, tmp_path: Path) -> None:
    """Real processes, one repository: each that was not told off has made a snapshot that can be restored."""
    write(place.workspace / "a.md", "the same for all\n")
    children = []
    for number in range(5):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                place.cache = tmp_path / f"cache{number}"
                place.back_up()
                status = 0
            except LockedError:
                status = 12
            finally:
                os._exit(status)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert set(codes) <= {0, 12} and 0 in codes
    ids = place.state().ids
    assert len(ids) == codes.count(0)
    for snapshot_id in ids:
        place.restore(snapshot_id, tmp_path / snapshot_id)
        assert tree_of(tmp_path / snapshot_id) == tree_of(place.workspace)
    assert place.check().problems == []


def test_a_clock_that_was_set_back_is_named_and_the_snapshots_stay_in_order(place: Place) -> None:
    write(place.workspace / "a.md")
    first = place.back_up(now_ns=clock.now_ns() + 48 * HOUR_NS)
    write(place.workspace / "a.md", "changed\n")
    second = place.back_up()
    assert len(second.warnings) == 1 and "the clock is" in second.warnings[0]
    assert place.state().ids == (first.snapshot, second.snapshot)
    assert second.snapshot > first.snapshot
    cold = place.back_up("cold")
    assert any("the clock is" in warning for warning in cold.warnings)
    assert place.check().problems == []
    with pytest.raises(UsageError, match="the clock stands before the newest snapshot"):
        place.prune()


def test_two_restores_into_one_place_do_not_hurt_each_other(place: Place, tmp_path: Path) -> None:
    write(place.workspace / "a.md")
    snapshot = place.back_up().snapshot
    target = tmp_path / "back"
    staged = staging_for(target)
    staged.mkdir()
    running = os.open(staged, os.O_RDONLY)
    fcntl.flock(running, fcntl.LOCK_EX)
    theirs = write(staged / "theirs.md", "half of it\n")
    with pytest.raises(LockedError, match="another restore is writing"):
        place.restore(snapshot, target)
    assert theirs.exists(), "the running restore lost what it had written"
    os.close(running)
    place.restore(snapshot, target)
    assert os.listdir(target) == ["a.md"] and not staged.exists()


def test_a_restore_that_ended_leaves_the_next_one_its_staging(tmp_path: Path) -> None:
    """After the rename another restore may begin at the same place before the first has cleaned up."""
    with staging(tmp_path / "staged") as staged:
        staged.rename(tmp_path / "done")
        write(staged / "theirs.md")
    assert (tmp_path / "staged/theirs.md").exists()


class AppendOnly(FileStore):
    """A folder whose owner lets nobody delete; new objects and the anchors may be written."""

    capabilities = Capabilities(conditional=True, deletes=False)

    def delete(self, name: str) -> None:
        raise RefusedError(f"`{name}` stays")


def test_an_append_only_store_takes_backups_and_prune_only_plans(place: Place, tmp_path: Path) -> None:
    store = AppendOnly(str(place.folder))
    for text in ("one\n", "two\n", "three\n"):
        write(place.workspace / "a.md", text)
        place.back_up(store=store)
    before = tree_of(place.folder)
    from antsmem.backup.prune import PruneJob, prune

    repository = place.repository(store=store)
    job = PruneJob({"hot": {"newest": 1}, "cold": {}}, clock.now_ns())
    result = prune(repository, place.state(), job)
    assert result.planned_only and len(result.forgotten) == 2 and "only appends" in result.note
    assert tree_of(place.folder) == before
    assert place.check().problems == []


class Slow(FileStore):
    """Lets the first pack wait until it is told to go on."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reached, self.gate = threading.Event(), threading.Event()

    def put(self, name: str, parts: Sequence[Buffer], **how: Any) -> None:
        if name.startswith("packs/"):
            self.reached.set()
            self.gate.wait(30)
        super().put(name, parts, **how)


def test_readers_never_wait_for_a_writer(place: Place, tmp_path: Path) -> None:
    write(place.workspace / "a.md", "old\n")
    snapshot = place.back_up().snapshot
    write(place.workspace / "a.md", "new\n")
    store = Slow(str(place.folder))
    writer = threading.Thread(target=lambda: place.back_up(store=store))
    writer.start()
    try:
        assert store.reached.wait(30)
        place.restore(snapshot, tmp_path / "back")
        assert place.check().problems == []
    finally:
        store.gate.set()
        writer.join()
    assert (tmp_path / "back/a.md").read_text() == "old\n"
    assert len(place.state().ids) == 2
