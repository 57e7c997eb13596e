"""Goal: every kind of store keeps the newest ledger, and never takes an older or another one in its place.

Method: publications of a real ledger are given to each driver's real server, in order, out of order, at once from
several threads, and by hosts that part ways.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from places import Place
from racing import together

from antsmem.backup.ledger_anchor import LEDGER, RepositoryAnchor
from antsmem.core.errors import BackendError, ConflictError, IntegrityError, NotFoundError, RollbackError
from antsmem.core.record import replace
from antsmem.identity.anchor import Publication, ask, publication_from_bytes, publication_to_bytes, sign_head
from antsmem.identity.ledger import Ledger, extended, secret_row
from antsmem.identity.signing import SigningKey

KEY = SigningKey(bytes(range(32)))


def ledger(count: int, name: str = "token") -> Ledger:
    rows = [secret_row("set", f"{name}-{number}", 1, "static") for number in range(count)]
    return extended(Ledger("QmAgent", bytes(32)), rows, KEY, 1_795_188_211_000_000_000)


def publication(count: int, name: str = "token") -> bytes:
    made = ledger(count, name)
    return publication_to_bytes(Publication(sign_head(made, "laptop", KEY), b"sealed %d" % count))


def seq(anchor: RepositoryAnchor) -> int:
    data = anchor.fetch()
    assert data is not None
    return publication_from_bytes(data).head.seq


@pytest.fixture
def anchor(place: Place) -> RepositoryAnchor:
    store = place.open()
    return RepositoryAnchor("store", lambda: store)


def test_an_anchor_keeps_the_newest(anchor: RepositoryAnchor) -> None:
    assert anchor.fetch() is None
    for count in (1, 2, 5):
        anchor.publish(publication(count))
        assert anchor.fetch() == publication(count)
    anchor.publish(publication(5))


def test_an_older_or_another_ledger_is_refused(anchor: RepositoryAnchor) -> None:
    anchor.publish(publication(3))
    for data in (publication(2), publication(3, "other"), publication(1)):
        with pytest.raises(RollbackError, match="`store`"):
            anchor.publish(data)
    assert anchor.fetch() == publication(3)


def test_what_is_no_publication_is_not_replaced_in_silence(place: Place) -> None:
    store = place.open()
    store.put(LEDGER, [b"something else"])
    with pytest.raises(IntegrityError, match="`store`"):
        RepositoryAnchor("store", lambda: store).publish(publication(1))
    assert store.get(LEDGER) == b"something else"


def test_of_many_at_once_the_newest_stays(place: Place) -> None:
    """Where the store does not decide by itself, who lost publishes again with the next backup."""
    first = place.open()
    stores = [place.open() for _ in range(4)]
    anchors = [RepositoryAnchor("store", partial(stores.__getitem__, at)) for at in range(4)]
    anchors[0].publish(publication(1))

    def run(anchor: RepositoryAnchor, counts: range) -> None:
        for count in counts:
            try:
                anchor.publish(publication(count))
            except (RollbackError, ConflictError):
                continue

    together([partial(run, anchor, range(2 + at, 18, 4)) for at, anchor in enumerate(anchors)])
    if first.capabilities.conditional:
        highest = max(seq(anchor) for anchor in anchors)
        with pytest.raises(RollbackError):
            anchors[0].publish(publication(highest - 1))
    anchors[0].publish(publication(20))
    assert {seq(anchor) for anchor in anchors} == {20}


def test_a_place_that_is_gone_is_told(remote: Place) -> None:
    assert remote.server is not None
    with pytest.raises(BackendError):
        RepositoryAnchor("store", lambda: remote.open(port=1, made=False, timeout_seconds="2")).publish(
            publication(1)
        )


def test_a_folder_that_is_not_there_is_no_anchor(tmp_path: Path) -> None:
    from antsmem.drivers.file import FileStore

    gone = RepositoryAnchor("gone", lambda: FileStore.open(str(tmp_path / "gone"), {}))
    assert ask([gone]).answers == {"gone": None}
    with pytest.raises(NotFoundError):
        gone.publish(publication(1))
    assert not (tmp_path / "gone").exists()


def test_a_pin_alone_is_told_from_a_ledger() -> None:
    bare = publication_to_bytes(replace(publication_from_bytes(publication(2)), sealed=b""))
    assert publication_from_bytes(bare).sealed == b""
