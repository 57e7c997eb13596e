"""Goal: a monitor hears of every wake that worked, now and then of one that did not, and nobody else hears it.

Method: a real HTTP server on loopback that answers, redirects, hangs, drips, or is not there; the clock is the
test's, the address comes as an operator writes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from made_journals import FRIDAY

from antsmem.cli import pings
from antsmem.core.errors import BackendError, ConfigError
from antsmem.heartbeat import ping
from antsmem.heartbeat.ping import Pinger, new_run, ping_address, ping_ended, ping_started

MINUTE = 60_000_000_000


class Monitor(BaseHTTPRequestHandler):
    """Writes down what it is asked for. `how` is how it answers."""

    heard: list[str]
    how: str

    def do_GET(self) -> None:
        self.heard.append(self.path)
        if self.how == "hangs":
            time.sleep(120)
        elif self.how == "redirects":
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(200 if self.how == "answers" else 500)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def monitor() -> Iterator[type[Monitor]]:
    class Own(Monitor):
        heard: ClassVar[list[str]] = []
        how = "answers"
        url = ""

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        server.daemon_threads = True
        server.block_on_close = False
        Own.url = f"http://127.0.0.1:{server.server_port}/ping/1b9d6bcd"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Own
        server.shutdown()


def pinger(monitor: type[Monitor], folder: Path) -> Pinger:
    return Pinger(lambda: monitor.url, pings.get, folder / "state" / "ping", 600)  # type: ignore[attr-defined]


def test_a_wake_that_works_tells_when_it_begins_and_how_it_ends(monitor: type[Monitor], tmp_path: Path) -> None:
    who, run = pinger(monitor, tmp_path), new_run()
    assert ping_started(who, run) and ping_ended(who, run, 5, FRIDAY, worked=True)
    first, second = map(urlsplit, monitor.heard)
    assert (first.path, second.path) == ("/ping/1b9d6bcd/start", "/ping/1b9d6bcd/5")
    assert parse_qs(first.query) == parse_qs(second.query) == {"rid": [run]} and UUID(run).version == 4


def test_idle_wakes_tell_now_and_then_and_when_the_code_changes(monitor: type[Monitor], tmp_path: Path) -> None:
    who = pinger(monitor, tmp_path)
    codes = {20: 3, 25: 3, 30: 0}
    for minute in range(0, 60, 5):
        ping_ended(who, new_run(), codes.get(minute, 0), FRIDAY + minute * MINUTE, worked=False)
    told = [urlsplit(path).path.rpartition("/")[2] for path in monitor.heard]
    assert told == ["0", "0", "3", "0", "0", "0"]
    assert ping_ended(who, new_run(), 0, FRIDAY, worked=False), "a clock that was set back keeps nobody silent"


@pytest.mark.parametrize("how", ["redirects", "fails", "hangs"])
def test_what_goes_wrong_is_no_error_and_takes_seconds_at_most(
    monitor: type[Monitor], tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ping, "SECONDS", 0.5 if how == "hangs" else 30)
    monitor.how = how
    who = pinger(monitor, tmp_path)
    assert not ping_ended(who, new_run(), 0, FRIDAY, worked=True)
    assert not ping_ended(who, new_run(), 0, FRIDAY, worked=False)
    until = time.monotonic() + 60
    while len(monitor.heard) < 2 and time.monotonic() < until:  # what was given up may be heard later
        time.sleep(0.01)
    assert len(monitor.heard) == 2 and not any("elsewhere" in path for path in monitor.heard)


def test_names_that_are_slow_to_be_found_do_not_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        asked.set()
        answered.wait(30)
        raise OSError

    monkeypatch.setattr(ping, "SECONDS", -0.9)
    monkeypatch.setattr("socket.getaddrinfo", slow)
    with pytest.raises(BackendError):
        pings.get("http://monitor.invalid/x")
    assert not answered.is_set()
    answered.set()


def test_nobody_there_is_no_error_and_the_address_is_told_nowhere(tmp_path: Path) -> None:
    address = "http://127.0.0.1:9/ping/1b9d6bcd"
    who = Pinger(lambda: address, pings.get, tmp_path / "ping", 600)
    assert not ping_ended(who, new_run(), 0, FRIDAY, worked=True)
    assert not (tmp_path / "ping").exists() and "1b9d6bcd" not in repr(who)
    with pytest.raises(BackendError) as told:
        pings.get(address)
    assert "127" not in str(told.value)


def test_a_query_stays_and_the_path_grows() -> None:
    found = ping_address("https://x.example/api/push/abc/?status=up&msg=", "start", "r")
    assert found == "https://x.example/api/push/abc/start?status=up&msg=&rid=r"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ftp://x/y",
        "file:///etc/passwd",
        "https://",
        "https://u:p@x/y",
        "http://x:port/",
        "http://x/a b",
        "http://[x",
    ],
)
def test_what_is_no_address_is_not_asked_for_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigError) as told:
        ping_address(address, "0", "r")
    assert not address or address not in str(told.value)
