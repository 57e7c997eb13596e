"""Goal: who reads while another host writes sees one state or the other, and never damage that is none.

Method: a store at which the other host backs up or prunes just when a listing or a pack is asked for. Control:
what is truly gone is named, however much is written meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from made_backups import Place, write

from antsmem.backup.check import CheckJob, check
from antsmem.backup.prune import PruneJob, prune
from antsmem.backup.repository import read_state
from antsmem.core import clock
from antsmem.core.errors import ConflictError, RollbackError
from antsmem.drivers.file import FileStore

NEWEST_ONLY = {"hot": {"newest": 1}, "cold": {"newest": 1}}


class Beside(FileStore):
    """A store at which each of `acts` happens once, at its moment."""

    acts: list[tuple[str, Callable[[], object]]]
    lock: threading.Lock

    def _now(self, moment: str) -> None:
        with self.lock:
            act = self.acts.pop(0)[1] if self.acts and self.acts[0][0] == moment else None
        if act is not None:
            act()

    def names(self, folder: str) -> Sequence[str]:
        if folder != "snapshots":
            return super().names(folder)
        self._now("before the list")
        found = super().names(folder)
        self._now("after the list")
        return found

    def download(self, name: str) -> Iterator[bytes]:
        self._now("before a pack")
        return super().download(name)


def beside(place: Place, *acts: tuple[str, Callable[[], object]]) -> Beside:
    store = Beside.open(str(place.folder), {})
    store.acts, store.lock = list(acts), threading.Lock()
    return store


@pytest.fixture
def stored(place: Place) -> Place:
    """Three snapshots, each with a file more."""
    for number in range(3):
        write(place.workspace / f"{number}.md", f"{number}\n")
        place.back_up()
    return place


def test_a_prune_between_the_list_and_the_look_is_no_rollback(stored: Place) -> None:
    newest, seen = stored.state().ids[-1], stored.pin
    store = beside(stored, ("before the list", lambda: stored.prune(NEWEST_ONLY)))
    assert read_state(stored.repository(store=store), seen).ids == (newest,)
    assert store.acts == []


def test_control_a_snapshot_that_is_gone_is_a_rollback_whatever_is_written(stored: Place) -> None:
    (stored.folder / f"snapshots/{stored.state().ids[0]}.age").unlink()
    store = beside(stored, *[("before the list", lambda: forget_the_garbage(stored))] * 9)
    with pytest.raises(RollbackError, match="are gone"):
        read_state(stored.repository(store=store), stored.pin)
    assert 0 < len(store.acts) < 9


def forget_the_garbage(place: Place) -> None:
    """What changes nothing that a reader needs."""
    (place.folder / "anchors/garbage.json").unlink(missing_ok=True)


@pytest.mark.parametrize("moment", ["before the list", "after the list", "before a pack"])
@pytest.mark.parametrize("what", ["backup", "prune", "prune without grace"])
def test_what_is_written_beside_a_check_is_no_damage(stored: Place, moment: str, what: str) -> None:
    def act() -> None:
        write(stored.workspace / "new.md", "new\n")
        stored.back_up()
        if what != "backup":
            stored.prune(NEWEST_ONLY, grace_seconds=0 if what.endswith("grace") else 86400)

    store, seen = beside(stored, (moment, act)), stored.pin
    result = check(stored.repository(store=store), CheckJob(seen, 100))
    assert (store.acts, result.problems, result.damaged) == ([], [], set())


def test_garbage_that_a_prune_deletes_under_a_check_is_not_missed(stored: Place) -> None:
    """Packs that nothing needs; the list of snapshots stays as it is."""
    stored.prune(NEWEST_ONLY, grace_seconds=86400)
    packs = stored.files("packs")
    store = beside(stored, ("before a pack", lambda: stored.prune(NEWEST_ONLY)))
    result = check(stored.repository(store=store), CheckJob(stored.pin, 100))
    assert len(stored.files("packs")) < len(packs) and result.problems == []


def test_control_a_pack_that_is_gone_is_named_while_somebody_writes(stored: Place) -> None:
    lost = max(stored.files("packs"), key=lambda path: path.stat().st_mtime_ns)
    lost.unlink()
    store = beside(stored, *[("after the list", lambda: forget_the_garbage(stored))] * 9)
    result = check(stored.repository(store=store), CheckJob(stored.pin, 100))
    assert 0 < len(store.acts) < 9 and any(lost.stem in problem for problem in result.problems)


def test_a_prune_after_another_hosts_backup_is_to_be_tried_again(stored: Place) -> None:
    """Exit 12, as for all that comes second."""
    state = stored.state()
    stored.back_up()
    with pytest.raises(ConflictError, match="changed between planning and pruning"):
        prune(stored.repository(), state, PruneJob(NEWEST_ONLY, clock.now_ns()))


def test_a_list_of_garbage_that_cannot_be_read_is_no_trouble_for_a_check(stored: Place) -> None:
    (stored.folder / "anchors/garbage.json").mkdir()
    assert stored.check().problems == []
