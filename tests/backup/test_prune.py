"""Goal: pruning frees space and never costs a snapshot that was to be kept.

Method: histories of changing trees, pruned by policy and by name, with and without a grace period, on clocks that
jump; after each prune every kept snapshot is restored and compared with the tree that it was taken of.
"""

from __future__ import annotations

import os
import random
import shutil
from time import gmtime, strftime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_backups import HOUR_NS, Place, Tree, aged, tree_of, write

from antsmem.backup import repack
from antsmem.backup.repair import repair
from antsmem.backup.retention import DEFAULT, kept
from antsmem.backup.snapshot import new_id, time_of
from antsmem.core import clock
from antsmem.core.errors import IntegrityError, NotFoundError, UsageError

DAY_NS = 24 * HOUR_NS


class History:
    """A place and the tree of each of its snapshots."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.trees: dict[str, Tree] = {}
        self.rng = random.Random(7)

    def step(self, tier: str = "hot", **job: int) -> str:
        """Change something and back it up."""
        for _ in range(3):
            name = f"{self.rng.randrange(12)}.md"
            aged(write(self.place.workspace / name, f"{self.rng.random()}\n" * 40))
        if self.rng.random() < 0.3:
            (self.place.workspace / name).unlink()
        taken = self.place.back_up(tier, **job).snapshot
        self.trees[taken] = tree_of(self.place.workspace)
        return taken

    def verify(self) -> None:
        """Every live snapshot comes back exactly, and a check finds nothing."""
        state = self.place.state()
        for snapshot in (*state.ids, *state.anchor.cold):
            target = self.place.root / "verify"
            (self.place.restore if snapshot in state.ids else self.place.thaw)(snapshot, target)
            assert tree_of(target) == self.trees[snapshot]
            shutil.rmtree(target)
        assert self.place.check(keys=self.place.agent.kit()).problems == []


@pytest.fixture
def history(place: Place) -> History:
    return History(place)


def test_the_policy_forgets_and_what_it_keeps_comes_back(history: History) -> None:
    now = clock.now_ns()
    for age_hours in range(100, -1, -5):
        history.step(now_ns=now - age_hours * HOUR_NS)
    for age_days in (40, 20, 0):
        history.step("cold", now_ns=now - age_days * DAY_NS)
    policy = {"hot": {"hourly": 3, "daily": 3}, "cold": {"monthly": 2}}
    state = history.place.state()
    planned = history.place.prune(policy, plan_only=True)
    assert planned.planned_only and history.place.state() == state
    result = history.place.prune(policy)
    assert result.forgotten == planned.forgotten and len(result.forgotten) > 10
    assert set(history.place.state().ids) == kept(state.ids, policy["hot"])
    assert set(history.place.state().anchor.cold) == kept(state.anchor.cold, policy["cold"])
    there = {path.name.partition("Z-")[2][:8] for path in history.place.files("snapshots")}
    assert there == {snapshot[-8:] for snapshot in history.place.state().ids}
    history.verify()


def test_the_newest_of_each_tier_stays_whatever_the_policy_says(history: History) -> None:
    last = [history.step(), history.step()][-1]
    cold = [history.step("cold"), history.step("cold")][-1]
    history.place.prune({"hot": {}, "cold": {}})
    state = history.place.state()
    assert (state.ids, state.anchor.cold) == ((last,), (cold,))
    history.verify()


def test_forgetting_by_name_drops_exactly_those(history: History) -> None:
    ids = [history.step() for _ in range(4)]
    colds = [history.step("cold") for _ in range(2)]
    history.place.prune({"hot": {}, "cold": {}}, forget=[ids[1], colds[0]])
    state = history.place.state()
    assert state.ids == (ids[0], ids[2], ids[3]) and state.anchor.cold == (colds[1],)
    history.verify()
    for wrong, error in ((ids[1], NotFoundError), ("nonsense", NotFoundError), (ids[3], UsageError)):
        with pytest.raises(error):
            history.place.prune(forget=[wrong])
    assert history.place.state().ids == state.ids


def test_freed_packs_wait_for_the_grace_period(history: History) -> None:
    for _ in range(3):
        history.step()
    now = clock.now_ns()
    packs = history.place.files("packs")
    first = history.place.prune({"hot": {}, "cold": {}}, grace_seconds=3600, now_ns=now)
    assert first.deleted_bytes == 0 < first.waiting_bytes
    assert set(packs) <= set(history.place.files("packs"))
    early = history.place.prune({"hot": {}, "cold": {}}, grace_seconds=3600, now_ns=now + HOUR_NS - 1)
    assert early.deleted_bytes == 0 and early.waiting_bytes == first.waiting_bytes
    late = history.place.prune({"hot": {}, "cold": {}}, grace_seconds=3600, now_ns=now + HOUR_NS)
    assert late.deleted_bytes == first.waiting_bytes and late.waiting_bytes == 0
    history.verify()


def test_a_reader_that_began_before_the_prune_reads_on(history: History) -> None:
    from antsmem.backup.reader import open_snapshot
    from antsmem.backup.restore import plan_restore, restore_to

    old = history.step()
    history.step()
    opened = open_snapshot(history.place.repository(), old)
    plan = plan_restore(opened, opened.entries)
    history.place.prune({"hot": {}, "cold": {}}, grace_seconds=3600)
    target = history.place.root / "back"
    restore_to(opened, target, plan, salvage=False, progress=lambda *_: None)
    assert tree_of(target) == history.trees[old]


def test_a_pack_that_is_needed_again_leaves_the_list_of_garbage(history: History) -> None:
    """A backup whose cache knows a tombstoned pack refers to it: it must not be deleted then."""
    place = history.place
    aged(write(place.workspace / "comes and goes.md", "the same each time\n" * 100))
    first = history.step()
    (place.workspace / "comes and goes.md").unlink()
    history.step()
    history.step()
    now = clock.now_ns()
    place.prune(forget=[first], grace_seconds=3600, now_ns=now)
    aged(write(place.workspace / "comes and goes.md", "the same each time\n" * 100))
    history.step()
    place.prune(grace_seconds=3600, now_ns=now + 2 * HOUR_NS)
    place.prune(grace_seconds=3600, now_ns=now + 4 * HOUR_NS)
    history.verify()


def test_what_a_prune_moved_is_needed_where_it_is_now(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next snapshot needs the small packs of before once more, and none of them ever goes."""
    monkeypatch.setattr(repack, "_MANY_SMALL", 3)
    for _ in range(8):
        history.step()
    before = {path.stem for path in history.place.files("packs")}
    assert history.place.prune(grace_seconds=3600).repacked > 3
    newest = history.step()
    needed = history.place.store().get(f"snapshots/{newest}.packs").decode()
    assert not {pack for pack in before if pack in needed}
    history.verify()
    history.place.prune(grace_seconds=0)
    assert not before & {path.stem for path in history.place.files("packs")}
    history.verify()


