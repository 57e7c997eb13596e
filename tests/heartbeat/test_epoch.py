"""Goal: of two hosts with a copy of the same files only one starts work.

Method: directories stand for hosts and workspaces; they are copied, rolled back, taken over, retired. A witness is
an object that replaces its document by compare and swap.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from machines import Shelf
from made_journals import FRIDAY, add, places, state

from antsmem.core.errors import ConflictError, IntegrityError, RetiredError
from antsmem.heartbeat.epoch import Claim, Duty, Post, read_duty, sign_duty
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.witness import Gate
from antsmem.identity.signing import SigningKey

KEY = SigningKey(bytes([0x11]) * 32)


class Copy:
    """One host's view of a workspace."""

    def __init__(self, root: Path, host: str, workspace: str) -> None:
        self.root, self.host = root, host
        self.workspace = root / workspace
        self.post = Post(root / host, self.workspace / "epoch.json", "kevin")

    @property
    def journal(self) -> Journal:
        return Journal(places(self.workspace), self.post.born)

    def work(self, key: str = "k") -> int:
        journal = self.journal
        epoch = self.post.require_active(journal)
        add(journal, state(key, "PLANNED"))
        self.post.saw(journal)
        return epoch

    def refused(self) -> str:
        with pytest.raises(RetiredError):
            self.work()
        return self.post.standing(self.journal)[0]

    def take(self, witness: Shelf | None = None) -> Duty:
        return self.post.take(self.journal, Claim("Qm", self.host, KEY, witness), FRIDAY)

    def copied(self, workspace: str, host: str = "") -> Copy:
        shutil.copytree(self.workspace, self.root / workspace)
        return Copy(self.root, host or self.host, workspace)


@pytest.fixture
def first(tmp_path: Path) -> Copy:
    copy = Copy(tmp_path, "laptop", "agent")
    assert copy.work() == 0
    return copy


def test_a_copy_on_another_host_starts_nothing_until_it_takes_over(first: Copy) -> None:
    other = first.copied("restored", "newbox")
    assert other.refused() == "copy"
    assert first.work() == 0, "the first one goes on"
    assert other.take().epoch == 1
    assert other.work() == 1


def test_who_sees_a_larger_epoch_is_fenced_off(first: Copy) -> None:
    other = first.copied("restored", "newbox")
    other.take()
    shutil.copy(other.post.statement, first.post.statement)
    assert first.refused() == "fenced"
    assert first.take().epoch == 2
    assert first.work() == 2


def test_an_older_state_put_back_on_the_same_host_starts_nothing(first: Copy) -> None:
    older = first.copied("older")
    first.work("later")
    assert older.refused() == "older"
    assert older.take().epoch == 1
    assert older.work() == 1 and first.refused() == "older"


def test_a_host_that_retired_starts_nothing(first: Copy) -> None:
    first.post.retire(first.journal, FRIDAY)
    assert first.refused() == "retired" and first.journal.retired
    assert first.take().epoch == 1 and first.work() == 1


def test_what_was_open_is_unknown_after_a_take_over(first: Copy) -> None:
    other = first.copied("restored", "newbox")
    other.take()
    assert other.journal.hides("k") and not other.journal.hides("new")


def test_lost_memory_or_a_lost_journal_is_a_copy(first: Copy) -> None:
    first.take()
    shutil.rmtree(first.root / "laptop")
    assert first.refused() == "copy"
    shutil.rmtree(first.workspace / "journal")
    assert first.refused() == "copy"


def test_a_journal_that_is_gone_is_not_a_new_one(first: Copy) -> None:
    shutil.rmtree(first.workspace / "journal")
    assert first.refused() == "older"
    assert first.take().epoch == 1 and first.work() == 1


def test_of_two_that_take_over_at_once_the_witness_lets_one(first: Copy) -> None:
    shelf = Shelf()
    one, two = first.copied("one", "a"), first.copied("two", "b")
    read = shelf.read()
    assert one.take(shelf).epoch == 1
    shelf.read = lambda: read  # type: ignore[method-assign]
    with pytest.raises(ConflictError):
        two.take(shelf)
    assert two.refused() == "copy"
    del shelf.read
    assert two.take(shelf).epoch == 2
    with pytest.raises(RetiredError):
        Gate(one.post, shelf, lambda: FRIDAY).enter(one.journal, "hold")
    assert Gate(two.post, shelf, lambda: FRIDAY).enter(two.journal, "hold") == 2


def test_a_statement_that_somebody_else_signed_is_not_believed() -> None:
    signed = sign_duty(Duty("Qm", 3, "laptop", "2026-11-20T15:23:31.000Z"), KEY)
    assert read_duty(signed, [KEY.public]).epoch == 3
    with pytest.raises(IntegrityError):
        read_duty(signed, [SigningKey(bytes(32)).public])
    with pytest.raises(IntegrityError):
        read_duty(signed.replace(b'"epoch":3', b'"epoch":4'), [KEY.public])


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"epoch":-1}', b'{"epoch":99999}', b"\xff"])
def test_a_broken_statement_stops_and_a_take_over_mends_it(first: Copy, text: bytes) -> None:
    first.post.statement.write_bytes(text)
    with pytest.raises(IntegrityError):
        first.work()
    first.take()
    assert first.work() == 1
