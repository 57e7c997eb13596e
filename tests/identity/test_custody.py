"""Goal: a change of a secret is in keystore and ledger, or in neither, whatever happens while it is made.

Method: a child is killed before each call that touches the disk, and each write fails with a full disk, while a
secret is set, rotated, revoked and destroyed; what is opened afterwards is the old state or the new one, and the
files are completed. Old copies of each file are put back. Controls: a keystore that does not remember the rows,
and a host without a pin, must be caught by the same tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_agents import killed_at_every_step
from made_ledgers import Held

from antsmem.core import record
from antsmem.core.errors import (
    AntsmemError,
    ConflictError,
    DiskError,
    IntegrityError,
    LockedError,
    RollbackError,
)
from antsmem.core.record import replace
from antsmem.identity import custody as custody_module
from antsmem.identity.amend import amend_identity
from antsmem.identity.anchor import PinFile, publication_from_bytes
from antsmem.identity.custody import open_custody
from antsmem.identity.handle import with_relays
from antsmem.identity.ledger import open_ledger
from antsmem.identity.secret_revoke import destroy_secret, revoke_secret
from antsmem.identity.secret_rotate import activate_secret, rotate_secret
from antsmem.identity.secret_set import NewSecret, set_secrets

Act = Callable[[Held], object]

ACTS: dict[str, Act] = {
    "set": lambda held: held.set("new", b"new value"),
    "import": lambda held: set_secrets(
        held.access, [NewSecret("new", b"1"), NewSecret("old", b"2")], held.tick(), replacing=True
    ),
    "rotate": lambda held: rotate_secret(held.access, "old", b"second", held.tick()),
    "rotate in two steps": lambda held: rotate_secret(held.access, "old", b"second", held.tick(), pending=True),
    "activate": lambda held: activate_secret(held.access, "waiting", held.tick()),
    "revoke": lambda held: revoke_secret(held.access, "old", held.tick()),
    "destroy": lambda held: destroy_secret(held.access, "old", held.tick()),
}


@pytest.fixture
def held(tmp_path: Path) -> Held:
    """An agent with three secrets and an old one in each state."""
    held = Held(tmp_path / "agent")
    held.set("old", b"first")
    held.set("waiting", b"first")
    rotate_secret(held.access, "waiting", b"next", held.tick(), pending=True)
    return held


def put_back(held: Held, saved: Path) -> None:
    for name in ("workspace", "state"):
        shutil.rmtree(held.place / name, ignore_errors=True)
        shutil.copytree(saved / name, held.place / name)


def outcome(held: Held) -> tuple[object, ...]:
    """What counts: the secrets, and what the ledger says of them."""
    found = held.open()
    secrets = sorted((each.name, each.version, each.state, each.value) for each in found.keystore.secrets)
    return (tuple(secrets), tuple((key, each.state) for key, each in found.ledger.standings().items()))


def incomplete(held: Held) -> list[str]:
    """Which of the files do not agree after they were opened."""
    found, files = held.open(), held.access.files
    ledger = open_ledger(files.ledger.read_bytes(), [held.made.host_key], held.log)
    wrong = [] if ledger == found.ledger else ["the ledger"]
    pin = PinFile(held.access.pin).fetch()
    for name, data in (("pin", pin), ("publication", held.publication())):
        head = publication_from_bytes(data or b"").head
        wrong += [] if (head.seq, head.hash) == (ledger.seq, ledger.hash) else [name]
    return wrong


def contradictions(held: Held) -> list[str]:
    """Where keystore and ledger say different things of a secret."""
    found = held.open()
    standing = found.ledger.standings()
    return [str(each) for each in found.keystore.secrets if standing[each.name, each.version].state != each.state]


def swept(held: Held, act: Act) -> tuple[int, list[str]]:
    """Kill `act` at every step: how many kills there were, and what was wrong after them."""
    saved = held.place.with_name("saved")
    shutil.copytree(held.place, saved)
    old, now_ns = outcome(held), held.now_ns
    act(held)
    new = outcome(held)
    put_back(held, saved)
    wrong: list[str] = []

    def check() -> None:
        try:
            if outcome(held) not in (old, new):
                wrong.append("neither old nor new")
            wrong.extend(contradictions(held))
            wrong.extend(incomplete(held))
        except AntsmemError as error:
            wrong.append(str(error))
        held.now_ns = now_ns
        put_back(held, saved)

    held.now_ns = now_ns
    return killed_at_every_step(lambda: act(held) and None, check), wrong


@pytest.mark.parametrize("name", ACTS)
def test_a_kill_at_any_step_leaves_the_old_state_or_the_new_one(held: Held, name: str) -> None:
    kills, wrong = swept(held, ACTS[name])
    assert kills >= 20
    assert wrong == []


def test_control_a_keystore_that_forgets_the_rows_is_noticed(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(made: object, **changes: object) -> object:
        changes.pop("ledger", None)
        return record.replace(made, **changes)

    monkeypatch.setattr(custody_module, "replace", forgetful)
    _, wrong = swept(held, ACTS["revoke"])
    assert wrong


def failing(monkeypatch: pytest.MonkeyPatch, name: str, at: int) -> list[int]:
    """Let the call `name` of os fail from its `at`-th time on; how often it was made."""
    real, made = getattr(os, name), [0]

    def full(*arguments: object, **options: object) -> object:
        made[0] += 1
        if made[0] > at:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, full)
    return made


@pytest.mark.parametrize("name", ["set", "rotate", "revoke", "destroy"])
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_full_disk_at_any_step_leaves_the_old_state_or_the_new_one(
    held: Held, name: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = held.place.with_name("saved")
    shutil.copytree(held.place, saved)
    old, now_ns = outcome(held), held.now_ns
    ACTS[name](held)
    new = outcome(held)
    told = set()
    for at in range(1000):
        held.now_ns = now_ns
        put_back(held, saved)
        made = failing(monkeypatch, call, at)
        try:
            done = ACTS[name](held)
            told.add("done")
        except DiskError:
            done = None
            told.add("refused")
        monkeypatch.undo()
        # A directory that cannot be made durable fails after the rename: told as a failure, which it may be.
        allowed = (new,) if done else (old, new) if call == "fsync" else (old,)
        assert outcome(held) in allowed, f"{call} {at}"
        assert contradictions(held) == [] and incomplete(held) == []
        if made[0] <= at:
            break
    assert told == {"done", "refused"} and at >= 3


def test_what_could_not_be_written_after_the_change_is_told(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "rename", 1)
    custody = held.set("new")
    assert "no space left" in custody.pending
    monkeypatch.undo()
    assert held.open().pending == "" and held.states()["new", 1] == "active"
    assert incomplete(held) == []


def test_a_change_waits_until_the_one_before_is_complete(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, "rename", 1)
    held.set("new")
    with pytest.raises(DiskError, match="before could not be completed"):
        held.set("newer")
    monkeypatch.undo()
    held.set("newer")
    assert [row.body["name"] for row in held.open().ledger.rows[-2:]] == ["new", "newer"]


WRITER = """
import sys
from pathlib import Path
from antsmem.core.age import parse_identity_file
from antsmem.core.errors import LockedError
from antsmem.identity.custody import Access
from antsmem.identity.files import IdentityFiles
from antsmem.identity.log import parse_log
from antsmem.identity.secret_set import NewSecret, set_secrets

