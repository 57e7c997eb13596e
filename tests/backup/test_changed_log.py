"""Goal: whoever is lost while a changed identity log goes into a repository leaves one that a kit restores from.

Method: the old host's key is revoked by a new log, and its successor is killed before each write to the store, for
good. Then what was laid there for that case is damaged, forged, too old or away: refused, as without it (control).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_backups import Place, tree_of, write

from antsmem.backup import repository as repo
from antsmem.backup.publish import publish_keys
from antsmem.backup.repository import Keyring
from antsmem.core.errors import IntegrityError, RefusedError
from antsmem.core.record import replace
from antsmem.drivers.file import FileStore

NEW_LOG = b"{}\n{}\n"


class LostError(Exception):
    """The host is gone."""


@pytest.fixture
def stored(place: Place) -> Place:
    write(place.workspace / "SOUL.md", "honest\n")
    place.back_up()
    place.back_up("cold")
    return place


def successor(place: Place) -> Keyring:
    """A new key of the agent's, named by a new log that revokes the old one."""
    place.agent.take_over()
    keys = place.agent.keys()
    return replace(keys, carried={**keys.carried, "identity.jsonl": NEW_LOG})


def lost_before(monkeypatch: pytest.MonkeyPatch, verb: str, name: str, publish: Callable[[], object]) -> None:
    real: Any = getattr(FileStore, verb)

    def killed(store: FileStore, path: str, *rest: object, **more: object) -> object:
        if path == name:
            raise LostError
        return real(store, path, *rest, **more)

    with monkeypatch.context() as patch, pytest.raises(LostError):
        patch.setattr(FileStore, verb, killed)
        publish()


def restored(place: Place, to: Path) -> Any:
    """What the kit restores of the newest hot snapshot, on a machine that never saw the repository."""
    place.pin = None
    snapshot = repo.read_state(place.repository(place.agent.kit()), None).ids[-1]
    place.restore(snapshot, to, keys=place.agent.kit())
    return tree_of(to)


def half_changed(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log is there, and the list of snapshots is the one that the revoked key signed; where the other lies."""
    keys = successor(place)
    lost_before(monkeypatch, "swap", repo.ANCHOR, lambda: publish_keys(place.repository(keys)))
    assert (place.folder / repo.IDENTITY_LOG).read_bytes() == NEW_LOG
    return place.folder / repo.NEXT


def test_a_host_lost_between_log_and_list_leaves_what_a_kit_restores(
    stored: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_changed(stored, monkeypatch)
    assert restored(stored, tmp_path / "back") == tree_of(stored.workspace)
    assert stored.check(keys=stored.agent.kit()).problems == []


def test_a_host_that_comes_back_finishes_it_and_takes_away_what_it_laid_there(
    stored: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = half_changed(stored, monkeypatch)
    keys = replace(stored.agent.keys(), carried={**stored.agent.keys().carried, "identity.jsonl": NEW_LOG})
    publish_keys(stored.repository(keys))
    assert not beside.exists()
    assert restored(stored, tmp_path / "back") == tree_of(stored.workspace)


def test_a_log_that_stays_the_same_needs_no_second_list(stored: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    lost_before(monkeypatch, "swap", repo.ANCHOR, lambda: publish_keys(stored.repository()))
    assert not (stored.folder / repo.NEXT).exists()


def test_a_store_that_only_appends_keeps_it_and_it_counts_no_more(
    stored: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_store: FileStore, name: str) -> None:
        if name == repo.NEXT:
            raise RefusedError("append only")

    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "delete", refuse)
        publish_keys(stored.repository(successor(stored)))
    assert (stored.folder / repo.NEXT).exists()
    write(stored.workspace / "later.md", "later\n")
    stored.pin = None
    stored.back_up()
    assert restored(stored, tmp_path / "back") == tree_of(stored.workspace)
    stored.agent.take_over()  # a log that came some other way: the list there is too old to count
    with pytest.raises(IntegrityError, match="forged or foreign"):
        restored(stored, tmp_path / "again")


@pytest.mark.parametrize("how", ["away", "damaged", "of a thief", "of a revoked key", "of another repository"])
def test_control_without_that_list_the_kit_is_refused(
    stored: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    beside = half_changed(stored, monkeypatch)
    good = beside.read_bytes()
    match how:
        case "away":
            beside.unlink()
        case "damaged":
            beside.write_bytes(good.replace(b'"head":"2', b'"head":"3'))
        case "of a revoked key":
            beside.write_bytes((stored.folder / repo.ANCHOR).read_bytes())
        case "of another repository":
            other = Place(tmp_path / "other", stored.agent)
            beside.write_bytes((other.folder / repo.ANCHOR).read_bytes())
        case _:
            thief = replace(stored.repository(), keys=stored.agent.thief())
            anchor = repo.read_state(thief, None).anchor
            beside.write_bytes(repo.sign_anchor(thief, anchor))
    with pytest.raises(IntegrityError):
        restored(stored, tmp_path / "back")


def test_a_damaged_list_is_not_replaced_by_it(
    stored: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_changed(stored, monkeypatch)
    path = stored.folder / repo.ANCHOR
    path.write_bytes(path.read_bytes().replace(b'"head":"2', b'"head":"3'))
    with pytest.raises(IntegrityError):
        restored(stored, tmp_path / "back")
