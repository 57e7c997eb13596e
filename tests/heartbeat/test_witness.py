"""Goal: with a witness between them, of two hosts one starts work, whatever is cut off, put back or forged.

Method: hosts and workspaces are directories, the witness an object that may be silent, older, or say anything; the
clock is the test's. Without the gate the same story starts work on both (control).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from machines import Shelf
from made_journals import FRIDAY, add, places, state

from antsmem.core.errors import (
    BackendError,
    IntegrityError,
    RefusedError,
    RetiredError,
    RollbackError,
    UsageError,
)
from antsmem.heartbeat.epoch import Claim, Post
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.plan import Plan, Zone
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.takeover import doubts
from antsmem.heartbeat.witness import LEASE_SECONDS, Gate, StoreWitness, claim_and_wait
from antsmem.identity.signing import SigningKey

KEY = SigningKey(bytes([0x11]) * 32)
LEASE_NS = LEASE_SECONDS * 1_000_000_000
FILE = b"""- Look around
- Post it {id=post every=09:00}
- Launch {id=launch once}
- Later {id=later once at='2036-01-01 09:00'}
"""


class Machine:
    """A host with its copy of the workspace."""

    def __init__(self, root: Path, name: str, shelf: Shelf | None, now_ns: int = FRIDAY) -> None:
        self.root, self.name, self.shelf, self.now_ns = root, name, shelf, now_ns
        self.workspace = root / f"{name}-workspace"
        self.post = Post(root / name, self.workspace / "epoch.json", "kevin")
        self.claim = Claim("Qm", name, KEY, shelf)

    @property
    def journal(self) -> Journal:
        return Journal(places(self.workspace), self.post.born)

    @property
    def gate(self) -> Gate:
        return Gate(self.post, self.shelf, lambda: self.now_ns)

    def work(self, key: str = "k", kind: str = "hold") -> int:
        journal = self.journal
        epoch = self.gate.enter(journal, kind)  # type: ignore[arg-type]
        add(journal, state(key, "PLANNED"), now_ns=self.now_ns)
        self.post.saw(journal)
        return epoch

    def take(self) -> int:
        return self.post.take(self.journal, self.claim, self.now_ns).epoch

    def copied(self, name: str) -> Machine:
        made = Machine(self.root, name, self.shelf, self.now_ns)
        shutil.copytree(self.workspace, made.workspace)
        return made


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def laptop(tmp_path: Path, shelf: Shelf) -> Machine:
    """A host that works, and that the witness knows."""
    made = Machine(tmp_path, "laptop", shelf)
    assert made.take() == 1 and made.work("first") == 1
    return made


def test_who_is_not_known_to_the_witness_enters_first(tmp_path: Path, shelf: Shelf) -> None:
    made = Machine(tmp_path, "laptop", shelf)
    with pytest.raises(UsageError, match="no host"):
        made.work()
    assert made.take() == 1 and made.work() == 1


def test_the_old_host_stops_at_its_next_start(laptop: Machine) -> None:
    newbox = laptop.copied("newbox")
    assert laptop.work("a") == 1
    assert newbox.take() == 2
    for kind in ("hold", "pure"):
        with pytest.raises(RetiredError, match="as the witness says"):
            laptop.work("b", kind)
    assert newbox.work("b") == 2


def test_control_without_the_witness_both_go_on(laptop: Machine) -> None:
    newbox = laptop.copied("newbox")
    newbox.take()
    laptop.shelf = None
    assert laptop.work("b") == 1 and newbox.work("b") == 2


@pytest.mark.parametrize("silent", [BackendError("cut off"), RefusedError("wrong password")])
def test_cut_off_only_what_is_pure_goes_on_and_after_the_lease_nothing(
    laptop: Machine, shelf: Shelf, silent: Exception
) -> None:
    shelf.silent = silent
    for kind in ("hold", "verify", "idempotent", "retry"):
        with pytest.raises(BackendError, match="only `pure`"):
            laptop.work("b", kind)
    laptop.now_ns += LEASE_NS
    assert laptop.work("c", "pure") == 1
    laptop.now_ns += 1
    with pytest.raises(BackendError, match="lease is over"):
        laptop.work("d", "pure")
    laptop.now_ns = FRIDAY - 1
    with pytest.raises(BackendError, match="lease is over"):
        laptop.work("d", "pure")
    shelf.silent = None
    laptop.now_ns = FRIDAY + 2 * LEASE_NS
    assert laptop.work("d") == 1


def test_a_witness_that_forgets_or_says_anything_stops_work(laptop: Machine, shelf: Shelf) -> None:
    good = shelf.document
    for document, error in (
        (None, RollbackError), (b"{}", RollbackError), (b'{"epoch":1}', RetiredError),
        (b'{"epoch":9}', RetiredError), (b"\xff", IntegrityError),
    ):  # fmt: skip
        shelf.document = document
        with pytest.raises(error):
            laptop.work("b")
    shelf.document = good
    assert laptop.work("b") == 1


def test_a_host_that_took_over_in_the_same_epoch_elsewhere_is_noticed(tmp_path: Path, shelf: Shelf) -> None:
    laptop = Machine(tmp_path, "laptop", None)
    laptop.work("a")
    newbox = laptop.copied("newbox")
    newbox.shelf = laptop.shelf = shelf
    newbox.claim = Claim("Qm", "newbox", KEY, shelf)
    assert laptop.take() == newbox.take() == 1  # the laptop's witness was not configured yet
    with pytest.raises(RetiredError):
        laptop.work("b")
    assert newbox.work("b") == 1


def test_the_lease_is_waited_out_by_whom_the_witness_knows(laptop: Machine, shelf: Shelf) -> None:
    newbox = laptop.copied("newbox")
    for _ in range(2):
        assert claim_and_wait(newbox.post, newbox.journal, newbox.claim, newbox.now_ns) == FRIDAY + LEASE_NS
        newbox.now_ns += 1
    with pytest.raises(RetiredError):
        laptop.work("b")
    with pytest.raises(RetiredError):
        newbox.work("b")
    assert newbox.take() == 3 and newbox.work("b") == 3


def test_whoever_claims_later_waits_anew(laptop: Machine) -> None:
    newbox, third = laptop.copied("newbox"), laptop.copied("third")
    claim_and_wait(newbox.post, newbox.journal, newbox.claim, FRIDAY)
    third.now_ns += LEASE_NS
    third.claim = Claim("Qm", "newbox", KEY, third.shelf)  # a clone: the same name, the same key
    assert claim_and_wait(third.post, third.journal, third.claim, third.now_ns) == FRIDAY + 2 * LEASE_NS
    later = FRIDAY + LEASE_NS
    assert claim_and_wait(newbox.post, newbox.journal, newbox.claim, later) == FRIDAY + 2 * LEASE_NS


def test_a_kill_between_the_witness_and_the_workspace_can_be_repeated(laptop: Machine) -> None:
    newbox = laptop.copied("newbox")
    newbox.post.claim(newbox.journal, newbox.claim, newbox.now_ns)
    assert newbox.take() == 3 and newbox.work("b") == 3


class Lax:
    """A store that looks first and writes then."""

    class capabilities:  # noqa: N801
        conditional = False


def test_a_store_that_cannot_compare_and_swap_is_no_witness() -> None:
    witness = StoreWitness(Lax, "kevin")  # type: ignore[arg-type]
    for act in (witness.read, lambda: witness.swap(b"", None)):
        with pytest.raises(UsageError, match="no witness"):
            act()


def plan() -> Plan:
    return read_plan(FILE, Zone("UTC", "host"))


def test_after_a_take_over_nothing_starts_that_the_host_before_may_have_done(laptop: Machine) -> None:
    add(laptop.journal, state("post@2026-11-19T09:00:00Z", "DONE", task="post", slot="2026-11-19T09:00:00Z"))
    newbox = laptop.copied("newbox")
    unsure = tuple(doubts(plan(), newbox.journal, FRIDAY))
    newbox.post.take(newbox.journal, newbox.claim, FRIDAY, unsure)
    journal = newbox.journal
    assert journal.mark("post").slot == journal.mark("heartbeat").slot == "2026-11-20T15:24:31Z"
    assert journal.open["launch@#once"] == "UNKNOWN"
    assert journal.last("later@#once") is None, "its time has not come"


def test_a_clean_move_leaves_no_doubt(laptop: Machine) -> None:
    laptop.post.retire(laptop.journal, FRIDAY)
    with pytest.raises(RetiredError):
        laptop.work("b")
    newbox = laptop.copied("newbox")
    assert newbox.journal.retired and newbox.post.alone(newbox.journal, newbox.shelf)
    assert newbox.take() == 2 and not newbox.journal.retired and newbox.work("b") == 2
    add(laptop.journal, state("late", "DONE"))
    assert not laptop.journal.retired, "something ended after the host had retired"


def test_a_host_that_the_witness_fenced_off_is_not_alone_though_its_files_say_so(laptop: Machine) -> None:
    newbox = laptop.copied("newbox")
    newbox.take()
    assert laptop.post.standing(laptop.journal) == ("active", 1), "nothing in its files tells"
    assert not laptop.post.alone(laptop.journal, laptop.shelf)
    assert laptop.post.alone(laptop.journal, None), "control: without the witness it does not know"
    assert laptop.take() == 3 and laptop.journal.doubt
    assert laptop.journal.hides("first") == "take-over", "newbox may have done it"


def test_a_host_that_takes_over_from_itself_leaves_no_doubt(laptop: Machine) -> None:
    assert laptop.take() == 2
    assert not laptop.journal.doubt and not laptop.journal.hides("first")


def test_a_host_that_retired_does_not_know_what_the_next_one_did(laptop: Machine) -> None:
    laptop.post.retire(laptop.journal, FRIDAY)
    newbox = laptop.copied("newbox")
    for shelf in (laptop.shelf, None):
        assert not laptop.post.alone(laptop.journal, shelf)
    newbox.take()
    newbox.work("b")
    newbox.post.retire(newbox.journal, FRIDAY)
    shutil.rmtree(laptop.workspace)
    shutil.copytree(newbox.workspace, laptop.workspace)
    assert laptop.post.alone(laptop.journal, laptop.shelf), "back again, with the word of newbox"


def test_an_old_word_of_retirement_hides_nothing_that_this_host_did_since(laptop: Machine) -> None:
    laptop.post.retire(laptop.journal, FRIDAY)
    backup = laptop.copied("backup")
    laptop.take()
    laptop.work("later")
    shutil.rmtree(laptop.workspace)
    shutil.copytree(backup.workspace, laptop.workspace)
    assert laptop.post.standing(laptop.journal)[0] == "older" and laptop.journal.retired
    assert not laptop.post.alone(laptop.journal, None)
