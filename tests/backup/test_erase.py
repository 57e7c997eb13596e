"""Goal: an epoch that is erased is gone, and nothing that is still in use goes with it.

Method: histories over several weeks, each sealed to its own key; a week is erased, or moved to another key. Every
other snapshot must come back exactly; nothing in the store may open with the erased key, and what the store held
before must not open without it (control: with it, the same bytes do). The same with a kill before each call that
changes the store, and run again. Controls: the order of the steps changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_backups import tree_of
from made_weeks import MONDAYS, History, Weeks

from antsmem.backup import erase as erasing
from antsmem.backup import repository as repository_module
from antsmem.backup.carry import carry_files
from antsmem.backup.epochs import sealed_to
from antsmem.backup.erase import erase, plan_erase, reseal
from antsmem.backup.repository import Repository
from antsmem.backup.store import Capabilities
from antsmem.backup.tombstones import DESTROYED, merged, names_in, tombstone
from antsmem.core.age import X25519Identity, opened_by, unseal
from antsmem.core.disk import Buffer
from antsmem.core.errors import CannotUnlockError, IntegrityError, RefusedError, UsageError
from antsmem.core.record import replace
from antsmem.drivers.file import FileStore
from antsmem.identity.signing import SigningKey


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


@pytest.fixture
def short(tmp_path: Path) -> History:
    """One snapshot a week: for sweeps."""
    return History(tmp_path, steps=1)


@contextmanager
def anew(seed: int) -> Iterator[History]:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        yield History(Path(root), seed, steps=1)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sets(st.sampled_from(MONDAYS[:-1]), min_size=1))
def test_erased_weeks_are_gone_and_all_others_come_back(seed: int, days: set[str]) -> None:
    with anew(seed) as history:
        gone = []
        for name in sorted(f"hot-{day}" for day in days):
            gone += history.of[name]
            result = history.erase(name)
            assert list(result.snapshots) == history.of[name]
            history.done(name)
            history.verify(gone)
            assert name in names_in((history.place.folder / DESTROYED).read_bytes())
            assert not (history.place.folder / f"keys/{name}.age").exists()
        history.place.back_up()


def everything(folder: Path) -> dict[str, bytes]:
    """All that is sealed in a store."""
    found = [path for part in ("packs", "index", "snapshots") for path in (folder / part).glob("*.age")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_what_the_store_held_does_not_open_without_the_key_and_opens_with_it(history: History) -> None:
    """The thief has a copy of the whole repository of before, and every key but the destroyed one."""
    name = f"hot-{MONDAYS[1]}"
    before, key = everything(history.place.folder), history.agent.epochs[name]
    sealed = {path: data for path, data in before.items() if opened_by(data, [key]) is not None}
    assert {path.split("/")[0] for path in sealed} >= {"packs", "snapshots"}
    history.erase(name)
    history.done(name)
    left = [*history.agent.epochs.values(), history.agent.cold]
    for data in sealed.values():
        unseal(data, [key])  # control: the same bytes, with the key
        with pytest.raises(CannotUnlockError):
            unseal(data, left)
    after = everything(history.place.folder)
    assert not sealed.keys() & after.keys()
    assert all(opened_by(data, [key]) is None for data in after.values()), (
        "the key opens nothing that is there now"
    )


def test_the_plan_says_what_happens_and_nothing_happens(history: History) -> None:
    name = f"hot-{MONDAYS[0]}"
    before = everything(history.place.folder)
    plan = plan_erase(history.place.repository(), history.place.state(), history.job(name))
    assert list(plan.hot) == history.of[name] and plan.shared_objects >= 6
    assert everything(history.place.folder) == before
    result = history.erase(name)
    assert (result.packs, result.snapshots) == (plan.packs, plan.hot) and result.written_bytes


def test_the_newest_snapshot_is_never_erased(history: History) -> None:
    name = f"hot-{MONDAYS[-1]}"
    with pytest.raises(UsageError, match="the newest hot snapshot"):
        history.erase(name)
    history.verify()


def test_erasing_again_finds_nothing_to_do(history: History) -> None:
    name = f"hot-{MONDAYS[0]}"
    history.erase(name)
    again = history.erase(name)
    assert (again.snapshots, again.packs, again.written_bytes) == ((), 0, 0)
    history.verify(history.of[name])


def test_a_store_that_only_appends_is_told_apart(history: History) -> None:
    class AppendOnly(FileStore):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(conditional=True, deletes=False)

    before = everything(history.place.folder)
    with pytest.raises(RefusedError, match="only appends"):
        history.erase(f"hot-{MONDAYS[0]}", AppendOnly.open(str(history.place.folder), {}))
    assert everything(history.place.folder) == before


class Killed(BaseException):
    """As a kill: nothing of ours handles it."""


class NoticedError(Exception):
    """A control was caught."""


class Mortal(FileStore):
    """A store under which the program dies before call number `left` that changes something."""

    left = 1 << 30

    def _count(self) -> None:
        Mortal.left -= 1
        if Mortal.left < 0:
            raise Killed

    def put(self, name: str, parts: Sequence[Buffer], *, new: bool = False, durable: bool = True) -> None:
        self._count()
        super().put(name, parts, new=new, durable=durable)

    def swap(self, name: str, data: Buffer, expected: str | None) -> None:
        self._count()
        super().swap(name, data, expected)

    def delete(self, name: str) -> None:
        self._count()
        super().delete(name)


def killed_everywhere(
    history: History, action: Callable[[FileStore], object], check: Callable[[], None], begins: int = 0
) -> int:
    """`action` killed before each call that changes the store, then `check`, the store put back; how often."""
    saved = history.place.root / "saved"
    shutil.copytree(history.place.folder, saved)
    step = begins
    while True:
        Mortal.left = step
        try:
            action(Mortal.open(str(history.place.folder), {}))
            return step
        except Killed:
            Mortal.left = 1 << 30
            (history.place.folder / "anchors/lease.json").unlink(missing_ok=True)
            check()
        shutil.rmtree(history.place.folder)
        shutil.copytree(saved, history.place.folder)
        step += 1


def lost(history: History, gone: Sequence[str]) -> list[str]:
    """Snapshots outside of `gone` that do not come back now."""
    wrong = []
    for snapshot, tree in history.trees.items():
        target = history.place.root / "verify"
        if snapshot in gone:
            continue
        try:
            history.place.restore(snapshot, target)
        except IntegrityError:
            wrong.append(snapshot)
            continue
        wrong += [snapshot] if tree_of(target) != tree else []
        shutil.rmtree(target)
    return wrong


def test_a_kill_anywhere_loses_nothing_and_the_next_run_ends_it(short: History) -> None:
    history = short
    name = f"hot-{MONDAYS[1]}"

    def check() -> None:
        assert lost(history, history.of[name]) == []
        history.erase(name)
        history.verify(history.of[name])
        assert sealed_to(history.place.repository(), {name: history.agent.epochs[name]})[name].size_bytes == 0
        assert not (history.place.folder / f"keys/{name}.age").exists()

    assert killed_everywhere(history, lambda store: history.erase(name, store), check) > 10


def test_control_lists_that_are_moved_last_lose_snapshots(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"hot-{MONDAYS[1]}"
    rewrite = erasing.rewrite

    def hasty(repository: Repository, *given: Any) -> Any:
        done = rewrite(repository, *given)
        for pack in done.replaced:
            repository.store.delete(f"packs/{pack}.age")
        return done

    monkeypatch.setattr(erasing, "rewrite", hasty)

    def check() -> None:
        if lost(history, history.of[name]):
            raise NoticedError

    with pytest.raises(NoticedError):
        killed_everywhere(history, lambda store: history.erase(name, store), check)


def test_a_stale_host_does_not_bring_the_key_back(history: History) -> None:
    """Another host still carries the file: its next backup leaves it out, and one that lies there again goes."""
    name = f"hot-{MONDAYS[0]}"
    stale = history.agent.keys()
    history.erase(name)
    key_file = history.place.folder / f"keys/{name}.age"
    assert f"{name}.age" in stale.carried
    history.place.back_up()
    assert not key_file.exists()
    key_file.write_bytes(b"a stale copy")
    files = carry_files(history.place.repository(stale), history.place.state().anchor.files)
    assert f"keys/{name}.age" not in files
    history.place.prune()
    assert not key_file.exists(), "swept"


def test_control_without_its_tombstone_the_key_comes_back(history: History) -> None:
    name = f"hot-{MONDAYS[0]}"
    job = history.job(name)
    carried = {each: data for each, data in job.keys.carried.items() if each != "destroyed.jsonl"}
    erase(history.place.repository(), replace(job, keys=replace(job.keys, carried=carried)))
    history.place.back_up()
    assert (history.place.folder / f"keys/{name}.age").exists()


def test_tombstones_of_two_hosts_become_one_list() -> None:
    agent = Weeks()
    keys = agent.keys()
    one, two = (tombstone(keys.scid, f"hot-{day}", keys.must_sign(), 0) for day in MONDAYS[:2])
    again = tombstone(keys.scid, f"hot-{MONDAYS[0]}", keys.must_sign(), 10**18)
    assert merged(one, two, keys) == merged(two, one, keys)
    assert merged(one, again, keys) == merged(again, one, keys)
    assert names_in(merged(merged(one, two, keys), again, keys)) == {f"hot-{day}" for day in MONDAYS[:2]}


@pytest.mark.parametrize("forger", ["stranger", "other agent", "no epoch", "cut", "two lines in one"])
def test_a_tombstone_that_the_agent_did_not_write_is_refused(forger: str) -> None:
    keys = Weeks().keys()
    name = f"hot-{MONDAYS[0]}"
    good = tombstone(keys.scid, name, keys.must_sign(), 0)
    forged = {
        "stranger": lambda: tombstone(keys.scid, name, SigningKey.generate(), 0),
        "other agent": lambda: tombstone("QmSomebodyElse", name, keys.must_sign(), 0),
        "no epoch": lambda: good.replace(name.encode(), b"hot-nothing-"),
        "cut": lambda: good[:-10],
        "two lines in one": lambda: good[:-1] + good,
    }[forger]()
    with pytest.raises(IntegrityError):
        merged(b"", forged, keys)


def test_a_week_is_moved_to_another_key_and_everything_comes_back(history: History) -> None:
    """The key is known to others: all that it opens is sealed to the key of this week."""
    name = f"hot-{MONDAYS[1]}"
    key = history.agent.epochs[name]
    result = reseal(history.place.repository(), history.job(name))
    assert list(result.snapshots) == history.of[name]
    history.verify(renamed=True)
    assert all(opened_by(data, [key]) is None for data in everything(history.place.folder).values())
    again = reseal(history.place.repository(), history.job(name))
    assert (again.snapshots, again.packs) == ((), 0)
    history.place.back_up()
    history.erase(name)
    assert len(history.place.state().ids) == len(history.trees) + 1, "nothing was sealed to it any more"


def test_a_kill_anywhere_in_a_move_loses_nothing(short: History) -> None:
    history = short
    name = f"hot-{MONDAYS[2]}"

    def check() -> None:
        assert lost(history, history.of[name]) == []
        reseal(history.place.repository(), history.job(name))
        history.verify(renamed=True)

    job = history.job(name)
    assert killed_everywhere(history, lambda store: reseal(history.place.repository(store=store), job), check) > 10


def test_what_is_sealed_to_which_epoch_is_found_by_trying(history: History) -> None:
    found = sealed_to(history.place.repository(), dict(history.agent.epochs))
    for name, held in found.items():
        assert sorted(held.hot) == history.of[name] and held.packs
    packs = [pack for held in found.values() for pack in held.packs]
    assert sorted(packs) == sorted(path.stem for path in history.place.files("packs"))
    (history.place.folder / "packs" / history.place.files("packs")[0].name).write_bytes(b"no age file")
    assert sealed_to(history.place.repository(), dict(history.agent.epochs)), "`check` names it"


@pytest.mark.parametrize("suffix", ["00000000", "ffffffff"])
def test_the_newest_snapshot_is_moved_once_though_the_move_is_cut_off(
    history: History, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Its copy counts as soon as it is there if its id is the greater one, and is then not written again."""
    place, name = history.place, f"hot-{MONDAYS[-1]}"
    *_, newest = history.of[name]
    following = X25519Identity.generate()
    keys = replace(history.agent.keys(), sealing={"hot": ("hot-20261130", following.recipient)})
    keys = replace(keys, identities=[*keys.identities, following])
    repository, job = place.repository(keys), replace(history.job(name), keys=keys)
    before = len(place.state().ids)

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(erasing, "_copy_of", lambda snapshot, _epoch: snapshot[:-8] + suffix)
        with monkeypatch.context() as cut:
            cut.setattr(repository_module, "write_anchor", killed)
            with pytest.raises(Killed):
                reseal(repository, job)
        found = place.check(keys=keys)
        assert found.problems == [] and found.snapshots == before + (suffix > newest[-8:])
        reseal(repository, job)
    assert len(place.state().ids) == len(set(place.state().ids)) == before
    assert place.check(keys=keys).problems == []


def test_an_epoch_is_not_erased_while_a_list_lacks_a_pack_of_it(history: History) -> None:
    """What the list lacks would be taken for garbage."""
    name = f"hot-{MONDAYS[0]}"
    place, kept = history.place, history.of[f"hot-{MONDAYS[1]}"][0]
    held = sealed_to(place.repository(), {name: history.agent.epochs[name]})[name].packs
    for snapshot in place.state().ids:
        path = place.folder / f"snapshots/{snapshot}.packs"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if line[:64] not in held))
    assert kept in place.state().ids
    with pytest.raises(IntegrityError, match="lacks packs"):
        history.erase(name)
    assert {path.stem for path in place.files("packs")} >= held.keys()
