"""Goal: whoever looks from outside sees whether an agent wakes, and what wakes it is installed as it is shown.

Method: a home with stand-ins for `crontab`, `systemctl` and `launchctl` that write down what they are told; wakes
with a clock of the test; a monitor that is a real HTTP server.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from made_homes import TRACE, Home

from antsmem.core import clock

TELLS = '#!/bin/sh\necho "${0##*/} $*" >> "$HOME/told"\n'
CRONTAB = """#!/bin/sh
case $1 in
-l) cat "$HOME/table" 2>/dev/null || { echo no crontab for you >&2; exit 1; } ;;
-) cat > "$HOME/table" ;;
esac
"""
MINUTE = 60_000_000_000


@pytest.fixture
def tools(home: Home) -> Home:
    """A home on a machine with all three schedulers."""
    folder = home.home / "bin"
    folder.mkdir()
    for name, script in (("crontab", CRONTAB), ("systemctl", TELLS), ("launchctl", TELLS)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    home.environment["PATH"] = f"{folder}:{home.environment['PATH']}"
    return home


def told(home: Home) -> list[str]:
    path = home.home / "told"
    return path.read_text().splitlines() if path.exists() else []


def test_what_cron_is_given_is_shown_first_and_runs(tools: Home) -> None:
    shown = tools.must("heartbeat", "install", "--cron")
    assert not (tools.home / "table").exists() and "MAILTO" in shown.err
    (tools.home / "table").write_text("MAILTO=kim\n")
    assert tools.must("heartbeat", "install", "--cron", "--write").out == "written to your crontab\n"
    assert tools.must("heartbeat", "install", "--cron", "--write").out == "your crontab: nothing to change\n"
    assert (tools.home / "table").read_text() == "MAILTO=kim\n" + shown.out
    command = shown.out.split(" ", 5)[5].replace("\\%", "%")
    assert f"-C {tools.workspace} heartbeat" in command and "antsmem-heartbeat-" in command
    bare = {"HOME": str(tools.home), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", command], env=bare, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done
    assert tools.must("heartbeat", "status", "--max-age", "15m").out.startswith("OK - last wake ")
    tools.must("heartbeat", "install", "--cron", "--remove")
    assert (tools.home / "table").read_text() == "MAILTO=kim\n"


def test_systemd_is_told_once_the_units_are_there(tools: Home) -> None:
    shown = tools.must("heartbeat", "install", "--systemd", "--every", "10")
    assert "OnCalendar=*:0/10" in shown.out and told(tools) == []
    tools.must("heartbeat", "install", "--systemd", "--write")
    units = sorted(path.name for path in (tools.home / ".config/systemd/user").iterdir())
    assert [name.rpartition(".")[2] for name in units] == ["service", "timer"]
    assert told(tools) == ["systemctl --user daemon-reload", f"systemctl --user enable --now {units[1]}"]
    tools.must("heartbeat", "install", "--systemd", "--remove")
    assert not list((tools.home / ".config/systemd/user").iterdir())
    assert told(tools)[2:] == [f"systemctl --user disable --now {units[1]}"]
    tools.must("heartbeat", "install", "--systemd", "--remove")


def test_launchd_is_told_too(tools: Home) -> None:
    tools.must("heartbeat", "install", "--launchd", "--write")
    (plist,) = (tools.home / "Library/LaunchAgents").iterdir()
    assert told(tools)[-1] == f"launchctl bootstrap gui/{os.getuid()} {plist}"
    tools.must("heartbeat", "install", "--launchd", "--remove")
    assert not plist.exists()


def test_what_was_written_but_not_told_ends_with_three(tools: Home) -> None:
    (tools.home / "bin/systemctl").write_text("#!/bin/sh\nexit 1\n")
    ran = tools.must("heartbeat", "install", "--systemd", "--write", code=3)
    assert "was not told" in ran.err


@pytest.mark.parametrize(
    "words",
    [[], ["--cron", "--systemd"], ["--cron", "--write", "--remove"], ["--cron", "--every", "7"]],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_refused(tools: Home, words: list[str]) -> None:
    ran = tools.must("heartbeat", "install", *words, code=2)
    assert TRACE not in ran.err and not (tools.home / "table").exists()


def test_a_machine_without_cron_is_told(home: Home) -> None:
    home.environment["PATH"] = "/nowhere"
    assert home.must("heartbeat", "install", "--cron", "--write", code=42).out == ""


def test_odd_paths_arrive_whole(tools: Home) -> None:
    odd = tools.root / "my agent's 100% $HOME"
    tools.workspace.rename(odd)
    line = tools.run("-C", str(odd), "heartbeat", "install", "--cron").out
    words = shlex.split(line.split(" ", 5)[5].replace("\\%", "%"), comments=True)
    assert words[-3:] == ["-C", str(odd), "heartbeat"]


def test_silence_is_seen(home: Home) -> None:
    ran = home.must("heartbeat", "status", "--max-age", "15m", code=3)
    assert ran.out.startswith("ATTENTION: no wake came by - no wake yet")
    home.must("heartbeat")
    assert home.must("heartbeat", "status", "--max-age", "15m").out.startswith("OK")

    def shifted(minutes: int) -> int:
        now = clock.now_ns() + minutes * MINUTE

        def before() -> None:
            clock.now_ns = lambda: now

        words = ("-C", str(home.workspace), "heartbeat", "status", "--max-age", "15m")
        return home.run(*words, before=before).code

    assert [shifted(14), shifted(16), shifted(-60)] == [0, 3, 3]
    found = home.must("heartbeat", "status", "--json").document
    assert found["troubles"] == [] and found["exit"] == 0 and found["age_seconds"] < 600


def test_what_waits_for_a_person_is_seen(home: Home) -> None:
    home.must("once", "post-1", "--", "false", code=3)
    ran = home.must("heartbeat", "status", code=3)
    assert "post-1" in ran.out and "antsmem heartbeat resolve post-1" in ran.out
    (question,) = home.must("heartbeat", "status", "--json", code=3).document["questions"]
    assert (question["key"], question["state"]) == ("post-1", "HELD")
    home.must("heartbeat", "resolve", "post-1", "done")
    home.must("heartbeat", "status")


def test_a_wake_that_fails_each_time_is_seen(home: Home) -> None:
    heartbeat = home.workspace / "HEARTBEAT.md"
    heartbeat.write_text("- Post a joke {evry=4h}\n")
    home.must("heartbeat", code=2)
    ran = home.must("heartbeat", "status", code=3)
    assert ran.out.startswith("ATTENTION: the last wake failed")
    assert home.must("heartbeat", "status", "--json", code=3).document["troubles"] == ["failed"]
    heartbeat.write_text("")
    home.must("heartbeat")
    home.must("heartbeat", "status")


def test_what_a_wake_runs_again_by_itself_waits_for_nobody(home: Home) -> None:
    config = home.home / ".config/antsmem/config.yaml"
    config.write_text('heartbeat:\n  allow: ["*"]\n')
    (home.workspace / "HEARTBEAT.md").write_text("- run: sleep 60 {id=slow every=1h effect=pure timeout=1s}\n")
    home.must("heartbeat", code=5)
    assert "UNKNOWN" in home.must("heartbeat", "log").out
    assert home.must("heartbeat", "status").out.startswith("OK")


def test_a_host_that_does_not_work_is_seen(home: Home) -> None:
    home.must("once", "post-1", "--", "true")
    home.must("heartbeat", "retire")
    assert "retired" in home.must("heartbeat", "status", code=4).out


def test_status_needs_a_workspace_and_a_time_that_is_one(home: Home) -> None:
    assert home.run("heartbeat", "status").code == 10
    assert home.must("heartbeat", "status", "--max-age", "soon", code=2).out == ""


@pytest.fixture
def monitor() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(urlsplit(self.path).path)
            self.send_response(200)
            self.end_headers()  # without a word on how long the body is: nobody reads it
            self.wfile.write(b"OK")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/1b9d6bcd-bbfd", heard
        server.shutdown()


def test_wakes_tell_the_monitor(home: Home, monitor: tuple[str, list[str]]) -> None:
    url, heard = monitor
    config = home.home / ".config/antsmem/config.yaml"
    config.write_text('heartbeat:\n  ping_url: "env:PING"\n  allow:\n    - "true"\n    - "false"\n')
    home.environment["PING"] = url
    (home.workspace / "HEARTBEAT.md").write_text("- a {id=a every=1h effect=pure}\n  run: true\n")
    for _ in range(3):
        home.must("heartbeat")
    assert [path.rpartition("/")[2] for path in heard] == ["start", "0"], "idle wakes are silent for a while"
    (home.workspace / "HEARTBEAT.md").write_text("- b {id=b every=1h effect=pure}\n  run: false\n")
    home.must("heartbeat", code=5)
    assert [path.rpartition("/")[2] for path in heard[2:]] == ["start", "5"]
    shown = home.must("config", "show").out
    assert "env:PING" in shown and url not in shown


def test_a_monitor_that_is_not_there_changes_nothing(home: Home) -> None:
    (home.home / ".config/antsmem/config.yaml").write_text(
        'heartbeat:\n  ping_url: "http://127.0.0.1:9/secret-one"\n'
    )
    ran = home.must("heartbeat")
    assert (ran.out, ran.err) == ("", "")
    assert "secret-one" not in home.must("config", "show").out
    for looked in (home.must("heartbeat", "status"), home.must("heartbeat", "doctor")):
        assert "did not hear the last wake" in looked.out + looked.err, looked
        assert "secret-one" not in looked.out + looked.err


@pytest.mark.parametrize(
    "reference",
    ["ftp://127.0.0.1/secret-one", "env:HTTP_secret-one", "secret://secret-one", "file:/nowhere/secret-one"],
)
def test_an_address_that_is_none_stops_no_wake_and_is_told_to_who_looks(home: Home, reference: str) -> None:
    (home.home / ".config/antsmem/config.yaml").write_text(f'heartbeat:\n  ping_url: "{reference}"\n')
    ran = home.must("heartbeat")
    assert (ran.out, ran.err) == ("", "")
    for looked in (home.must("heartbeat", "status"), home.must("heartbeat", "doctor", code=3)):
        assert "`heartbeat.ping_url` g" in looked.out + looked.err, looked
        assert "secret-one" not in looked.out + looked.err


def test_an_address_that_only_wakes_do_not_find_is_told_until_one_does(
    home: Home, monitor: tuple[str, list[str]]
) -> None:
    (home.home / ".config/antsmem/config.yaml").write_text('heartbeat:\n  ping_url: "env:PING"\n')
    home.must("heartbeat")
    home.environment["PING"] = monitor[0]
    assert "gave the last wake no http address" in home.must("heartbeat", "doctor").out
    home.must("heartbeat")
    assert "ok    monitor" in home.must("heartbeat", "doctor").out
    assert home.must("heartbeat", "status").err == ""
