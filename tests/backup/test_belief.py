"""Goal: nothing is believed that the agent did not sign, and nothing that is older than what was seen.

Method: thieves who know the recipients make snapshots, anchors and archives; old copies of a repository are put
back; files are taken away. Each guard is then switched off, and the same forgery must get through: the control.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3
from broken.hostile import ROOT, entry, head_of, lines_of, member
from made_backups import Agent, Place, silent, tree_of, write

from antsmem.backup import repository as repo
from antsmem.backup.create import create_repository
from antsmem.backup.hot import back_up_hot
from antsmem.backup.reader import open_snapshot
from antsmem.backup.repository import Pin, open_repository
from antsmem.backup.restore import plan_restore, restore_to
from antsmem.backup.thaw import read_archive, restore_cold
from antsmem.core import age, canonical, clock
from antsmem.core.age import X25519Identity
from antsmem.core.disk import Buffer
from antsmem.core.errors import (
    CannotUnlockError,
    IntegrityError,
    NotFoundError,
    RollbackError,
    UsageError,
    WouldOverwriteError,
)
from antsmem.core.record import replace
from antsmem.drivers.file import FileStore
from antsmem.identity import statement as statements


@pytest.fixture
def stored(place: Place) -> Place:
    """A repository with one hot and one cold snapshot."""
    write(place.workspace / "SOUL.md", "honest\n")
    place.back_up()
    place.back_up("cold")
    return place


def forge(place: Place) -> str:
    """A snapshot that a thief makes: he knows repository and recipient, and signs with a key of his own."""
    write(place.workspace / "SOUL.md", "forged\n")
    repository = replace(place.repository(), keys=place.agent.thief())
    return back_up_hot(repository, place.job(cache_path=place.root / "state" / "thief", pin=None)).snapshot


def test_a_snapshot_signed_by_another_key_is_refused(stored: Place, tmp_path: Path) -> None:
    anchor = (stored.folder / repo.ANCHOR).read_bytes()
    forged = forge(stored)
    with pytest.raises(IntegrityError, match="forged or foreign"):
        stored.state()
    (stored.folder / repo.ANCHOR).write_bytes(
        anchor
    )  # the thief left the anchor alone: the snapshot is only newer
    for action in (stored.state, stored.back_up, lambda: stored.restore(forged, tmp_path / "back")):
        with pytest.raises(IntegrityError, match="forged or foreign"):
            action()
    assert not (tmp_path / "back").exists()
    assert any("forged or foreign" in problem for problem in stored.check().problems)


def test_control_without_the_signature_check_the_forged_snapshot_is_restored(
    stored: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged = forge(stored)
    real = statements.open_statement

    def trusting(data: bytes, schema: str, trusted: Any, name: str) -> dict[str, Any]:
        return real(data, schema, None, name)

    monkeypatch.setattr(repo, "open_statement", trusting)
    monkeypatch.setattr(repo.Keyring, "signers", lambda _keys, former: None)
    stored.restore(forged, tmp_path / "back")
    assert (tmp_path / "back/SOUL.md").read_text() == "forged\n"


def test_a_head_that_was_swapped_for_another_sealed_one_is_refused(stored: Place, tmp_path: Path) -> None:
    """Sealing needs no secret: without the hash in the signature any head would do."""
    snapshot = stored.state().ids[0]
    repository = stored.repository()
    other = Place(tmp_path / "other", stored.agent)
    write(other.workspace / "SOUL.md", "other\n")
    there = other.back_up().snapshot
    head = (other.folder / f"snapshots/{there}.age").read_bytes()
    (stored.folder / f"snapshots/{snapshot}.age").write_bytes(head)
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        repo.read_head(repository, snapshot)
    shutil.copy(other.folder / f"snapshots/{there}.sig", stored.folder / f"snapshots/{snapshot}.sig")
    with pytest.raises(IntegrityError, match="made for something else"):
        repo.read_head(repository, snapshot)


def test_a_snapshot_of_the_agents_other_repository_is_refused(stored: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other", stored.agent)
    write(other.workspace / "a.md")
    there = other.back_up().snapshot
    for path in other.files("snapshots"):
        shutil.copy(path, stored.folder / "snapshots")
    with pytest.raises(IntegrityError, match="made for something else"):
        stored.state()
    with pytest.raises(IntegrityError, match="made for something else"):
        stored.restore(there, tmp_path / "back")


def test_the_anchor_of_another_repository_is_refused(stored: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other", stored.agent)
    shutil.copy(other.folder / repo.ANCHOR, stored.folder / repo.ANCHOR)
    with pytest.raises(IntegrityError, match="made for another repository"):
        stored.state()


@pytest.mark.parametrize("name", ["SOUL.md"])
def test_changed_content_of_an_object_is_never_restored(
    stored: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A thief seals a pack whose object bears the digest of another content, under the name of the old pack."""
    snapshot = stored.state().ids[0]
    _swap_content(stored, b"honest\n", b"FORGED\n")
    with pytest.raises(IntegrityError, match="not what its name says"):
        stored.restore(snapshot, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    problems = stored.check().problems
    assert any("not what its name says" in problem for problem in problems)
    monkeypatch.setattr("antsmem.backup.unpack.blake3", _Agreeable)
    stored.restore(snapshot, tmp_path / "control")
    assert (tmp_path / "control" / name).read_text() == "FORGED\n", "the control must get through"


def _swap_content(place: Place, old: bytes, new: bytes) -> None:
    from antsmem.backup.pack import Draft, open_pack, seal_pack

    for path in place.files("packs"):
        draft = Draft()
        for digest, data in open_pack(path.read_bytes(), [place.agent.hot], path.stem):
            draft.take(digest, bytes(data).replace(old, new))
        path.write_bytes(b"".join(seal_pack(draft, 3, [place.agent.hot.recipient]).parts))


class _Agreeable:
    """A hash check that says yes to everything."""

    def __init__(self, data: Buffer) -> None:
        self.data = data

    def digest(self) -> Any:
        return _Equal()


class _Equal:
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def test_a_cold_archive_that_anybody_sealed_is_refused_before_it_is_opened(stored: Place, tmp_path: Path) -> None:
    snapshot = stored.state().anchor.cold[0]
    other = Place(tmp_path / "other", replace(Agent(), hot=stored.agent.hot, cold=stored.agent.cold))
    write(other.workspace / "SOUL.md", "forged\n")
    there = other.back_up("cold").snapshot
    archive = stored.folder / f"cold/{snapshot}.tar.zst.age"
    shutil.copy(other.folder / f"cold/{there}.tar.zst.age", archive)
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        stored.thaw(snapshot, tmp_path / "back")
    shutil.copy(other.folder / f"cold/{there}.sig", stored.folder / f"cold/{snapshot}.sig")
    with pytest.raises(IntegrityError, match="forged or foreign"):
        stored.thaw(snapshot, tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert len(stored.check().problems) == 1


class TwoFaced(FileStore):
    """Gives the honest archive to the first who asks, and the forged one from then on."""

    asked = 0
    forged = b""

    def download(self, name: str) -> Iterator[bytes]:
        self.asked += 1
        if self.asked == 1:
            yield from super().download(name)
        else:
            yield self.forged


def test_a_store_that_gives_other_bytes_the_second_time_is_caught(stored: Place, tmp_path: Path) -> None:
    snapshot = stored.state().anchor.cold[0]
    data = b"forged\n"
    manifest = lines_of([ROOT, entry(b"f", b"SOUL.md", data=data)])
    head = replace(head_of(stored.repository(), "cold", blake3(manifest).digest(), 2), id=snapshot)
    tar = member(b"workspace/SOUL.md", data) + member(b"manifest.txt", manifest)
    tar += member(b"snapshot.json", canonical.dumps(head.as_json())) + bytes(1024)
    store = TwoFaced(str(stored.folder))
    store.forged = b"".join(age.seal([zstandard.compress(tar)], [stored.agent.cold.recipient]))
    keys = stored.agent.kit()
    with pytest.raises(IntegrityError):
        restore_cold(open_repository(store, keys), snapshot, tmp_path / "back", silent)
    assert not (tmp_path / "back").exists() and store.asked == 2


def test_the_wrong_key_opens_nothing_and_says_so(stored: Place, tmp_path: Path) -> None:
    stranger = replace(stored.agent.keys(), identities=[X25519Identity.generate()])
    repository = stored.repository(stranger)
    with pytest.raises(CannotUnlockError):
        open_snapshot(repository, stored.state().ids[0])
    with pytest.raises(CannotUnlockError):
        restore_cold(repository, stored.state().anchor.cold[0], tmp_path / "back", silent)
    assert not (tmp_path / "back").exists()
    result = stored.check(keys=stranger)
    assert result.notes and not result.problems, "what cannot be looked at is no damage, but is said"


def test_a_pack_that_nobody_here_opens_does_not_hide_what_is_lost(stored: Place) -> None:
    lost = max(stored.files("packs"), key=lambda path: path.stat().st_size)
    sealed = b"".join(age.seal([os.urandom(1000)], [X25519Identity.generate().recipient]))
    (stored.folder / f"packs/{hashlib.sha256(sealed).hexdigest()}.age").write_bytes(sealed)
    assert stored.check().problems == [] and not any("pack" in note for note in stored.check().notes)
    lost.unlink()
    assert any(problem.startswith("snapshot ") for problem in stored.check().problems), stored.check().problems


def test_the_host_that_writes_a_cold_archive_cannot_read_it_back(stored: Place) -> None:
    archive = stored.state().anchor.cold[0]
    with pytest.raises(CannotUnlockError, match=archive) as refused:
        read_archive(stored.repository(), archive, None, silent)
    assert "--kit" in refused.value.hint


def test_without_any_key_signatures_and_packs_are_still_checked(stored: Place) -> None:
    blind = replace(stored.agent.keys(), identities=[], signer=None, sealing={})
    result = stored.check(keys=blind)
    assert result.problems == [] and "no key" in result.notes[0]
    pack = stored.files("packs")[0]
    pack.write_bytes(pack.read_bytes()[:-1] + b"x")
    assert len(stored.check(keys=blind).problems) == 1
    with pytest.raises(UsageError, match="reading only"):
        back_up_hot(stored.repository(blind), stored.job())


def test_another_agents_repository_is_refused_by_name(stored: Place) -> None:
    stranger = Agent(scid="QmSomebodyElse")
    with pytest.raises(UsageError, match="belongs to another agent, `QmAgentOfTheseTests`"):
        stored.repository(stranger.keys())
    impostor = Agent(scid=stored.agent.scid)
    with pytest.raises(IntegrityError, match="forged or foreign"):
        stored.repository(impostor.keys())


@pytest.mark.parametrize("name", ["repository.json", repo.ANCHOR])
def test_a_newer_format_is_not_guessed_at(stored: Place, name: str) -> None:
    path = stored.folder / name
    body = canonical.loads(path.read_bytes(), 1 << 20)
    body = {key: value for key, value in body.items() if key not in {"key", "signature"}}
    kind = body["schema"].partition("/")[0]
    for version, error in (("2", UsageError), ("0", IntegrityError), ("x", IntegrityError)):
        body["schema"] = f"{kind}/{version}"
        path.write_bytes(statements.sign_statement(body, stored.agent.op_key))
        with pytest.raises(error, match="newer than" if version == "2" else "schema"):
            stored.state()


def test_a_place_that_holds_no_repository_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no repository at"):
        open_repository(FileStore.open(str(tmp_path / "nothing"), {}), Agent().keys())


def test_a_repository_is_never_made_over_another(stored: Place) -> None:
    before = tree_of(stored.folder)
    with pytest.raises(WouldOverwriteError):
        create_repository(stored.store(), Agent().keys(), clock.now_ns())
    assert tree_of(stored.folder) == before


@pytest.mark.parametrize("newest", ["hot", "cold"])
def test_an_older_copy_that_was_put_back_is_noticed(stored: Place, tmp_path: Path, newest: str) -> None:
    shutil.copytree(stored.folder, tmp_path / "older")
    write(stored.workspace / "SOUL.md", "newer\n")
    stored.back_up(newest)
    shutil.rmtree(stored.folder)
    shutil.copytree(tmp_path / "older", stored.folder)
    for action in (stored.state, stored.back_up, stored.prune):
        with pytest.raises(RollbackError, match="older than what this host saw"):
            action()
    result = stored.check()
    assert result.rolled_back and result.problems
    stored.pin = None  # the control: a host that remembers nothing notices nothing
    assert stored.check().problems == [] and stored.state().ids


def test_a_repository_with_cold_snapshots_only_is_no_rollback(place: Place) -> None:
    write(place.workspace / "a.md")
    place.back_up("cold")
    assert place.pin is not None and place.pin.head == ""
    assert place.state().anchor.cold and place.check().problems == []
    assert place.back_up().complete


def test_a_snapshot_that_another_host_forgot_is_no_rollback(stored: Place) -> None:
    write(stored.workspace / "SOUL.md", "newer\n")
    seen = stored.back_up()
    write(stored.workspace / "SOUL.md", "newest\n")
    stored.back_up()
    stored.prune(forget=[seen.snapshot])
    stored.pin = seen.pin
    assert len(stored.state().ids) == 2 and stored.check().problems == []


def test_a_listed_snapshot_that_is_gone_is_noticed_without_any_memory(stored: Place) -> None:
    first = stored.state().ids[0]
    write(stored.workspace / "SOUL.md", "newer\n")
    stored.back_up()
    (stored.folder / f"snapshots/{first}.age").unlink()
    stored.pin = None
    with pytest.raises(RollbackError, match=f"are gone, `{first}` first"):
        stored.state()
    assert any(f"`{first}` is listed and gone" in problem for problem in stored.check().problems)


def test_a_cold_snapshot_that_is_gone_is_named_by_the_check(stored: Place) -> None:
    cold = stored.state().anchor.cold[0]
    (stored.folder / f"cold/{cold}.sig").unlink()
    assert stored.check(0).problems == [f"snapshot `{cold}` is listed and gone"]


def test_a_lost_anchor_is_noticed_and_not_taken_for_an_empty_repository(stored: Place) -> None:
    (stored.folder / repo.ANCHOR).unlink()
    for action in (stored.state, stored.back_up):
        with pytest.raises(IntegrityError, match="lost its list of snapshots"):
            action()
    assert any("lost its list" in problem for problem in stored.check().problems)


def test_a_snapshot_whose_run_died_before_the_anchor_counts_once(stored: Place, tmp_path: Path) -> None:
    """The head's name is the commit. What comes next, a backup of either tier or a prune, must list it once."""
    for verb in (stored.back_up, lambda: stored.back_up("cold"), stored.prune):
        anchor = (stored.folder / repo.ANCHOR).read_bytes()
        before, pin = stored.state(), stored.pin
        write(stored.workspace / "SOUL.md", f"{len(before.ids)}\n")
        stored.back_up()
        (stored.folder / repo.ANCHOR).write_bytes(anchor)
        stored.pin = pin
        assert len(stored.state().ids) == len(before.ids) + 1
        verb()
        ids = stored.state().ids
        assert len(set(ids)) == len(ids) and set(before.ids) < set(ids)
        assert stored.check().problems == []
        for snapshot in ids:
            stored.restore(snapshot, tmp_path / f"{len(ids)}-{snapshot}")


def test_the_pin_says_what_is_missing() -> None:
    pin = Pin(5, "b")
    assert pin.missing(["a"], 4) and pin.missing([], 5)
    assert not pin.missing(["a", "b"], 5) and not pin.missing(["a", "c"], 6)
    assert not Pin(0, "").missing([], 0)


def test_nothing_of_a_restore_is_visible_before_all_of_it_is_verified(stored: Place, tmp_path: Path) -> None:
    """The last object is damaged, the first ones are good: the target does not appear, nor anything beside it."""
    for number in range(20):
        write(stored.workspace / f"{number}.md", f"{number}\n")
    snapshot = stored.back_up().snapshot
    _swap_content(stored, b"19\n", b"91\n")
    target = tmp_path / "there" / "back"
    with pytest.raises(IntegrityError):
        stored.restore(snapshot, target)
    assert list((tmp_path / "there").iterdir()) == []
    opened = open_snapshot(stored.repository(), snapshot)
    result = restore_to(opened, target, plan_restore(opened, opened.entries), salvage=True, progress=silent)
    assert "19.md" in result.damaged and not result.complete
    assert hashlib.sha256((target / "0.md").read_bytes()).hexdigest() == hashlib.sha256(b"0\n").hexdigest()