def test_orphans_of_killed_runs_go_and_half_written_files_too(history: History) -> None:
    place = history.place
    history.step()
    now = clock.now_ns()
    write(place.folder / "packs" / f"{'ab' * 32}.age", "an orphan\n")
    old, new = new_id(now - 48 * HOUR_NS), new_id(now)
    for snapshot in (old, new):
        write(place.folder / f"snapshots/{snapshot}.sig", "a run that died before its head\n")
        write(place.folder / f"cold/{snapshot}.tar.zst.age", "an archive without a signature\n")
    half = write(place.folder / "packs/.antsmem-tmp-0123456789ab-x", "half\n")
    os.utime(half, ns=(now - 48 * HOUR_NS, now - 48 * HOUR_NS))
    fresh = write(place.folder / "packs/.antsmem-tmp-0123456789ab-y", "half\n")
    place.prune(grace_seconds=24 * 3600, now_ns=now)
    assert not half.exists() and fresh.exists()
    assert not (place.folder / f"snapshots/{old}.sig").exists()
    assert not (place.folder / f"cold/{old}.tar.zst.age").exists()
    assert (place.folder / f"snapshots/{new}.sig").exists(), "that run may still be at it"
    assert (place.folder / "packs" / f"{'ab' * 32}.age").exists()
    place.prune(grace_seconds=24 * 3600, now_ns=now + 25 * HOUR_NS)
    assert not (place.folder / "packs" / f"{'ab' * 32}.age").exists()
    history.verify()


def test_a_clock_that_went_back_prunes_nothing(history: History) -> None:
    for tier in ("hot", "cold"):
        history.step(tier, now_ns=clock.now_ns() + DAY_NS)
        before = history.place.state()
        with pytest.raises(UsageError, match="clock stands before the newest snapshot"):
            history.place.prune({"hot": {}, "cold": {}})
        assert history.place.state() == before


def test_a_clock_that_jumps_ahead_cannot_delete_what_is_needed(history: History) -> None:
    for _ in range(5):
        history.step()
    history.place.prune({"hot": {"hourly": 48}, "cold": {}}, now_ns=clock.now_ns() + 1000 * DAY_NS)
    history.verify()


def test_a_host_without_the_keys_frees_whole_packs_and_rewrites_none(history: History) -> None:
    from antsmem.backup.prune import PruneJob, prune
    from antsmem.core.age import X25519Identity
    from antsmem.core.record import replace

    for _ in range(3):
        history.step()
    for path in history.place.workspace.iterdir():
        path.unlink()
    history.step()
    blind = replace(history.place.agent.keys(), identities=[X25519Identity.generate()])
    job = PruneJob({"hot": {}, "cold": {}}, clock.now_ns(), grace_seconds=0)
    result = prune(history.place.repository(blind), history.place.state(), job)
    assert "none is rewritten" in result.note and result.repacked == 0 and result.deleted_bytes > 0
    history.verify()


def test_a_damaged_pack_stops_the_prune_before_anything_is_lost(history: History) -> None:
    ids = [history.step() for _ in range(4)]
    pack = max(history.place.files("packs"), key=lambda path: path.stat().st_size)
    good = pack.read_bytes()
    pack.write_bytes(good[:-20] + bytes(20))
    before = tree_of(history.place.folder, ("anchors",))
    try:
        history.place.prune({"hot": {}, "cold": {}}, forget=ids[:2])
    except IntegrityError:
        assert tree_of(history.place.folder, ("anchors",)).keys() >= before.keys()
    pack.write_bytes(good)
    history.verify()


