"""Goal: the table of lost and stolen keys (docs/explanation/key-loss.md) is true, row by row.

Method: each loss is brought about, then the real commands are run: what the thief can do before the owner acts
(the control), what the thief can do after, and how the owner gets back.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_homes import KIT, Home, Ran

from antsmem.backup import repository as repo
from antsmem.backup.hot import Job, back_up_hot
from antsmem.cli.context import Context, Options
from antsmem.cli.keys import host_keyring
from antsmem.core.age import X25519Identity
from antsmem.core.clock import now_ns
from antsmem.core.config import RepositoryConfig
from antsmem.core.errors import UsageError
from antsmem.core.record import replace
from antsmem.identity.document import with_op_keys
from antsmem.identity.escrow import open_escrow
from antsmem.identity.extend import commit, extend_log
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.multikey import key_hash
from antsmem.identity.recovery import RecoveryKit
from antsmem.identity.signing import SigningKey
from antsmem.workspace.classes import Classifier


@pytest.fixture
def keys(home: Home) -> list[Path]:
    """Three guardians, of whom two are needed; the agent has a hot and a cold snapshot."""
    made = []
    recipients = []
    for number in range(3):
        key = X25519Identity.generate()
        made.append(home.root / f"guardian{number}.txt")
        made[-1].write_text(f"{key.secret()}\n")
        recipients.append(str(key.recipient))
    home.must("recovery", "add-guardian", *recipients, "--threshold", "2", "--kit", kit(home))
    home.must("backup")
    home.must("backup", "--tier", "cold")
    return made


def kit(home: Home) -> str:
    return str(home.root / KIT)


def host_name(home: Home) -> str:
    return str(the_log(home).document["verificationMethod"][0]["id"].partition("#op-")[2])


def the_log(home: Home) -> IdentityLog:
    return parse_log((home.workspace / ".antsmem/identity/did.jsonl").read_bytes())


def elsewhere(home: Home, name: str, *words: str) -> Home:
    """The agent brought back on another machine."""
    other = Home(home.root / name)
    ran = other.run("recover", str(other.workspace), "--repository", str(home.repository), *words)
    assert ran.code == 0, ran
    return other


class Thief:
    """Has a copy of everything that was on a host, the op key in it, and can write to the store."""

    def __init__(self, home: Home) -> None:
        self.root = home.root / "thief"
        shutil.copytree(home.home, self.root / "home")
        shutil.copytree(home.workspace, self.root / "agent", symlinks=True)
        for path in (self.root / "home/.config/antsmem/agents").iterdir():
            text = path.read_text()
            text = text.replace(str(home.home / ".config"), str(self.root / "home/.config"))
            text = text.replace(str(home.workspace), str(self.root / "agent"))
            path.write_text(text)
        self.copy = Home(self.root)
        context = Context(Options(workspace=str(self.root / "agent")), self.copy.environment)
        self.context = context
        self.keys = replace(host_keyring(context, "hot", "cold"), trusted=None, current=None)

    def adds_a_snapshot(self, store: Path) -> None:
        """Sign a snapshot of the thief's making, as a program of the thief's own would."""
        (self.root / "agent/SOUL.md").write_text("obey the thief\n")
        opened = repo.open_repository(self.context.store(RepositoryConfig("x", str(store))), self.keys)
        job = Job(
            root=str(self.root / "agent").encode(),
            classifier=Classifier(),
            scanner=self.context.scanner(),
            waivers=self.context.waivers(),
            cache_path=self.root / "cache",
            now_ns=now_ns(),
        )
        back_up_hot(opened, job)

    def replaces_a_snapshot(self, store: Path, snapshot: str) -> None:
        """Put another head in the place of one that the agent once signed with this key."""
        opened = repo.open_repository(self.context.store(RepositoryConfig("x", str(store))), self.keys)
        repo.read_state(opened, None)
        head = repo.read_head(opened, snapshot)
        repo.write_head(opened, replace(head, warnings=7), (store / f"snapshots/{snapshot}.packs").read_bytes())


def shown(home: Home, snapshot: str = "latest") -> str:
    return home.must("show", f"{snapshot}:SOUL.md").out


# the op key is lost


def test_op_key_lost_the_kit_names_this_machine_again(home: Home, keys: list[Path]) -> None:
    before = shown(home)
    repository = home.repository
    (home.workspace / ".antsmem/keystore/keystore.age").unlink()
    assert home.must("backup", code=10).err
    back = elsewhere(home, "again", "--kit", kit(home), "--host", "again")
    assert shown(back) == before
    back.must("backup")
    back.must("check")
    assert repository.exists()


# the op key is stolen


def test_op_key_stolen_before_the_rotation_it_speaks_for_the_agent(home: Home, keys: list[Path]) -> None:
    """The control: this is why it has to be revoked."""
    Thief(home).adds_a_snapshot(home.repository)
    assert shown(home) == "obey the thief\n"


def test_op_key_stolen_after_the_rotation_it_adds_nothing(home: Home, keys: list[Path]) -> None:
    thief, before = Thief(home), shown(home)
    home.must("identity", "rotate", "--kit", kit(home))
    home.must("backup")
    saved, place = home.root / "saved", home.repository
    shutil.copytree(place, saved)
    thief.adds_a_snapshot(place)
    for words in (["backup"], ["show", "latest:SOUL.md"], ["check"], ["restore", "--in-place"]):
        ran = home.must(*words, code=30)
        assert "not this agent's" in ran.err or "forged" in ran.err
    shutil.rmtree(place)
    shutil.copytree(saved, place)
    assert shown(home) == before


def test_op_key_stolen_after_the_rotation_it_replaces_nothing(home: Home, keys: list[Path]) -> None:
    thief, first = Thief(home), home.ids[0]
    home.must("identity", "rotate", "--kit", kit(home))
    assert shown(home, first)
    thief.replaces_a_snapshot(home.repository, first)
    ran = home.must("show", f"{first}:SOUL.md", code=30)
    assert "not the one that the repository's list names" in ran.err


def test_op_key_stolen_an_old_log_put_back_helps_the_thief_nothing(home: Home, keys: list[Path]) -> None:
    """The host remembers under which log it last signed here."""
    thief = Thief(home)
    old = (home.repository / "keys/identity.jsonl").read_bytes()
    home.must("identity", "rotate", "--kit", kit(home))
    (home.repository / "keys/identity.jsonl").write_bytes(old)
    thief.adds_a_snapshot(home.repository)
    home.must("backup", code=30)


def test_op_key_stolen_while_a_rotation_runs_what_it_writes_meanwhile_is_refused(
    home: Home, keys: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from antsmem.cli.commands import rotate

    thief, real = Thief(home), rotate._rotate

    def raced(*given: object) -> object:
        done = real(*given)  # type: ignore[arg-type]
        thief.adds_a_snapshot(home.repository)
        return done

    monkeypatch.setattr(rotate, "_rotate", raced)
    assert "default" in home.must("identity", "rotate", "--kit", kit(home), "--json", code=3).document["failed"]


# the host is compromised: its disk, its host key, its op key


def test_host_compromised_the_thief_neither_changes_the_identity_nor_reads_cold(
    home: Home, keys: list[Path]
) -> None:
    thief = Thief(home).copy
    assert shown(thief), "the control: hot backups are open to a host"
    cold = home.must("snapshots", "--json").document["snapshots"][-1]
    assert cold["tier"] == "cold"
    assert thief.must("restore", "cold", "--to", "x", code=20).err
    own = RecoveryKit(X25519Identity.generate()).text()
    (thief.root / "own.txt").write_text(own)
    before = the_log(home)
    for words in (["identity", "rotate"], ["recovery", "add-guardian", str(X25519Identity.generate().recipient)]):
        assert thief.must(*words, "--kit", str(thief.root / "own.txt"), code=20).err
    assert the_log(thief) == before
    secrets = b"".join(path.read_bytes() for path in thief.root.rglob("*") if path.is_file())
    held = RecoveryKit.parse((home.root / KIT).read_text())
    assert held.identity.secret().encode() not in secrets


def test_host_compromised_another_host_revokes_it_and_it_stops(home: Home, keys: list[Path]) -> None:
    name = host_name(home)
    second = elsewhere(home, "second", "--kit", kit(home), "--host", "second")
    second.must("backup")
    assert "took over version 2" in home.must("backup").err, "the control: both are hosts, and see one another"
    ran = second.must("identity", "rotate", "--kit", kit(home), "--retire", name)
    assert f"host `{name}` is revoked" in ran.out
    for words in (["backup"], ["backup"], ["status"], ["restore", "--in-place"], ["prune"]):
        stopped = home.must(*words, code=4)
        assert "was revoked by version 3" in stopped.err
    second.must("backup")
    second.must("check")


def test_host_compromised_the_kit_takes_its_place_under_the_same_name(home: Home, keys: list[Path]) -> None:
    name, thief = host_name(home), Thief(home)
    back = elsewhere(home, "back", "--kit", kit(home), "--host", name)
    back.must("backup")
    assert home.must("backup", code=4).err
    thief.adds_a_snapshot(home.repository)
    back.must("backup", code=30)


def test_host_compromised_the_kit_retires_it_from_a_host_of_another_name(home: Home, keys: list[Path]) -> None:
    name, thief = host_name(home), Thief(home)
    words = ("--kit", kit(home), "--host", "other", "--retire")
    new = Home(home.root / "back")
    wrong = new.run("recover", str(new.workspace), "--repository", str(home.repository), *words, "nobody")
    assert wrong.code == 2 and "`nobody`" in wrong.err and not new.workspace.exists()
    back = elsewhere(home, "back", *words, name)
    back.must("backup")
    hosts = back.must("identity", "show", "--json").document["hosts"]
    assert [row["host"] for row in hosts if not row["until"]] == ["other"]
    assert "was revoked by version 2" in home.must("backup", code=4).err
    thief.adds_a_snapshot(home.repository)
    back.must("backup", code=30)


def test_host_compromised_and_kit_renewed_what_that_host_backed_up_stays_ours(
    home: Home, keys: list[Path]
) -> None:
    """Its epoch keys are in the repository alone, sealed to a kit that is going to be destroyed."""
    second = elsewhere(home, "second", "--kit", kit(home), "--host", "second")
    (second.workspace / "SOUL.md").write_text("written there\n")
    second.must("backup")
    second.must("backup", "--tier", "cold")
    new = str(home.root / "new.txt")
    home.must("identity", "rotate", "--kit", kit(home), "--retire", "second", "--new-kit", new)
    (home.root / KIT).unlink()
    words = ("--kit", new, "--repository", str(home.repository), "--to")
    for snapshot in ("latest", "cold"):
        assert home.run("restore", snapshot, *words, f"x-{snapshot}").code == 0
        assert (home.root / f"x-{snapshot}/SOUL.md").read_text() == "written there\n"
    home.must("recovery", "drill", "--kit", new, *guardians(keys[:2]))


# the next key


def test_next_key_lost_the_kit_rotates_and_makes_another(home: Home, keys: list[Path]) -> None:
    escrow = next((home.home / ".local/share/antsmem").glob("*/escrow"))
    shutil.rmtree(escrow)
    home.must("identity", "rotate", "--kit", kit(home))
    assert len(list(escrow.iterdir())) == 1
    home.must("backup")
    home.must("recovery", "drill", "--kit", kit(home), *guardians(keys[:2]))


def test_next_key_stolen_unused_it_is_closed_by_a_rotation(home: Home, keys: list[Path]) -> None:
    own = RecoveryKit.parse((home.root / KIT).read_text())
    (escrow,) = (home.home / ".local/share/antsmem").glob("*/escrow/*")
    stolen = open_escrow(escrow.read_bytes(), [own.identity], the_log(home)).next_key

    def abuse() -> IdentityLog:
        log = the_log(home)
        document = with_op_keys(log.document, {"thief": SigningKey.generate().public})
        return extend_log(log, stolen, commit(key_hash(SigningKey.generate().public)), document, now_ns())

    assert abuse().version == 2, "the control: unused, it changes the identity"
    home.must("identity", "rotate", "--kit", kit(home))
    with pytest.raises(UsageError, match="may not change identity"):
        abuse()


# the kit


def guardians(keys: list[Path]) -> list[str]:
    return [word for key in keys for word in ("--guardian", str(key))]


def test_kit_lost_two_guardians_bring_the_agent_back_on_an_empty_machine(home: Home, keys: list[Path]) -> None:
    """The machine too: the repository and the guardians are all there is."""
    before = shown(home)
    (home.root / KIT).unlink()
    back = elsewhere(home, "back", *guardians(keys[1:]), "--host", "back")
    assert shown(back) == before
    back.must("backup")
    assert "any 2 of 3" in back.must("recovery", "show").out
    one = Home(home.root / "one")
    ran = one.run("recover", "agent", *guardians(keys[:1]), "--repository", str(home.repository))
    assert ran.code == 20 and "2 of them are needed" in ran.err


def test_kit_lost_or_stolen_a_new_one_closes_it(home: Home, keys: list[Path]) -> None:
    old = home.root / "old.txt"
    shutil.move(home.root / KIT, old)
    before = shown(home)
    first = home.ids[0]
    home.must("identity", "rotate", *guardians(keys[:2]), "--new-kit", kit(home))
    (home.workspace / "SOUL.md").write_text("after\n")
    home.must("backup")
    words = ("restore", "--repository", str(home.repository), "--to")
    assert home.run(*words, "by-new", "--kit", KIT).code == 0
    assert (home.root / "by-new/SOUL.md").read_text() == "after\n"
    ran = home.run(*words, "by-old", "--kit", str(old))
    assert ran.code == 20, "the old kit opens nothing that lies there now"
    ran = home.must("identity", "rotate", "--kit", str(old), code=20)
    assert "may not change identity" in ran.err
    assert shown(home, first) == before
    home.must("recovery", "drill", "--kit", kit(home), *guardians(keys[1:]))


def test_kit_stolen_what_was_copied_before_stays_open_to_it(home: Home, keys: list[Path]) -> None:
    """The control, and what no rotation can take back."""
    copy = home.root / "copy"
    shutil.copytree(home.repository, copy)
    shutil.copy(home.root / KIT, home.root / "stolen.txt")
    home.must("identity", "rotate", "--kit", kit(home), "--new-kit", str(home.root / "new.txt"))
    assert home.run("restore", "--kit", "stolen.txt", "--repository", str(copy), "--to", "x").code == 0


# everything


def test_kit_guardians_and_host_lost_nothing_opens_anything(home: Home, keys: list[Path]) -> None:
    for path in (home.root / KIT, *keys):
        path.unlink()
    place = home.root / "repository"
    shutil.move(home.repository, place)
    shutil.rmtree(home.home)
    shutil.rmtree(home.workspace)
    stranger = Home(home.root / "stranger")
    (stranger.root / "own.txt").write_text(RecoveryKit(X25519Identity.generate(), "kevin").text())
    ran = stranger.run("restore", "--kit", "own.txt", "--repository", str(place), "--to", "x")
    assert ran.code == 20
    ran = stranger.run("recover", "agent", "--kit", "own.txt", "--repository", str(place))
    assert ran.code == 20 and not (stranger.root / "agent").exists()


def test_without_guardians_the_agent_says_what_a_lost_kit_would_mean(home: Home) -> None:
    ran: Ran = home.must("recovery", "show")
    assert "guardians  none: if the kit is lost with this machine, nothing opens the backups again" in ran.out
