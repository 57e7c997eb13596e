"""Goal: secrets and ledger go on at a new host whole or not at all, and the old host's key can say nothing after.

Method: an agent with secrets is recovered from what its escrow, epoch files and publication hold; a child is
killed before each call that touches the disk, and writes fail, while that is done. Control: files placed in
another order leave a host without a ledger.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_agents import failing_at, files_in, killed_at_every_step
from made_ledgers import Held, Shelf, more

from antsmem.core.errors import AntsmemError, CannotUnlockError, DiskError, IntegrityError, NotFoundError
from antsmem.core.record import replace
from antsmem.identity.anchor import Publication, Told, publication_to_bytes, sign_head
from antsmem.identity.custody import Access, Custody, open_custody, publication_of
from antsmem.identity.files import Placing
from antsmem.identity.gate import gate, newest_ledger
from antsmem.identity.ledger import seal_ledger
from antsmem.identity.log import parse_log
from antsmem.identity.recover import RecoveredIdentity, SavedIdentity, recover_identity
from antsmem.identity.secret_set import NewSecret, set_secrets
from antsmem.identity.secrets_escrow import open_secrets, seal_secrets


@pytest.fixture
def held(tmp_path: Path) -> Held:
    held = Held(tmp_path / "agent")
    held.set("token", b"value")
    held.set("session", b"once", "rotating")
    return held


def saved(held: Held) -> SavedIdentity:
    escrow = open_secrets(seal_secrets(held.open()), [held.kit], held.log)
    newest = newest_ledger(Told({"relay": held.publication()}), [held.kit], held.log, {"escrow": escrow.ledger})
    files = held.access.files
    epochs = {path.name: path.read_bytes() for path in files.epochs.iterdir()}
    return SavedIdentity(files.log.read_bytes(), epochs, None, gate(newest, escrow, (), held.now_ns))


def recover(held: Held, place: Path, what: SavedIdentity) -> RecoveredIdentity:
    return recover_identity(held.made.kit, what, "desktop", files_in(place), held.tick(), retire=["laptop"])


def access_at(place: Path, made: RecoveredIdentity) -> Access:
    return Access(files_in(place), place / "state/ledger-pin.json", made.host_key, made.log)


def test_secrets_and_ledger_go_on(held: Held, tmp_path: Path) -> None:
    made = recover(held, tmp_path / "new", saved(held))
    found = open_custody(access_at(tmp_path / "new", made))
    assert {(each.name, each.state, each.value) for each in found.keystore.secrets} == {
        ("token", "active", b"value"), ("session", "withheld", b""),
    }  # fmt: skip
    assert [row.op for row in found.ledger.rows] == ["set", "set", "recover"]
    assert found.ledger == made.ledger
    changed = set_secrets(access_at(tmp_path / "new", made), [NewSecret("session", b"new")], held.tick())
    assert changed.custody.ledger.seq == 4
    assert {(each.version, each.state) for each in changed.custody.keystore.secrets if each.name == "session"} == {
        (1, "withheld"), (2, "active"),
    }  # fmt: skip


def test_the_new_keys_escrow_holds_no_secret(held: Held, tmp_path: Path) -> None:
    from antsmem.identity.escrow import open_escrow

    made = recover(held, tmp_path / "new", saved(held))
    assert open_escrow(made.escrow, [held.kit], made.log).secrets == ()


def test_the_old_host_can_say_nothing_any_more(held: Held, tmp_path: Path) -> None:
    old_key = held.made.keystore.op_key
    made = recover(held, tmp_path / "new", saved(held))
    assert made.ledger is not None
    for ledger in (more(made.ledger, old_key, "set mine 1"), more(made.ledger, old_key, "set mine 1", now_ns=0)):
        data = publication_to_bytes(
            Publication(
                sign_head(ledger, "laptop", old_key), seal_ledger(ledger, old_key, [str(held.kit.recipient)])
            )
        )
        with pytest.raises(IntegrityError, match="revoked"):
            newest_ledger(Told({"relay": data}), [held.kit], made.log)


def test_an_anchor_takes_the_ledger_of_the_new_host(held: Held, tmp_path: Path) -> None:
    shelf = Shelf("shelf", held.publication())
    made = recover(held, tmp_path / "new", saved(held))
    data = publication_of(open_custody(access_at(tmp_path / "new", made)))
    assert data is not None
    shelf.publish(data)
    assert shelf.data == data


def whole(held: Held, place: Path) -> list[str]:
    """What is wrong with the host at `place`: it is one with everything, or it is none."""
    files = files_in(place)
    if not files.keystore.exists():
        return []
    from antsmem.core.age import parse_identity_file

    try:
        (host,) = parse_identity_file(files.host_key.read_text())
        log = parse_log(files.log.read_bytes())
        found = open_custody(Access(files, place / "state/pin.json", host, log))  # type: ignore[arg-type]
    except (AntsmemError, OSError) as error:
        return [str(error)]
    return _lacking(found)


def _lacking(found: Custody) -> list[str]:
    wrong = [] if [row.op for row in found.ledger.rows] == ["set", "set", "recover"] else ["the ledger"]
    values = {each.name: each.value for each in found.keystore.secrets}
    return wrong + ([] if values == {"token": b"value", "session": b""} else ["the secrets"])


def swept(held: Held, place: Path) -> tuple[int, list[str]]:
    what, wrong = saved(held), list[str]()

    def check() -> None:
        wrong.extend(whole(held, place))
        shutil.rmtree(place, ignore_errors=True)

    return killed_at_every_step(lambda: recover(held, place, what) and None, check), wrong


def test_a_kill_at_any_step_leaves_a_whole_host_or_none(held: Held, tmp_path: Path) -> None:
    kills, wrong = swept(held, tmp_path / "new")
    assert kills >= 40 and wrong == []


def test_control_a_keystore_that_is_placed_first_is_noticed(
    held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[tuple[Path, bytes]] = []
    put, track = Placing.replace, Placing.track

    def delayed(self: Placing, path: Path, data: bytes) -> None:
        late.append((path, data)) if path.name in {"ledger.age", "head.json"} else put(self, path, data)

    def then(self: Placing, path: Path, write: object) -> None:
        track(self, path, write)  # type: ignore[arg-type]
        for place, data in late if path.name == "keystore.age" else ():
            put(self, place, data)

    monkeypatch.setattr(Placing, "replace", delayed)
    monkeypatch.setattr(Placing, "track", then)
    _, wrong = swept(held, tmp_path / "new")
    assert wrong


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_full_disk_at_any_step_leaves_nothing(held: Held, tmp_path: Path, call: str) -> None:
    what, place = saved(held), tmp_path / "new"
    for at in range(1000):
        try:
            with failing_at(call, at, OSError(28, "No space left on device")):
                recover(held, place, what)
            break
        except DiskError:
            left = [path.name for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"]
            assert left == []
            shutil.rmtree(place, ignore_errors=True)
    assert at >= 5 and whole(held, place) == []


def test_a_host_that_was_recovered_cannot_be_opened_by_the_old_key(held: Held, tmp_path: Path) -> None:
    made = recover(held, tmp_path / "new", saved(held))
    access = replace(access_at(tmp_path / "new", made), host=held.made.host_key)
    with pytest.raises((CannotUnlockError, NotFoundError)):
        open_custody(access)