@pytest.mark.parametrize("seed", range(4))
def test_after_any_number_of_prunes_every_kept_snapshot_comes_back(
    place: Place, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Small packs are gathered early here, so that each prune rewrites."""
    monkeypatch.setattr(repack, "_MANY_SMALL", 2)
    history = History(place)
    history.rng.seed(seed)
    for _ in range(12):
        history.step()
        if history.rng.random() < 0.4:
            state = place.state()
            droppable = state.ids[:-1]
            forget = history.rng.sample(droppable, min(len(droppable), history.rng.randrange(3)))
            place.prune(forget=forget, grace_seconds=history.rng.choice((0, 3600)))
            if history.rng.random() < 0.5:
                place.cache.unlink(missing_ok=True)
    history.verify()
    place.prune({"hot": {"newest": 2}, "cold": {}})
    history.verify()
    lists = "".join(path.read_text() for path in place.files("snapshots") if path.suffix == ".packs")
    assert {path.stem for path in place.files("packs")} == {line[:64] for line in lists.splitlines()}, (
        "nothing is left that nobody needs"
    )


def test_hundreds_of_small_snapshots_all_come_back(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """What gathers small packs, and the index over them, sets in often here; old snapshots must not notice."""
    from antsmem.backup import hot, index

    monkeypatch.setattr(hot, "_MANY_SMALL", 6)
    monkeypatch.setattr(index, "_EVERY", 4)
    for number in range(40):
        history.step()
        if number in {17, 30}:
            history.place.cache.unlink()
    assert history.place.check().problems == []
    history.verify()
    lists = [path for path in history.place.files("snapshots") if path.suffix == ".packs"]
    assert max(path.read_bytes().count(b"\n") for path in lists) < 12
    monkeypatch.setattr(repack, "_MANY_SMALL", 3)
    history.place.prune()
    history.verify()
    assert len(history.place.files("packs")) <= 3
    assert len(history.place.files("index")) == 1


# Retention on its own: a pure function of ids.


def ids_at(hours: list[int]) -> list[str]:
    base = 1_780_000_000 * 10**9
    return sorted({f"{clock.file_stamp(base + hour * HOUR_NS)}-00000000" for hour in hours})


@given(
    st.lists(st.integers(0, 24 * 400), min_size=1, max_size=60),
    st.dictionaries(st.sampled_from(["hourly", "daily", "weekly", "monthly", "newest"]), st.integers(1, 20)),
)
def test_retention_keeps_the_newest_of_each_period_and_no_more(hours: list[int], policy: dict[str, int]) -> None:
    ids = ids_at(hours)
    keep = kept(ids, policy)
    assert ids[-1] in keep and keep <= set(ids)
    assert set(ids[-policy.get("newest", 1) :]) <= keep
    assert len(keep) <= sum(policy.values()) + 1
    assert kept(sorted(keep), policy) == keep, "pruning again changes nothing"
    for unit, form in {"hourly": "%Y%m%d%H", "daily": "%Y%m%d", "weekly": "%G%V", "monthly": "%Y%m"}.items():
        periods = {strftime(form, gmtime(time_of(each) // 10**9)): each for each in ids}
        newest = (
            [periods[period] for period in sorted(periods)][-policy.get(unit, 0) :] if policy.get(unit) else []
        )
        assert set(newest) <= keep


def test_the_default_policy_of_a_year_of_hours_keeps_two_days_of_hours_and_two_weeks_of_days() -> None:
    keep = kept(ids_at(list(range(24 * 365))), DEFAULT["hot"])
    assert 48 + 11 <= len(keep) <= 48 + 14
    assert len(kept(ids_at(list(range(0, 24 * 365, 24 * 7))), DEFAULT["cold"])) >= 12 + 6


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_policy_of_the_newest_keeps_so_many(history: History, count: int) -> None:
    ids = [history.step() for _ in range(6)]
    history.place.prune({"hot": {"newest": count}, "cold": {}})
    assert history.place.state().ids == tuple(ids[-count:])


def test_a_pack_that_a_damaged_list_lacks_is_not_taken_for_garbage(place: Place) -> None:
    """The lists are derived and not signed; a line that is lost leaves a list that can be read."""
    aged(write(place.workspace / "large.bin", os.urandom(5 << 20)))
    aged(write(place.workspace / "a.md"))
    place.back_up()
    place.cache.unlink()  # so that the manifest is not in one pack with what is lost
    aged(write(place.workspace / "b.md"))
    place.back_up()
    lost = max(place.files("packs"), key=lambda path: path.stat().st_size)
    for path in place.files("snapshots"):
        if path.suffix == ".packs":
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if lost.stem not in line))
    with pytest.raises(IntegrityError, match="lacks packs"):
        place.prune()
    assert lost.exists()
    repair(place.repository(), [])
    place.prune()
    assert lost.exists() and place.check().problems == []
