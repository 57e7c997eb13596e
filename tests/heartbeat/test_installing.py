"""Goal: what wakes the agent is started with exactly the right words, whatever stands in a path, and nothing else
in a crontab or a folder of units is touched.

Method: the lines are read as cron, systemd and launchd read them, the real programs where they are; a stand-in for
`crontab` keeps a table, refuses, loses it.
"""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import DriverMissingError, RefusedError, UsageError
from antsmem.heartbeat.installing import Job, cron_line, launchd_plist, systemd_units, with_cron_line
from antsmem.heartbeat.schedulers import put_cron_line, put_files, remove_files, tell

ODD = "/home/kim/my agents/100% 'sure' \"yes\" $HOME `id` é"
CRONTAB = """#!/bin/sh
case "$1" in
-l) if [ -e "$TABLE" ]; then cat "$TABLE"; else echo "no crontab for kim" >&2; exit 1; fi ;;
-) cat > "$TABLE" ;;
esac
"""


def job(root: str = "/home/kim/kevin", **environment: str) -> Job:
    return Job(("/opt/my tools/antsmem",), Path(root), environment)


def as_cron_reads(line: str) -> str:
    """The command that cron gives to the shell: crontab(5)."""
    command = line.rstrip("\n").split(" ", 5)[5]
    kept, rest = "", command
    while rest:
        if rest.startswith("\\%"):
            kept, rest = kept + "%", rest[2:]
        elif rest[0] == "%":
            break
        else:
            kept, rest = kept + rest[0], rest[1:]
    return kept


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\\\0/", exclude_categories=["C", "Z"]) | st.just(" "))
)
def test_cron_and_its_shell_see_the_words_as_they_are(name: str) -> None:
    made = job(f"/x/{name}y", TZ=f"a{name}")
    try:
        line = cron_line(made)
    except UsageError:
        assert not f"a{name}y".isprintable() or len(name) > 100
        return
    told = 'printf "%s\\0" "$TZ" "$@"'
    command = as_cron_reads(line).replace("'/opt/my tools/antsmem'", f"sh -c '{told}' sh", 1)
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == [f"a{name}", "-C", f"/x/{name}y", "heartbeat"]


def test_control_the_trap_of_cron_is_there() -> None:
    assert "%" not in as_cron_reads("* * * * * echo 100% sure")


@pytest.mark.parametrize("root", ["/x/a\nb", "/x/a\\b", "/x/" + "a" * 1000])
def test_what_no_cron_can_hold_is_refused(root: str) -> None:
    with pytest.raises(UsageError):
        cron_line(job(root))


def test_only_minutes_that_divide_an_hour() -> None:
    assert cron_line(Job(("/a",), Path("/b"), {}, 1)).startswith("* * * * * /a -C /b heartbeat # antsmem-")
    with pytest.raises(UsageError):
        Job(("/a",), Path("/b"), {}, 7)


def test_the_rest_of_a_crontab_stays_as_it_is() -> None:
    mine, other = job(), job("/home/kim/anna")
    table = "# m h\nMAILTO=kim\n*/5 * * * * /bin/true"
    first = with_cron_line(table, mine.name, cron_line(mine))
    both = with_cron_line(first, other.name, cron_line(other))
    assert with_cron_line(both, mine.name, cron_line(mine)) == both
    assert both.startswith(table + "\n") and both.count("antsmem-heartbeat-") == 2
    assert with_cron_line(both, mine.name, "") == table + "\n" + cron_line(other)
    assert with_cron_line(both + both, mine.name, cron_line(mine)).count(mine.name) == 1
    assert with_cron_line(f"# {cron_line(mine)}", mine.name, "") == f"# {cron_line(mine)}"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """A PATH with a `crontab` that keeps its table in a file."""
    program = tmp_path / "bin/crontab"
    program.parent.mkdir()
    program.write_text(CRONTAB)
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "TABLE": str(tmp_path / "table")}


def test_a_crontab_is_written_once_and_taken_back(machine: dict[str, str]) -> None:
    made, table = job(ODD), Path(machine["TABLE"])
    line = cron_line(made)
    assert put_cron_line(made.name, line, machine) and not put_cron_line(made.name, line, machine)
    assert table.read_text() == line
    assert put_cron_line(made.name, "", machine) and table.read_text() == ""
    assert not put_cron_line(made.name, "", machine)


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\n[ $1 = - ] && exit 1\ntrue\n"])
def test_a_crontab_that_cannot_be_seen_or_kept_is_told(machine: dict[str, str], script: str) -> None:
    Path(machine["PATH"].split(":")[0], "crontab").write_text(script)
    with pytest.raises(RefusedError):
        put_cron_line("a", "* * * * * a # antsmem-heartbeat-a\n", machine)


def test_a_machine_without_cron_is_told(tmp_path: Path) -> None:
    with pytest.raises(DriverMissingError, match="crontab"):
        put_cron_line("a", "b", {"PATH": str(tmp_path)})
    assert not tell([("systemctl", "--user")], {"PATH": str(tmp_path)})


@pytest.mark.parametrize("root", ["/home/kim/kevin", ODD, "/home/kim/back\\slash"])
def test_systemd_takes_the_units(tmp_path: Path, root: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the program `systemd-analyze` is not installed: apt install systemd")
    made = Job(("/bin/true",), Path(root), {"PATH": "/usr/bin:/a b/100%", "TZ": "Asia/Tokyo"})
    files = systemd_units(made)
    put_files(tmp_path, {name: text.encode() for name, text in files.items()})
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *(str(tmp_path / name) for name in files)],
        capture_output=True, text=True, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if "antsmem-heartbeat" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_control_systemd_would_have_said_so(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the program `systemd-analyze` is not installed: apt install systemd")
    (tmp_path / "a.service").write_text('[Service]\nType=oneshot\nExecStart="/bin/true" "%\n')
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(tmp_path / "a.service")],
        capture_output=True, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode or done.stderr


def test_launchd_gets_the_same_words() -> None:
    made = job(ODD, PATH="/usr/bin")
    ((name, data),) = launchd_plist(made, Path("/tmp/log")).items()
    read = plistlib.loads(data)
    assert read["ProgramArguments"] == list(made.argv) and read["EnvironmentVariables"] == {"PATH": "/usr/bin"}
    assert name == f"{read['Label']}.plist" and read["StartInterval"] == 300


def test_files_are_written_only_where_they_are_others(tmp_path: Path) -> None:
    files = {"a": b"1", "b": b"2"}
    assert put_files(tmp_path / "new", files) and not put_files(tmp_path / "new", files)
    assert put_files(tmp_path / "new", {**files, "b": b"3"})
    assert remove_files(tmp_path / "new", ["a", "b"]) and not remove_files(tmp_path / "new", ["a", "b"])
