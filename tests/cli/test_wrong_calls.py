"""Goal: no call, however wrong, ends in a traceback or touches what it should not.

Method: calls with missing, foreign, closed and absurd files and arguments, some drawn by hypothesis; each must end
with a code of the list, one line and a hint.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_homes import CLOSED, TRACE, Home

from antsmem.cli.main import COMMANDS

NOBODY = 65534
KNOWN = {0, 2, 3, 10, 11, 12, 20, 21, 30, 31, 40, 41, 42}
ANYTHING = {"init", "recover", "log", "exec", "once", "scan", "watch"}
"""Commands that start any program, look at any tree, or run on."""
ABSURD = [
    [],
    [""],
    ["--help"],
    ["backup", "--help"],
    ["-C"],
    ["-C", "/nonexistent", "backup"],
    ["-C", "/dev/null", "backup"],
    ["-C", "/etc/passwd", "status"],
    ["-C", "", "status"],
    ["backup", "--repository", "/dev/null"],
    ["backup", "--repository", "file:///dev/null"],
    ["backup", "--repository", "file://elsewhere/x"],
    ["backup", "--repository", "file:///a%00b"],
    ["backup", "--repository", "://"],
    ["backup", "--repository", "s3://"],
    ["backup", "--repository", "webdav://"],
    ["backup", "--repository", "sftp://"],
    ["backup", "extra"],
    ["snapshots", "--last", "-1"],
    ["snapshots", "--kit", "kit.txt"],
    ["snapshots", "--kit", "/nonexistent", "--repository", "."],
    ["snapshots", "--kit", "/dev/zero", "--repository", "."],
    ["snapshots", "--kit", "agent", "--repository", "."],
    ["snapshots", "--kit", "agent/SOUL.md", "--repository", "."],
    ["restore", "--to", "/dev/null/x"],
    ["restore", "--to", "/proc/nonexistent/x"],
    ["restore", "--to", "x" * 300],
    ["restore", "--to", "x", "--in-place"],
    ["restore", "--at", "the day before", "--to", "x"],
    ["restore", "--at", "99999999999999d", "--to", "x"],
    ["restore", "--at", "0001-01-01", "--to", "x"],
    ["restore", "--path", "../..", "--to", "x"],
    ["restore", "\udcff", "--to", "x"],
    ["recover", "x"],
    ["recover", "agent", "--kit", "kit.txt", "--repository", "."],
    ["recover", "x", "--kit", "kit.txt", "--repository", "/nonexistent"],
    ["check", "--sample", "101"],
    ["check", "--kit", "kit.txt", "--no-key"],
    ["prune", "--grace-hours", "-1"],
    ["forget"],
    ["forget", "latest"],
    ["ls", "nothing"],
    ["find", "["],
    ["find", ""],
    ["show", "latest"],
    ["show", ":"],
    ["show", "latest:"],
    ["show", "latest:memory"],
    ["diff"],
    ["diff", "a", "b"],
    ["repository"],
    ["repository", "add", "Bad Name", "x"],
    ["repository", "add", "default", "x"],
    ["repository", "add", "x", ""],
    ["repository", "add", "x", "agent/inside"],
    ["repository", "add", "x", "y", "--option", "nonsense"],
    ["repository", "add", "x", "y", "--verify", "never"],
    ["repository", "init", "nobody"],
    ["repository", "test", "nobody"],
    ["secret"],
    ["secret", "get"],
    ["secret", "get", "nothing"],
    ["secret", "get", ""],
    ["secret", "get", "a/b", "--show"],
    ["secret", "set", "a b"],
    ["secret", "set", "a", "--class", "other"],
    ["secret", "set", "a", "--fd", CLOSED],
    ["secret", "set", "a", "--fd", "99999999999999999999"],
    ["secret", "set", "a", "--fd", "-1"],
    ["secret", "rotate", "nothing", "--activate"],
    ["secret", "rotate", "a", "--activate", "--pending"],
    ["secret", "revoke", "nothing", "--version", "0"],
    ["secret", "verify", "nothing"],
    ["secret", "import", "/nowhere"],
    ["waive", "SOUL.md", "--reason", "nothing stands there"],
    ["waive", "../kit.txt", "--reason", "outside"],
    ["waive", "nothing.md:1", "--reason", "x"],
    ["waive", "SOUL.md", "--reason", ""],
    ["waive", "SOUL.md", "--reason", "x", "--days", "9999"],
    ["exec"],
    ["exec", "--"],
    ["exec", "--env"],
    ["exec", "--env", "X=secret://../../x", "--", "true"],
    ["exec", "--file", "X=secret://nothing", "--", "true"],
    ["exec", "--ssh-add", "x", "--", "true"],
    ["exec", "--", "agent"],
    ["scan", "/nonexistent"],
    ["scan", "/dev/null"],
    ["scan", ""],
    ["scan", "kit.txt/x"],
    ["scan", "--staged"],
    ["scan", "--history", "kit.txt"],
    ["scan", "\udcff"],
    ["secret"],
    ["secret", "resolve", "x"],
    ["secret", "resolve"],
    ["log"],
    ["log", ""],
    ["config"],
    ["config", "nothing"],
    ["init", "kit.txt"],
    ["init", "/dev/null/x"],
    ["init", "agent"],
    ["init", "new", "--recovery-out", "/nonexistent/kit"],
    ["init", "new", "--recovery-out", "new/kit"],
    ["init", "nothing", "--adopt"],
    ["init", "new", "--json"],
    ["init", "new", "--repository", "gopher://x"],
]


def judge(home: Home, words: list[str], *before: str) -> int:
    ran = home.run(*before, *words)
    assert ran.code in KNOWN and TRACE not in ran.err, (words, ran)
    if ran.code not in {0, 3}:
        assert ran.err, (words, "failed and said nothing")
    return ran.code


@pytest.mark.parametrize(
    "words", ABSURD, ids=lambda words: " ".join(words)[:50].encode("ascii", "replace").decode() or "-"
)
def test_an_absurd_call_is_told_off(shared: Home, words: list[str]) -> None:
    names = set(os.listdir(shared.root))
    where = () if "-C" in words or not words or words[0] in {"init", ""} else ("-C", "agent")
    judge(shared, words, *where)
    assert set(os.listdir(shared.root)) == names, "something was left behind"


@given(
    st.sampled_from(sorted(set(COMMANDS) - ANYTHING)),
    st.lists(
        st.sampled_from(
            ["--to", "--path", "--repository", "--kit", "--json", "-q", "--", "-", "latest", "--dry-run", "--plan"]
        )
        | st.text(st.characters(exclude_characters="\0"), max_size=8),
        max_size=4,
    ),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_mix_of_words_ends_in_a_traceback(shared: Home, command: str, words: list[str]) -> None:
    judge(shared, [command, *words], "-C", "agent")


def test_global_options_stand_before_and_behind_the_command(home: Home) -> None:
    home.must("backup")
    agent = str(home.workspace)
    wanted = home.run("-C", agent, "--json", "ls").out
    for words in (
        ["ls", "-C", agent, "--json"],
        ["--json", "ls", "-C", agent],
        ["--json", "-C", agent, "ls", "-v", "--no-input"],
        ["ls", f"--workspace={agent}", "--json"],
        ["--workspace", agent, "-q", "ls", "--json"],
    ):
        assert home.run(*words).out == wanted
    assert home.run("--json", "ls", more={"ANTSMEM_WORKSPACE": agent}).out == wanted
    literal = home.run("log", "--json", "--", "--json", "-q", "-C", more={"ANTSMEM_WORKSPACE": agent})
    assert literal.code == 0 and literal.document["schema"] == "antsmem.log/1"
    assert "--json -q -C" in next((home.workspace / "memory").glob("*.md")).read_text()


def test_quiet_success_is_silent_and_failure_is_not(home: Home) -> None:
    for words in (["backup"], ["backup", "--tier", "cold"], ["log", "something"]):
        ran = home.must("-q", *words)
        assert (ran.out, ran.err) == ("", ""), words
    (home.workspace / "memory.db").write_bytes(b"SQLite format 3\0".ljust(4096, b"x"))
    loud = home.run("-q", "-C", str(home.workspace), "backup")
    assert loud.code == 3 and loud.out == "" and "memory.db" in loud.err
    assert home.run("-q", "backup").err


def test_color_and_progress_stay_away_where_nobody_watches(home: Home) -> None:
    (home.workspace / "[bold]markup.md").write_text("[red]not markup[/red]\n")
    for words in (
        ["backup"],
        ["ls"],
        ["status"],
        ["snapshots"],
        ["check"],
        ["show", "latest:[bold]markup.md"],
    ):
        ran = home.run("-C", str(home.workspace), *words)
        assert "\x1b" not in ran.out + ran.err
    assert "[bold]markup.md" in home.must("ls").out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_told_that_he_may_not() -> None:
    home = Home(Path(mkdtemp()))
    try:
        home.init()
        home.must("backup")
        for place in (home.root, home.home, home.workspace, home.workspace / ".antsmem"):
            place.chmod(0o755)
        for words in (["backup"], ["status"], ["snapshots"], ["restore", "--to", "x"], ["check"], ["log", "x"]):
            ran = home.run("-C", str(home.workspace), *words, user=NOBODY)
            assert ran.code in KNOWN - {0} and TRACE not in ran.err, (words, ran)
    finally:
        shutil.rmtree(home.root)


@pytest.mark.parametrize("name", ["identity/did.jsonl", "keystore/keystore.age", "agent.yaml"])
@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\xfe\x00", b"{}\n" * 9])
def test_own_files_that_are_damaged_are_named(home: Home, name: str, content: bytes) -> None:
    home.must("backup")
    (home.workspace / ".antsmem" / name).write_bytes(content)
    for words in (["backup"], ["status"], ["snapshots"], ["check"]):
        ran = home.run("-C", str(home.workspace), *words)
        reads_settings = words[0] in {"backup", "status"}
        assert TRACE not in ran.err and ran.code in (KNOWN - {0} if reads_settings else KNOWN), (words, ran)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"{}", b'{"head":"x"}', b'{"head":1,"sequence":"y"}', b"\xff"]
)
def test_a_damaged_pin_is_an_error_and_never_forgotten_in_silence(home: Home, content: bytes) -> None:
    home.must("backup")
    (pin,) = (home.home / ".local/state/antsmem").glob("*/pin-*.json")
    pin.write_bytes(content)
    ran = home.run("-C", str(home.workspace), "backup")
    assert ran.code == 30 and str(pin) in ran.err and TRACE not in ran.err


def test_a_damaged_cache_costs_time_and_nothing_else(home: Home) -> None:
    home.must("backup")
    (cache,) = (home.home / ".local/state/antsmem").glob("*/cache-*")
    good = cache.read_bytes()
    for bad in (b"", b"nonsense", good[:-1], good[:40], b"\0" * len(good)):
        cache.write_bytes(bad)
        home.must("backup")
    home.must("check", "--read-data")


@pytest.mark.parametrize("words", [["backup"], ["status"], ["guard"]])
def test_local_state_that_cannot_be_entered_is_named(home: Home, words: list[str]) -> None:
    place = "/" + 300 * "x"
    ran = home.run("-C", str(home.workspace), *words, more={"XDG_STATE_HOME": place})
    assert ran.code == 2 and place in ran.err and TRACE not in ran.err


@pytest.mark.parametrize("option", ["--debounce", "--settle"])
def test_a_pace_that_is_no_number_is_a_wrong_call(home: Home, option: str) -> None:
    ran = home.run("-C", str(home.workspace), "watch", option, "nan")
    assert ran.code == 2 and option in ran.err and TRACE not in ran.err
