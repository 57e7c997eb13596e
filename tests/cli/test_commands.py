"""Goal: the commands do together what a person expects of them, over the life of an agent.

Method: whole stories by the terminal's door: several repositories, a machine that is lost, secrets that are
waived, histories that are pruned, places that must not be used.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from pathlib import Path

import pytest
from made_homes import KIT, Home

from antsmem.cli.context import Context, Options

TOKEN = "gh" + "p_q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"


def files_of(root: Path) -> dict[str, bytes]:
    """The agent's own files: without antsmem's directory."""
    found = {}
    for path in sorted(root.rglob("*")):
        inside = str(path.relative_to(root))
        if path.is_file() and not inside.startswith(".antsmem"):
            found[inside] = path.read_bytes()
    return found


def test_a_workspace_is_backed_up_lost_and_restored(home: Home) -> None:
    before = files_of(home.workspace)
    home.must("backup")
    home.must("restore", "--to", "back")
    assert files_of(home.root / "back") == before
    (home.workspace / "SOUL.md").write_text("spoilt\n")
    (home.workspace / "new.md").write_text("made since\n")
    planned = home.must("restore", "--in-place", "--plan").out
    assert "restore   SOUL.md" in planned and "put away  new.md" in planned
    assert (home.workspace / "new.md").exists(), "a plan does nothing"
    done = home.must("restore", "--in-place").out
    assert files_of(home.workspace) == before
    kept = Path(re.findall(r"kept in (\S+)", done)[0])
    assert (kept / "new.md").read_text() == "made since\n" and (kept / "SOUL.md").read_text() == "spoilt\n"
    home.must("prune")
    assert not kept.exists(), "kept until the next prune"


def test_a_restore_by_time_and_by_part_of_an_id(home: Home) -> None:
    home.must("backup")
    first = home.ids[0]
    (home.workspace / "SOUL.md").write_text("second\n")
    home.must("backup")
    home.must("restore", first[-8:], "--to", "a", "--path", "SOUL.md")
    assert (home.root / "a/SOUL.md").read_text() != "second\n" and os.listdir(home.root / "a") == ["SOUL.md"]
    home.must("restore", "--at", "9999-12-31", "--to", "b", "--path", "SOUL.md")
    assert (home.root / "b/SOUL.md").read_text() == "second\n"
    home.must("restore", "--at", "1h ago", "--to", "c", code=10)
    assert home.must("show", "latest:SOUL.md").out == "second\n"
    assert "M SOUL.md" in home.must("diff", first).out


def test_a_lost_machine_is_brought_back_twice_and_the_agent_goes_on(home: Home) -> None:
    before = files_of(home.workspace)
    home.must("backup")
    home.must("backup", "--tier", "cold")
    repository = home.root / "repository"
    shutil.move(home.repository, repository)
    for number, snapshot in enumerate(("latest", "cold")):
        shutil.rmtree(home.home)
        shutil.rmtree(home.workspace)
        home.home.mkdir()
        ran = home.run("recover", "agent", "--kit", KIT, "--repository", str(repository), "--snapshot", snapshot,
                       "--host", f"machine{number}")  # fmt: skip
        assert ran.code == 0, ran
        assert files_of(home.workspace) == before
        home.must("backup")
        home.must("backup", "--tier", "cold")
        home.must("check", "--read-data")
        assert f"on machine{number}" in home.run("-C", "agent", "status").out
    restored = home.run("restore", "--kit", KIT, "--repository", str(repository), "--to", "by kit")
    assert restored.code == 0 and files_of(home.root / "by kit") == before


def test_after_a_recovery_an_older_snapshot_in_place_does_not_lock_this_host_out(home: Home) -> None:
    """The snapshot holds the identity log of the time before this host: bringing it back would unmake the host."""
    home.must("backup")
    old = home.ids[0]
    repository = home.root / "repository"
    shutil.move(home.repository, repository)
    shutil.rmtree(home.home)
    shutil.rmtree(home.workspace)
    home.home.mkdir()
    assert home.run("recover", "agent", "--kit", KIT, "--repository", str(repository), "--host", "new").code == 0
    (home.workspace / "SOUL.md").write_text("changed\n")
    home.must("backup")
    home.must("restore", old, "--in-place")
    assert (home.workspace / "SOUL.md").read_text() != "changed\n"
    home.must("backup")
    home.must("check", "--read-data")


def test_several_repositories_fail_and_succeed_on_their_own(home: Home) -> None:
    home.must("repository", "add", "second", "second")
    home.must("repository", "add", "third", "third")
    home.must("backup")
    shutil.move(home.root / "second", home.root / "away")
    (home.workspace / "SOUL.md").write_text("changed\n")
    for words in (["backup"], ["prune", "--dry-run"], ["check"]):
        ran = home.must(*words, code=3)
        assert "no repository at" in ran.err
    shutil.move(home.root / "away", home.root / "second")
    counts = [
        len(home.must("snapshots", "--repository", name, "--json").document["snapshots"])
        for name in ("default", "second", "third")
    ]
    assert counts == [2, 1, 2]
    home.must("backup")
    home.must("check", "--read-data")
    for name in ("second", "third"):
        home.must("restore", "--repository", name, "--to", f"from {name}")
        assert files_of(home.root / f"from {name}") == files_of(home.workspace)


def test_when_all_repositories_fail_it_is_a_failure(home: Home) -> None:
    home.must("repository", "add", "second", "second")
    shutil.rmtree(home.root / "second")
    shutil.rmtree(home.repository)
    for words in (["backup"], ["prune"], ["check"]):
        home.must(*words, code=10)


def test_a_snapshot_is_forgotten_by_name_in_the_repository_that_has_it(home: Home) -> None:
    home.must("repository", "add", "second", "second")
    for text in ("one\n", "two\n"):
        (home.workspace / "SOUL.md").write_text(text)
        home.must("backup")
    ids = {
        name: [row["id"] for row in home.must("snapshots", "--repository", name, "--json").document["snapshots"]]
        for name in ("default", "second")
    }
    for name, other in (("second", "default"), ("default", "second")):
        home.must("forget", ids[name][0], "--grace-hours", "0")
        left = home.must("snapshots", "--repository", name, "--json").document["snapshots"]
        assert [row["id"] for row in left] == ids[name][1:]
        assert other
    home.must("forget", "20200101T000000.000Z-00000000", code=10)
    home.must("check", "--read-data")


def test_damage_is_repaired_from_another_repository(home: Home) -> None:
    home.must("repository", "add", "second", "second")
    home.must("backup")
    before = files_of(home.workspace)
    for pack in (home.repository / "packs").iterdir():
        pack.write_bytes(pack.read_bytes()[:100])
    home.must("check", code=30)
    home.must("check", "--repair", "--repository", "default")
    home.must("check", "--read-data")
    home.must("restore", "--to", "back")
    assert files_of(home.root / "back") == before


def test_damage_without_another_repository_is_named_and_the_rest_salvaged(home: Home) -> None:
    (home.workspace / "large.bin").write_bytes(os.urandom(3 << 20))
    home.must("backup")
    (home.workspace / "later.md").write_text("later\n" * 100)
    home.must("backup")
    lists = {
        path.name: path.read_text()
        for path in (home.repository / "snapshots").iterdir()
        if path.suffix == ".packs"
    }
    packs = [home.repository / line.split()[1] for line in lists[min(lists)].splitlines()]
    pack = max(packs, key=lambda path: path.stat().st_size)  # the one with the large file
    pack.write_bytes(pack.read_bytes()[:-1])
    home.must("restore", "--to", "refused", code=30)
    assert not (home.root / "refused").exists()
    saved = home.must("restore", "--to", "saved", "--salvage", code=3)
    assert "large.bin` is damaged in the repository: not restored" in saved.err
    assert (home.root / "saved/later.md").exists()
    repaired = home.run("-C", str(home.workspace), "check", "--repair")
    assert repaired.code == 30 and "has lost `large.bin`" in repaired.err
    saved = home.must("restore", "--to", "after", "--salvage", code=3)
    assert (home.root / "after/later.md").exists()


def test_a_repair_needs_this_agents_own_host(home: Home) -> None:
    home.must("backup")
    home.must("check", "--repair", "--kit", KIT, code=2)
    home.must("check", "--repair", "--no-key", code=20)
    home.must("check", "--read-data")


def test_a_secret_is_waived_by_name_and_then_stored(home: Home) -> None:
    (home.workspace / "notes.md").write_text(f"one\n{TOKEN}\n")
    refused = home.must("backup", code=21)
    assert "`notes.md:2`" in refused.err and TOKEN not in refused.err
    (command,) = re.findall(r"antsmem waive (\S+)", refused.err)
    home.must("waive", command, "--reason", "an example that is public")
    stored = home.must("backup")
    assert "stored, as was waived" in stored.err and TOKEN not in stored.err + stored.out
    (home.workspace / "other.md").write_text(f"{TOKEN}\n")
    home.must("backup", code=21)


@pytest.mark.parametrize("where", ["agent/backups", "agent", ".", "link/inside", "file://{root}/agent/%62ackups",
                                   "file://localhost{root}/agent/backups"])  # fmt: skip
def test_a_repository_in_the_workspace_and_the_reverse_are_refused(home: Home, where: str) -> None:
    os.symlink(home.workspace, home.root / "link")
    url = where.format(root=home.root)
    ran = home.must("repository", "add", "wrong", url, code=2)
    assert "lie in one another" in ran.err
    ran = home.must("backup", "--repository", url if "/" in url else f"./{url}", code=2)
    assert "lie in one another" in ran.err
    assert not (home.workspace / "backups").exists() and not (home.workspace / "inside").exists()


def test_a_failed_init_leaves_no_identity_and_loses_no_kit(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied/repository.json").write_text("{}")
    for words in (
        ["--repository", "agent/inside", "--recovery-out", KIT],
        ["--repository", "gopher://example.org/x", "--recovery-out", KIT],
        ["--repository", "occupied", "--recovery-out", KIT],
        ["--recovery-out", "nowhere/kit"],
        ["--recovery-out", "agent/kit"],
    ):
        ran = home.run("init", "agent", *words)
        assert ran.code in {2, 11, 42}, ran
        assert not (home.workspace / ".antsmem").exists() and not (tmp_path / KIT).exists(), words
    home.init()
    home.must("backup")


def test_prune_counts_what_the_agents_settings_say(home: Home) -> None:
    settings = home.workspace / ".antsmem/agent.yaml"
    text = re.sub(
        r"(  hot:\n(?:    every: .*\n)?    keep:\n)(?:      .*\n)+", r"\1      newest: 3\n", settings.read_text()
    )
    settings.write_text(text)
    for number in range(5):
        (home.workspace / "SOUL.md").write_text(f"{number}\n")
        home.must("backup")
    ids = home.ids
    assert len(home.must("prune", "--dry-run", "--json").document["repositories"][0]["forgotten"]) == 2
    assert home.ids == ids
    home.must("prune", "--grace-hours", "0")
    assert home.ids == ids[-3:]
    home.must("check", "--read-data")


def test_an_older_repository_is_trusted_again_only_when_told_so(home: Home) -> None:
    home.must("backup")
    place = home.repository
    shutil.copytree(place, home.root / "older")
    (home.workspace / "SOUL.md").write_text("newer\n")
    home.must("backup")
    shutil.rmtree(place)
    shutil.copytree(home.root / "older", place)
    for words in (["backup"], ["snapshots"], ["prune"], ["check"]):
        home.must(*words, code=31)
    home.must("check", "--accept-older")
    home.must("backup")
    home.must("check", "--read-data")


def test_relative_places_of_the_environment_are_ignored(home: Home) -> None:
    before = sorted(path.name for path in home.workspace.iterdir())
    more = {"XDG_STATE_HOME": "rel", "XDG_CONFIG_HOME": "rel", "XDG_DATA_HOME": ""}
    ran = home.run("-C", "agent", "backup", more=more)
    assert ran.code == 0, ran
    assert sorted(path.name for path in home.workspace.iterdir()) == before and not (home.root / "rel").exists()


@pytest.mark.parametrize("told", ["", "relative"])
def test_a_home_that_is_no_absolute_path_is_looked_up(tmp_path: Path, told: str) -> None:
    looked_up = Context(Options(), {"HOME": told}).config_dir
    assert looked_up == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".config/antsmem"
    absolute = {"HOME": told, "XDG_CONFIG_HOME": str(tmp_path)}
    assert Context(Options(), absolute).config_dir == tmp_path / "antsmem"


def test_a_workspace_is_configured_under_its_plain_path(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    assert home.run("init", "elsewhere/../agent", "--recovery-out", KIT).code == 0
    (config,) = (home.home / ".config/antsmem/agents").iterdir()
    assert f'workspace: "{home.workspace}"' in config.read_text()


def test_prune_removes_nothing_outside_of_the_workspace(home: Home) -> None:
    """A workspace may come from anywhere: the place for replaced files may be a link to the user's own."""
    home.must("backup")
    (home.root / "mine").mkdir()
    (home.root / "mine/thesis.md").write_text("years of work\n")
    (home.workspace / ".antsmem/replaced").symlink_to(home.root / "mine")
    assert home.must("prune", "--json").document["replaced"] == []
    assert (home.root / "mine/thesis.md").exists()