place, name = Path(sys.argv[1]), sys.argv[2]
workspace = place / "workspace"
keystore = workspace / ".antsmem/keystore"
files = IdentityFiles(workspace / ".antsmem/identity/did.jsonl", keystore / "keystore.age", keystore / "epochs",
                      place / "config/host.key")
host = parse_identity_file(files.host_key.read_text())[0]
access = Access(files, place / "state/ledger-pin.json", host, parse_log(files.log.read_bytes()))
sys.stdin.read(1)
while True:
    try:
        custody = set_secrets(access, [NewSecret(name, name.encode())], 0).custody
    except LockedError:
        continue
    print(custody.ledger.seq)
    break
"""


def test_of_twenty_processes_one_wins_each_row_and_nothing_is_lost(held: Held) -> None:
    before = held.open().ledger.seq
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, held.place, f"writer-{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(20)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.close()
    rows = []
    for writer in writers:
        assert writer.stdout is not None
        with writer.stdout:
            rows.append(int(writer.stdout.read()))
        assert writer.wait() == 0
    assert sorted(rows) == list(range(before + 1, before + 21))
    found = held.open()
    names = {each.name: each.value for each in found.keystore.secrets}
    assert all(names[f"writer-{number}"] == f"writer-{number}".encode() for number in range(20))
    assert {row.body["name"] for row in found.ledger.rows[before:]} == {f"writer-{n}" for n in range(20)}
    assert contradictions(held) == [] and incomplete(held) == []


def test_somebody_else_who_is_writing_is_waited_for_by_the_caller(held: Held) -> None:
    with custody_module._lock(held.access):
        with pytest.raises(LockedError):
            held.set("new")
        assert held.open().ledger.seq == 3


def test_an_identity_that_another_process_changed_is_no_rollback(held: Held) -> None:
    files, made, before = held.access.files, held.made, held.log.text
    wanted = with_relays(held.log.document, ["https://relay.example"])
    place = (replace(files, escrow=held.place / "escrow"), held.tick())
    amend_identity(held.log, wanted, made.kit, held.open().keystore, made.host_key, place)
    with pytest.raises(ConflictError, match="changed by another process"):
        held.set("new")
    files.log.write_bytes(before)
    with pytest.raises(RollbackError):
        held.set("new")


@pytest.fixture
def older(held: Held) -> tuple[Held, Path]:
    """An agent whose secret `old` is revoked, and a copy of its files from before."""
    saved = held.place.with_name("saved")
    shutil.copytree(held.place, saved)
    revoke_secret(held.access, "old", held.tick())
    held.set("later")
    return held, saved


def from_before(held: Held, saved: Path, *names: str) -> None:
    for name in names:
        path = held.place / "state" / name if "pin" in name else held.access.files.keystore.with_name(name)
        shutil.copyfile(saved / path.relative_to(held.place), path)


def test_an_old_ledger_put_back_is_a_rollback(older: tuple[Held, Path]) -> None:
    held, saved = older
    from_before(held, saved, "ledger.age", "head.json")
    with pytest.raises(RollbackError, match="older than the keystore"):
        held.open()
    with pytest.raises(RollbackError):
        held.set("another")


def test_an_old_keystore_put_back_does_not_bring_a_revoked_secret_back(older: tuple[Held, Path]) -> None:
    held, saved = older
    from_before(held, saved, "keystore.age")
    assert held.states()["old", 1] == "revoked"
    (secret,) = [each for each in held.open().keystore.secrets if each.name == "old"]
    assert secret.value == b""
    held.set("another")
    assert held.states()["old", 1] == "revoked"


def test_a_version_without_a_row_ends_with_the_one_before_it(held: Held) -> None:
    held.set("session", b"1", "rotating")
    rotate_secret(held.access, "session", b"2", held.tick())
    saved = held.place.with_name("saved")
    shutil.copytree(held.place, saved)
    revoke_secret(held.access, "session", held.tick())
    from_before(held, saved, "keystore.age")
    assert held.states()["session", 2] == "revoked"


def test_after_an_old_keystore_the_next_change_goes_on_from_the_ledger(older: tuple[Held, Path]) -> None:
    held, saved = older
    from_before(held, saved, "keystore.age")
    held.set("another")
    assert (incomplete(held), held.states()["old", 1]) == ([], "revoked")
    assert [row.seq for row in held.open().ledger.rows] == [1, 2, 3, 4, 5, 6]


def test_a_place_that_cannot_be_written_can_be_read(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    held.access.files.head.unlink()
    failing(monkeypatch, "write", 0)
    assert "no space left" in held.open().pending
    assert held.states()["old", 1] == "active"


def test_an_old_keystore_and_ledger_put_back_are_noticed_by_the_pin(older: tuple[Held, Path]) -> None:
    held, saved = older
    from_before(held, saved, "keystore.age", "ledger.age", "head.json")
    with pytest.raises(RollbackError, match="has seen row 5"):
        held.open()


def test_control_without_the_pin_the_revoked_secret_is_back(older: tuple[Held, Path]) -> None:
    held, saved = older
    from_before(held, saved, "keystore.age", "ledger.age", "head.json")
    held.access.pin.unlink()
    assert held.states()["old", 1] == "active"


def test_two_histories_are_told_apart(held: Held) -> None:
    saved = held.place.with_name("saved")
    shutil.copytree(held.place, saved)
    held.set("one")
    other = held.place.with_name("other")
    shutil.copytree(held.place, other)
    put_back(held, saved)
    held.set("two")
    for name in ("ledger.age", "head.json"):
        path = held.access.files.keystore.with_name(name)
        shutil.copyfile(other / path.relative_to(held.place), path)
    with pytest.raises(RollbackError, match="two histories"):
        held.open()


@pytest.mark.parametrize("name", ["ledger.age", "ledger-pin.json"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"{}", b"\xff\xfe"])
def test_a_damaged_file_is_named(held: Held, name: str, content: bytes) -> None:
    path = held.access.pin if "pin" in name else held.access.files.ledger
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=path.name):
        held.open()


def test_a_damaged_head_is_made_again(held: Held) -> None:
    good = held.access.files.head.read_bytes()
    for bad in (b"", b"nonsense", good.replace(b'"seq":3', b'"seq":9')):
        held.access.files.head.write_bytes(bad)
        held.open()
        assert held.access.files.head.read_bytes() == good


def test_an_agent_without_a_ledger_has_an_empty_one(tmp_path: Path) -> None:
    held = Held(tmp_path)
    assert (held.open().ledger.rows, held.open().pending) == ((), "")
    assert not held.access.files.ledger.exists() and not held.access.pin.exists()


def test_no_file_shows_a_value_or_a_name(held: Held) -> None:
    held.set("speaking-name", b"canary-value")
    everything = b"".join(path.read_bytes() for path in held.place.rglob("*") if path.is_file())
    assert b"canary-value" not in everything and b"speaking-name" not in everything
    assert "canary" not in repr(open_custody(held.access)) + repr(NewSecret("a", b"canary"))


def test_the_files_are_private(held: Held) -> None:
    for path in (held.access.files.ledger, held.access.files.head, held.access.pin):
        assert path.stat().st_mode & 0o777 == 0o600
