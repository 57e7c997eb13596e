"""Goal: guardians, drills and rotations do what they say, say what they could not do, and end it later.

Method: the commands called rightly and wrongly, with a repository out of reach, with the kit from a file and from
standard input; what lies on the disk is compared before and after.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_homes import KIT, TRACE, Home, Ran

from antsmem.core.age import X25519Identity


def guardian(home: Home, name: str) -> tuple[str, str]:
    """(the public key, the identity file) of a new guardian."""
    key = X25519Identity.generate()
    path = home.root / f"{name}.txt"
    path.write_text(f"# {name}\n{key.secret()}\n")
    return str(key.recipient), str(path)


def add(home: Home, *words: str, code: int = 0) -> Ran:
    return home.must("recovery", "add-guardian", *words, "--kit", str(home.root / KIT), code=code)


def carried(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "keys").glob("guardians-*"))


def here(home: Home) -> list[str]:
    folder = home.workspace / ".antsmem/identity/guardians"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def everything(*roots: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()}


def rotate(home: Home, *words: str, code: int = 0) -> Ran:
    return home.must("identity", "rotate", "--kit", str(home.root / KIT), *words, code=code)


# guardians


def test_a_set_is_replaced_in_one_step_and_the_old_files_are_gone(home: Home) -> None:
    (one, one_key), (two, two_key), (three, three_key) = (guardian(home, name) for name in ("a", "b", "c"))
    add(home, one, two)
    assert here(home) == carried(home.repository) == ["guardians-1-1-2.sealed", "guardians-1-set.sealed"]
    ran = add(home, three, "--threshold", "2")
    assert "whoever kept a copy can still open it" in ran.out and "identity rotate --new-kit" in ran.out
    assert here(home) == carried(home.repository) and len(here(home)) == 4
    assert all(name.startswith("guardians-2-") for name in here(home))
    add(home, three, one, "--replace")
    assert here(home) == carried(home.repository) == ["guardians-3-1-2.sealed", "guardians-3-set.sealed"]
    home.must("backup")
    home.must("check")
    drill = ("recovery", "drill", "--kit", str(home.root / KIT))
    home.must(*drill, "--guardian", one_key, "--guardian", three_key)
    ran = home.must(*drill, "--guardian", one_key, "--guardian", two_key, code=3)
    assert "guardians: DOES NOT OPEN" in ran.out and "fewer than two" in ran.err


def test_public_keys_or_the_kit_may_come_from_standard_input(home: Home) -> None:
    (one, _), (two, _) = guardian(home, "a"), guardian(home, "b")
    at = ("-C", str(home.workspace), "recovery", "add-guardian")
    ran = home.run(*at, "--kit", KIT, stdin=f"# two\n{one}\n\n{two}\n".encode())
    assert ran.code == 0 and "any 2 of 2" in ran.out
    ran = home.run(*at, guardian(home, "c")[0], stdin=(home.root / KIT).read_bytes())
    assert ran.code == 0 and "any 2 of 3" in ran.out
    ran = home.run(*at, guardian(home, "d")[0], "--kit", "-", stdin=(home.root / KIT).read_bytes())
    assert ran.code == 0 and "any 2 of 4" in ran.out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "no guardian is named"),
        (["age1nonsense"], 2, ""),
        (["ONE", "ONE"], 2, "twice"),
        (["ONE", "--threshold", "2"], 2, "cannot be"),
        (["SECRET"], 2, "secret identity"),
        (["OWN"], 2, "own key"),
        (["ONE", "--kit", "other.txt"], 20, "may not change identity"),
        (["ONE", "--kit", "missing.txt"], 10, "missing.txt"),
        (["ONE", "--kit", "garbage.txt"], 2, ""),
        (["ONE", "--no-input", "--kit", "/dev/null"], 2, ""),
    ],
)
def test_what_cannot_be_meant_changes_nothing(home: Home, words: list[str], code: int, says: str) -> None:
    other, secret = X25519Identity.generate(), X25519Identity.generate().secret()
    (home.root / "other.txt").write_text(other.secret() + "\n")
    (home.root / "garbage.txt").write_bytes(b"\xff\x00garbage" * 100)
    own = (home.root / KIT).read_text().splitlines()[-1]
    from antsmem.core.age import parse_identity

    names = {"ONE": guardian(home, "a")[0], "SECRET": secret, "OWN": str(parse_identity(own).recipient)}
    before = everything(home.workspace, home.repository)
    given = [names.get(word, word) for word in words]
    kit = [] if "--kit" in words else ["--kit", str(home.root / KIT)]
    ran = home.run("-C", str(home.workspace), "recovery", "add-guardian", *given, *kit)
    assert ran.code == code and says in ran.err and TRACE not in ran.err, ran
    assert secret not in ran.err + ran.out and own not in ran.err + ran.out
    assert everything(home.workspace, home.repository) == before


def test_a_repository_out_of_reach_gets_the_guardians_with_its_next_backup(home: Home) -> None:
    home.must("repository", "add", "second", "second")
    add(home, guardian(home, "a")[0])
    shutil.move(home.root / "second", home.root / "away")
    ran = add(home, guardian(home, "b")[0], code=3)
    assert "`second` does not know of the change yet" in ran.err
    assert carried(home.repository) == here(home) != carried(home.root / "away")
    shutil.move(home.root / "away", home.root / "second")
    home.must("backup")
    assert carried(home.root / "second") == here(home), "and the files of the former set are gone"
    home.must("check")


def test_a_set_that_somebody_put_into_the_workspace_replaces_nothing(home: Home) -> None:
    """A program that runs as the agent can write there: a higher number would unmake the true guardians."""
    add(home, guardian(home, "a")[0])
    true = carried(home.repository)
    folder = home.workspace / ".antsmem/identity/guardians"
    (folder / "guardians-9-1.sealed").write_bytes((folder / "guardians-1-1.sealed").read_bytes())
    assert "not carried" in home.must("backup").err
    assert carried(home.repository) == true
    (folder / "guardians-9-set.sealed").write_bytes((folder / "guardians-1-set.sealed").read_bytes())
    assert "not carried" in home.must("backup").err
    (folder / "guardians-9-1.sealed").unlink()
    (folder / "guardians-9-set.sealed").unlink()
    assert "not carried" not in home.must("backup").err
    assert carried(home.repository) == true


def test_two_rotations_at_once_do_not_meet(home: Home) -> None:
    home.must("backup")
    script = (
        "import antsmem.identity.rotate as r, os, time\n"
        "real = r.save_change\n"
        "def wait():\n"
        f" while not os.path.exists({str(home.root / 'go')!r}): time.sleep(0.02)\n"
        "r.save_change = lambda *given: (print('now', flush=True), wait(), real(*given))[2]\n"
    )
    slow = home.start(script, "identity", "rotate", "--kit", KIT)
    assert slow.stdout and slow.stdout.readline() == "now\n"
    assert "another antsmem" in rotate(home, code=12).err
    (home.root / "go").touch()
    assert slow.wait(300) == 0
    home.must("backup")
    home.must("check")
    slow.communicate()


# drills


def test_a_drill_writes_nothing_but_that_it_was_held(home: Home) -> None:
    (one, one_key), (two, two_key) = guardian(home, "a"), guardian(home, "b")
    add(home, one, two)
    home.must("backup")
    home.must("backup", "--tier", "cold")
    roots = (home.workspace, home.repository, home.home / ".config")
    before = everything(*roots)
    words = ("recovery", "drill", "--kit", str(home.root / KIT), "--guardian", one_key, "--guardian", two_key)
    document = home.must(*words, "--json").document
    assert [(way["way"], way["open"]) for way in document["ways"]] == [("kit", True), ("guardians", True)]
    steps = [step["what"] for step in document["ways"][1]["places"]["default"]]
    assert {"escrow", "hot epoch keys", "cold epoch keys", "newest cold archive"} <= set(steps)
    assert everything(*roots) == before
    shown = home.must("recovery", "show", "--json").document
    assert set(shown["drilled"]) == {"kit", "guardians"} and shown["threshold"] == 2
    assert shown["repositories"][0]["guardians"] is True


def test_a_drill_notices_what_does_not_open(home: Home) -> None:
    (one, one_key), (two, two_key) = guardian(home, "a"), guardian(home, "b")
    add(home, one, two)
    home.must("backup")
    words = ("recovery", "drill", "--kit", str(home.root / KIT), "--guardian", one_key, "--guardian", two_key)
    home.must(*words)
    key = next((home.repository / "keys").glob("cold-*.age"))
    good = key.read_bytes()
    for damage in (good[:-1], b"", next((home.repository / "keys").glob("hot-*.age")).read_bytes()):
        key.write_bytes(damage)
        assert "DOES NOT OPEN" in home.must(*words, code=3).out
    key.write_bytes(good)
    (escrow,) = (home.home / ".local/share/antsmem").glob("*/escrow/*")
    data = escrow.read_bytes()
    escrow.write_bytes(data[:-1])
    assert "escrow: " in home.must(*words, code=3).out
    escrow.write_bytes(data)
    shutil.move(home.repository, home.root / "away")
    assert "no repository" in home.must(*words, code=3).out


def test_one_way_alone_is_not_enough_and_none_is_no_drill(home: Home) -> None:
    home.must("backup")
    home.must("recovery", "drill", "--kit", str(home.root / KIT), code=3)
    home.must("recovery", "drill", code=2)
    home.must("recovery", "drill", "--guardian", str(home.root / "missing.txt"), code=10)
    home.must("recovery", "drill", "--guardian", str(home.workspace / "SOUL.md"), code=2)


# recovery by guardians


def test_a_recovery_takes_the_guardians_of_today_not_those_in_an_old_backup(home: Home) -> None:
    (one, one_key), (two, two_key) = guardian(home, "a"), guardian(home, "b")
    add(home, one)
    home.must("backup")  # holds the files of set 1
    add(home, two, "--replace")
    other = Home(home.root / "other")
    words = ("recover", "agent", "--repository", str(home.repository), "--host", "other", "--guardian")
    assert other.run(*words, one_key).code == 20
    assert other.run(*words, two_key).code == 0
    assert [name[:12] for name in here(other)] == ["guardians-2-"] * 2
    assert "any 1 of 1" in other.must("recovery", "show").out


def test_kit_and_guardians_together_or_none_is_no_call(home: Home) -> None:
    home.must("backup")
    words = ("recover", "new", "--repository", str(home.repository), "--instead")
    ran = home.run(*words, "--kit", KIT, "--guardian", KIT)
    assert ran.code == 2 and "not both" in ran.err
    assert home.run(*words, "--no-input").code == 2
    assert home.run(*words, stdin=(home.root / KIT).read_bytes()).code == 0, "the kit on standard input"


# rotation


def test_a_repository_out_of_reach_learns_of_a_rotation_with_its_next_backup(home: Home) -> None:
    home.must("repository", "add", "second", "second")
    home.must("backup")
    shutil.move(home.root / "second", home.root / "away")
    ran = rotate(home, code=3)
    assert "`second` does not know of the change yet" in ran.err
    shutil.move(home.root / "away", home.root / "second")
    home.must("backup")
    home.must("check")
    assert (home.root / "second/keys/identity.jsonl").read_bytes() == (
        home.workspace / ".antsmem/identity/did.jsonl"
    ).read_bytes()


def test_a_rotation_again_and_again_leaves_a_sound_repository(home: Home) -> None:
    for _ in range(3):
        rotate(home)
        home.must("backup")
    home.must("backup", "--tier", "cold")
    home.must("check", "--read-data", "--kit", str(home.root / KIT))
    assert "(version 4)" in home.must("status").out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--retire", "nobody"], 2, "no op key"),
        (["--new-kit", KIT], 11, "exists already"),
        (["--new-kit", "agent/kit.txt"], 2, "must not lie in what it recovers"),
        (["--new-kit", "no/such/kit.txt"], 10, "no such file"),
        (["--retire", "nobody", "--new-kit", "new.txt"], 2, "no op key"),
    ],
)
def test_a_rotation_that_fails_leaves_all_as_it_was(home: Home, words: list[str], code: int, says: str) -> None:
    before = everything(home.workspace, home.repository)
    ran = rotate(home, *words, code=code)
    assert says in ran.err and TRACE not in ran.err
    assert everything(home.workspace, home.repository) == before
    assert not (home.root / "new.txt").exists(), "a kit without a right is not left behind"


def test_a_new_kit_is_readable_by_its_owner_only_and_is_said(home: Home) -> None:
    document = rotate(home, "--new-kit", "new.txt", "--json").document
    made = home.root / "new.txt"
    assert made.stat().st_mode & 0o777 == 0o600 and document["recovery_kit"] == "new.txt"
    assert "# agent: kevin" in made.read_text()
    home.must("backup")
    assert home.run("restore", "--kit", "new.txt", "--repository", str(home.repository), "--to", "x").code == 0


# two hosts


def test_a_host_takes_over_what_another_published_and_both_go_on(home: Home) -> None:
    home.must("backup")
    other = Home(home.root / "other")
    words = ("recover", str(other.workspace), "--kit", str(home.root / KIT), "--repository", str(home.repository))
    assert other.run(*words, "--host", "other").code == 0
    ran = home.must("backup")
    assert "took over version 2 of the identity log" in ran.err
    assert "took over" not in home.must("backup").err
    for each in (other, home, other):
        each.must("backup")
        each.must("check")


def test_another_host_is_told_of_a_new_kit_and_takes_it(home: Home) -> None:
    """Without that it would go on sealing to the old one."""
    other = Home(home.root / "other")
    words = ("recover", str(other.workspace), "--kit", str(home.root / KIT), "--repository", str(home.repository))
    home.must("backup")
    assert other.run(*words, "--host", "other").code == 0
    home.must("backup")
    new = str(home.root / "new.txt")
    rotate(home, "--new-kit", new)
    assert "antsmem keys rewrap --kit FILE" in other.must("backup").err
    drill = ("recovery", "drill", "--kit", new)
    assert "DOES NOT OPEN" in home.must(*drill, code=3).out, "the other host's epochs"
    other.must("keys", "rewrap", "--kit", str(home.root / KIT), code=20)
    other.must("keys", "rewrap", "--kit", new, "--old-kit", str(home.root / KIT))
    home.must("backup")
    assert "kit: opens" in home.must(*drill, code=3).out
    for each in (home, other):
        each.must("check", "--read-data", "--kit", new)


def test_hosts_see_the_guardians_that_another_one_named(home: Home) -> None:
    """A set of an older number would never be in force."""
    (one, one_key), (two, two_key) = guardian(home, "a"), guardian(home, "b")
    home.must("backup")
    other = Home(home.root / "other")
    words = ("--kit", str(home.root / KIT), "--repository", str(home.repository), "--host", "other")
    assert other.run("recover", "agent", *words).code == 0
    add(home, one)
    assert "any 1 of 2" in other.must("recovery", "add-guardian", two, "--kit", str(home.root / KIT)).out
    assert carried(home.repository) == here(other)
    shutil.move(home.root / KIT, home.root / "old.txt")
    home.must("identity", "rotate", "--guardian", two_key, "--new-kit", str(home.root / KIT))
    assert carried(home.repository) == here(home), "and a new kit is for all of them"
    new = ("recover", "agent", "--repository", str(home.repository), "--host", "third", "--guardian")
    assert Home(home.root / "third").run(*new, one_key).code == 0


def test_a_fork_of_the_identity_stops_everything(home: Home) -> None:
    """Two holders of the kit, or a thief of it: somebody has to look."""
    home.must("backup")
    place = home.root / "copy"
    shutil.copytree(home.repository, place)
    home.must("repository", "add", "copy", str(place))
    other = Home(home.root / "other")
    words = ("--kit", str(home.root / KIT), "--host", "other")
    assert other.run("recover", "agent", "--repository", str(place), *words).code == 0
    with_fork = ("identity", "rotate", "--kit", str(home.root / KIT))
    config = next((home.home / ".config/antsmem/agents").iterdir())
    text = config.read_text()
    config.write_text(text.replace(str(place), str(home.root / "nowhere")))
    home.must(*with_fork, code=3)
    config.write_text(text)
    ran = home.must("backup", "--repository", "copy", code=31)
    assert "two histories of one identity" in ran.err