def test_a_path_that_was_away_for_a_while_or_has_two_names_is_found_as_it_was(home: Home) -> None:
    one, two = home.workspace / "one.md", home.workspace / "two.md"
    for content in ("same\n", None, "same\n", "other\n"):
        one.unlink(missing_ok=True)
        two.unlink(missing_ok=True)
        if content:
            one.write_text(content)
            os.link(one, two)
        home.must("backup")
    ids = home.ids
    runs = [(5, ids[0], ids[0]), (5, ids[2], ids[2]), (6, ids[3], ids[3])]
    for name in ("one.md", "two.md"):
        found = home.must("find", name, "--json").document["versions"]
        assert [(row["size_bytes"], row["first"], row["last"]) for row in found] == runs
    assert home.must("diff", ids[2], ids[3]).out.splitlines()[-2:] == ["M one.md", "M two.md"]


def test_a_restore_into_the_directory_one_stands_in(home: Home) -> None:
    home.must("backup")
    (home.root / "new").mkdir()
    ran = home.run("-C", str(home.workspace), "restore", "--to", ".", before=lambda: os.chdir("new"))
    assert ran.code == 0 and files_of(home.root / "new") == files_of(home.workspace)


def test_what_a_restore_cannot_mean_is_refused_before_anything_is_fetched(home: Home) -> None:
    home.must("backup")
    for words, said in (
        (("--at", "2 days ago", home.ids[0], "--to", "a"), "which one"),
        (("--at", "2 days ago", "cold", "--to", "a"), "which one"),
        (("--in-place", "--salvage"), "--salvage goes with --to"),
    ):
        assert said in home.must("restore", *words, code=2).err
    assert not (home.root / "a").exists()


