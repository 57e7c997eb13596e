"""Goal: what the pages promise in a sentence, and no session shows, is so. Method: do it, with the program."""

from __future__ import annotations

from pathlib import Path

import corpora
import pytest
from program import Terminal


@pytest.fixture
def at(tmp_path: Path) -> Terminal:
    """A terminal in a home with the agent `kevin`, backed up once into `stick`."""
    terminal = Terminal(tmp_path)
    terminal.run("init", "kevin", "--recovery-out", "kit.txt", "--repository", "./stick")
    terminal.run("-C", "kevin", "backup")
    return terminal


def test_a_new_agent_knows_its_time_zone(at: Terminal) -> None:
    zone = next(
        row["value"] for row in at.json("-C", "kevin", "config", "show")["settings"] if row["name"] == "time_zone"
    )
    assert f"- Time zone: {zone}\n" in (at.home / "kevin" / "USER.md").read_text()
    assert "{{" not in "".join(path.read_text() for path in (at.home / "kevin").glob("*.md"))


def test_a_path_that_is_left_out_is_no_difference(at: Terminal) -> None:
    (at.home / "kevin" / ".env").write_text("nothing\n")
    (at.home / "kevin" / "gateway.pid").write_text("4242\n")
    (at.home / "kevin" / "new.md").write_text("new\n")
    at.run("-C", "kevin", "backup")
    first = at.json("-C", "kevin", "snapshots")["snapshots"][0]["id"]
    changes = at.json("-C", "kevin", "diff", first)["changes"]
    assert {(row["sign"], row["path"]) for row in changes if row["sign"] != "m"} == {("+", "new.md")}


def test_recovery_hands_options_to_the_driver_and_keeps_them(at: Terminal) -> None:
    words = ("recover", "again", "--kit", "kit.txt", "--repository", "./stick", "--instead", "--option")
    assert "no option `colour`" in at.run(*words, "colour=red", code=2).stderr
    assert "KEY=VALUE" in at.run(*words, "colour", code=2).stderr


def test_a_directory_without_a_slash_is_taken_for_a_name_and_the_hint_says_so(at: Terminal) -> None:
    done = at.run("snapshots", "--kit", "kit.txt", "--repository", "stick", code=2)
    assert "`./stick`" in done.stderr


def test_a_damaged_pack_is_named_by_the_restore_that_needs_it(at: Terminal) -> None:
    (pack,) = (at.home / "stick" / "packs").iterdir()
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.write_bytes(data)
    assert pack.name[:16] in at.run("-C", "kevin", "restore", "--to", "back", code=30).stderr
    pack.unlink()
    assert pack.name[:16] in at.run("-C", "kevin", "restore", "--to", "back", code=30).stderr


def test_a_repository_that_lost_all_its_snapshots_can_be_trusted_again(at: Terminal) -> None:
    (pack,) = (at.home / "stick" / "packs").iterdir()
    pack.unlink()
    at.run("-C", "kevin", "check", "--repair", code=31)
    at.run("-C", "kevin", "backup", code=31)
    at.run("-C", "kevin", "check", "--accept-older")
    at.run("-C", "kevin", "backup")
    at.run("-C", "kevin", "check", "--read-data")


def test_a_waiver_moves_to_another_machine(at: Terminal) -> None:
    secret = corpora.secret("deploy: gh", "p_", "Zk7Qw2Lx9Rt4Vb8Nm1Hs6Jd3Fg5Pc0Ya2Ue7\n")
    (at.home / "kevin" / "TOOLS.md").write_text(secret)
    at.run("-C", "kevin", "backup", code=21)
    at.run("-C", "kevin", "waive", "TOOLS.md:1", "--reason", "a test")
    at.run("-C", "kevin", "backup")
    at.run("recover", "again", "--kit", "kit.txt", "--repository", "./stick", "--host", "newbox", "--instead")
    assert (at.home / "again" / "TOOLS.md").read_text() == secret
    at.run("-C", "again", "backup")
    at.run("-C", "again", "waive", "TOOLS.md:1", "--reason", "no longer", "--end")
    at.run("-C", "again", "backup", "--rehash", code=21)


def test_the_secrets_that_recovery_lists_are_those_a_person_must_put_back(at: Terminal) -> None:
    (at.home / "kevin" / ".env").write_text("nothing\n")
    at.run("-C", "kevin", "backup")
    said = at.run("recover", "again", "--kit", "kit.txt", "--repository", "./stick", "--instead").stdout
    assert "put them back from where you keep secrets: .env\n" in said
