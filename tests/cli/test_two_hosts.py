"""Goal: an agent that lives on two machines at once works on one of them, told so by a witness that is real.

Method: two homes on this machine, the second a copy of the first's workspace and keys but not of its state, as on
a cloned disk; a relay, a bare git repository and a store between them; the commands as a terminal runs them. The
world is a file in which every effect is a line.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from made_homes import KIT, TRACE, Home, Ran
from relays import RelayServer
from running import running

from antsmem.cli import witnesses
from antsmem.core import clock
from antsmem.heartbeat import witness as rules

HOUR = 3600 * 1_000_000_000


relay = running(RelayServer, "module")


def effect(home: Home, key: str, *words: str, kind: str = "hold") -> Ran:
    """An effect that is a line in the world."""
    script = f"echo $ANTSMEM_KEY $ANTSMEM_FENCE >> {home.root}/../world"
    return home.run("-C", str(home.workspace), "once", key, "--effect", kind, *words, "--", "sh", "-c", script)


def world(home: Home) -> list[tuple[str, int]]:
    lines = (home.root / "../world").read_text().splitlines()
    return [(key, int(fence)) for key, fence in (line.split() for line in lines)]


def configure(home: Home, url: str) -> None:
    path = home.home / ".config/antsmem/config.yaml"
    path.write_text(f'heartbeat:\n  witness: "{url}"\n')


@pytest.fixture(params=["git", "store", "repository", pytest.param("relay", marks=pytest.mark.server)])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """The machine on which the agent lives, known to its witness."""
    (tmp_path / "old").mkdir()
    home = Home(tmp_path / "old")
    home.init()
    if request.param == "git":
        if shutil.which("git") is None:
            pytest.skip("the program `git` is not installed: apt install git")
        subprocess.run(["git", "init", "-q", "--bare", tmp_path / "remote.git"], check=True)
        configure(home, f"git+{tmp_path}/remote.git")
    elif request.param == "relay":
        server = request.getfixturevalue("relay")
        home.must("identity", "move", "--relay", server.url, "--kit", KIT)
        configure(home, server.url)
    else:
        configure(home, f"file://{tmp_path}/witness" if request.param == "store" else "default")
        (tmp_path / "witness").mkdir()
    assert effect(home, "early").code == 2, "the witness does not know it yet"
    home.must("heartbeat", "take-over")
    return home


def moved(old: Home) -> Home:
    """A second machine with a copy of all but what the first one remembers."""
    new = Home(old.root.parent / "new")
    shutil.copytree(old.workspace, new.workspace)
    shutil.copytree(old.home / ".config", new.home / ".config")
    shutil.copytree(old.home / ".local/share", new.home / ".local/share")
    return new


def test_the_host_that_was_taken_over_from_starts_nothing(old: Home) -> None:
    assert effect(old, "a").code == 0
    new = moved(old)
    assert effect(new, "b").code == 4, "a copy starts nothing"
    assert effect(old, "b").code == 0, "and does not disturb"
    new.must("heartbeat", "take-over", "--old-host-off")
    for kind in ("hold", "pure"):
        ran = effect(old, "c", kind=kind)
        assert ran.code == 4 and "another host has taken over" in ran.err and TRACE not in ran.err
    assert effect(new, "c").code == 0
    assert old.must("heartbeat", code=4).out == ""
    assert new.must("heartbeat", "status").out.startswith("OK")
    fences = [fence for _, fence in world(old)]
    assert [key for key, _ in world(old)] == ["a", "b", "c"] and fences == sorted(set(fences))


def test_of_two_that_take_over_one_works(old: Home) -> None:
    effect(old, "a")
    new = moved(old)
    new.must("heartbeat", "take-over", "--old-host-off")
    old.must("heartbeat", "take-over", "--old-host-off")
    assert effect(new, "b").code == 4 and effect(old, "b").code == 0
    assert [key for key, _ in world(old)] == ["a", "b"]


def later(home: Home, hours: float, *words: str) -> Ran:
    """Run a command in the workspace, so many hours from now."""

    def before() -> None:
        shifted = clock.now_ns
        clock.now_ns = lambda: shifted() + int(hours * HOUR)
        witnesses.now_ns = clock.now_ns

    return home.run("-C", str(home.workspace), *words, before=before)


def at_work(root: Path) -> Home:
    """A host that works, and a store beside it that is its witness."""
    (root / "old").mkdir()
    (root / "witness").mkdir()
    home = Home(root / "old")
    home.init()
    configure(home, f"file://{root}/witness")
    home.must("heartbeat", "take-over")
    return home


def test_an_old_host_that_nobody_reaches_is_waited_for(tmp_path: Path) -> None:
    old = at_work(tmp_path)
    effect(old, "a")
    new = moved(old)
    told = new.must("heartbeat", "take-over", "--json", code=3).document
    assert told["waits_until"] and told["epoch"] is None
    assert effect(old, "b").code == 4 and effect(new, "b").code == 4
    assert later(new, 0.9, "heartbeat", "take-over").code == 3
    assert later(new, 1.1, "heartbeat", "take-over").code == 0
    assert effect(new, "b").code == 0


def test_a_host_that_was_fenced_off_waits_too(tmp_path: Path) -> None:
    old = at_work(tmp_path)
    new = moved(old)
    new.must("heartbeat", "take-over", "--old-host-off")
    effect(new, "a")
    assert old.must("heartbeat", code=4).out == ""
    assert "does not work for the agent" in old.must("heartbeat", "status", code=4).out
    assert old.must("heartbeat", "take-over", "--json", code=3).document["waits_until"]
    assert effect(old, "b").code == 4 and effect(new, "b").code == 4
    assert later(old, 1.1, "heartbeat", "take-over").code == 0
    ran = effect(old, "a", "--verify", "true", kind="verify")
    assert ran.code == 0 and len(world(old)) == 1, "what the other one may have done is asked about first"


def test_without_a_witness_only_a_person_can_say(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = Home(tmp_path / "old")
    old.init()
    effect(old, "a")
    new = moved(old)
    ran = new.must("heartbeat", "take-over", code=2)
    assert "--old-host-off" in ran.err
    old.must("heartbeat", "retire")
    planned = Home(tmp_path / "planned")
    shutil.copytree(old.workspace, planned.workspace)
    shutil.copytree(old.home / ".config", planned.home / ".config")
    planned.must("heartbeat", "take-over")
    assert effect(planned, "b").code == 0 and effect(old, "c").code == 4
    assert "--old-host-off" in old.must("heartbeat", "take-over", code=2).err, (
        "the next one works, for all it knows"
    )


def test_cut_off_from_the_witness_only_what_is_pure_goes_on(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    old = Home(tmp_path / "old")
    old.init()
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "remote.git"], check=True)
    configure(old, f"git+{tmp_path}/remote.git")
    old.must("heartbeat", "take-over")
    assert effect(old, "a").code == 0
    (tmp_path / "remote.git").rename(tmp_path / "away")
    ran = effect(old, "b")
    assert ran.code == 40 and "only `pure` work" in ran.err
    assert effect(old, "c", kind="pure").code == 0
    write = f"echo late >> {tmp_path}/world"
    assert later(old, 2, "once", "d", "--effect", "pure", "--", "sh", "-c", write).code == 40
    (tmp_path / "away").rename(tmp_path / "remote.git")
    assert effect(old, "b").code == 0
    assert rules.LEASE_SECONDS == 3600