def test_a_secret_in_a_name_or_a_link_is_refused_with_a_hint_that_is_true(home: Home) -> None:
    for make in (
        lambda: (home.workspace / f"notes {TOKEN}.md").write_text("nothing\n"),
        lambda: (home.workspace / "link").symlink_to(f"/srv/{TOKEN}"),
    ):
        make()
        for tier in ("hot", "cold"):
            ran = home.must("backup", "--tier", tier, code=21)
            assert "the name of a path or the target of a link holds a github-token" in ran.err
            assert "antsmem waive" not in ran.err and TOKEN not in ran.err
        for path in home.workspace.iterdir():
            if path.is_symlink() or TOKEN in path.name:
                path.unlink()
    home.must("backup")


def test_a_name_is_found_at_any_depth_and_no_longer_name_that_ends_like_it(home: Home) -> None:
    (home.workspace / "deep/er").mkdir(parents=True)
    for path in ("x.md", "deep/er/x.md", "deep/ex.md"):
        (home.workspace / path).write_text("text\n")
    home.must("backup")
    for pattern, paths in (
        ("x.md", ["deep/er/x.md", "x.md"]),
        ("?x.md", ["deep/ex.md"]),
        ("*x.md", ["deep/er/x.md", "deep/ex.md", "x.md"]),
        ("deep/*x.md", ["deep/er/x.md", "deep/ex.md"]),
    ):
        found = home.must("find", pattern, "--json").document["versions"]
        assert [row["path"] for row in found] == paths


def test_a_cold_archive_says_what_opens_it(home: Home) -> None:
    home.must("backup", "--tier", "cold")
    refused = home.must("restore", "cold", "--to", "back", code=20).err
    assert "no key at hand opens cold archive" in refused and "recovery kit" in refused
