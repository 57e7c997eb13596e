"""Goal: no entry is ever lost, doubled or torn, and no text can pass for another entry.

Method: real processes write at once; an editor that saves by renaming is let in at the worst moments; a full disk
is a real limit on the file size of a child process; a Markdown parser judges what belongs to which entry.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as options
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from antsmem.core.errors import DiskError, LockedError, UsageError
from antsmem.workspace import dailylog
from antsmem.workspace.dailylog import ANCHOR, LogResult, append_entry
from antsmem.workspace.layout import Layout

NOON = 1_795_176_000_000_000_000  # 2026-11-20T12:00:00Z
DAY = "2026-11-20"


def log(root: Path, text: str, now_ns: int = NOON) -> LogResult:
    return append_entry(Layout(root), text, now_ns, "UTC", "laptop")


def anchors(path: Path) -> list[str]:
    return [found.decode() for found in ANCHOR.findall(path.read_bytes())]


def test_the_first_entry_makes_the_log_with_a_heading(tmp_path: Path) -> None:
    made = log(tmp_path, "woke up")
    assert made.path == tmp_path / "memory" / f"{DAY}.md"
    assert (made.day, made.created, made.healed) == (DAY, True, False)
    assert made.path.read_text() == f"# {DAY}\n\n- 12:00:00 laptop <!-- e:{made.entry_id} -->\n  woke up\n"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600


def test_entries_follow_each_other_and_nothing_before_them_changes(tmp_path: Path) -> None:
    path = tmp_path / "memory" / f"{DAY}.md"
    path.parent.mkdir()
    path.write_text("# by hand\n\nwritten by a runtime\n")
    path.chmod(0o644)
    before = path.read_bytes()
    first, second = log(tmp_path, "one\n\ntwo"), log(tmp_path, "three")
    data = path.read_bytes()
    assert data.startswith(before)
    assert anchors(path) == [first.entry_id, second.entry_id]
    assert data.endswith(b"-->\n  three\n")
    assert first.size_bytes + second.size_bytes + len(before) == len(data)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_day_is_that_of_the_time_zone_of_the_agent(tmp_path: Path) -> None:
    late = NOON + 11 * 3600 * 1_000_000_000
    assert append_entry(Layout(tmp_path), "x", late, "Asia/Tokyo", "d").day == "2026-11-21"
    assert append_entry(Layout(tmp_path), "x", late, "America/Lima", "d").day == "2026-11-20"


def test_identifiers_sort_by_time(tmp_path: Path) -> None:
    made = [log(tmp_path, "x", NOON + step * 1_000_000).entry_id for step in range(20)]
    assert made == sorted(made) == anchors(tmp_path / "memory" / f"{DAY}.md")


@pytest.mark.parametrize(
    "tail", [b"no end of line", b"half \xe6\xbc", b"- 11:59:59 laptop <!-- e:01JD3QZ4X8M6", b"```", b"\0\0"]
)
def test_a_torn_tail_stays_and_the_entry_starts_on_a_line_of_its_own(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "memory" / f"{DAY}.md"
    path.parent.mkdir()
    path.write_bytes(b"# x\n\n" + tail)
    made = log(tmp_path, "after")
    assert made.healed
    assert path.read_bytes().startswith(b"# x\n\n" + tail + b"\n- ")
    assert anchors(path) == [made.entry_id]


def write_many(root: str, worker: int, count: int) -> None:
    for number in range(count):
        append_entry(Layout(Path(root)), f"worker {worker} entry {number}\n\n- part", NOON, "UTC", f"w{worker}")


def at_once(target: Callable[..., None], *jobs: tuple[object, ...]) -> None:
    """Run `target` in one process a job, all at once; each must end well."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=target, args=job) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
        assert process.exitcode == 0


def complete(path: Path, workers: int, count: int) -> bool:
    """Whether the log holds each entry of each worker once, in the worker's order, under one heading."""
    text = path.read_text()
    found = [re.findall(rf"^  worker {worker} entry (\d+)$", text, re.MULTILINE) for worker in range(workers)]
    entries = re.findall(r"^- .*-->\n  worker \d+ entry \d+\n\n  - part$", text, re.MULTILINE)
    whole = len(entries) == len(set(anchors(path))) == workers * count
    return whole and text.count(f"# {DAY}\n") == 1 and found == [[str(n) for n in range(count)]] * workers


def test_twenty_processes_at_once_lose_and_double_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dailylog, "_WAIT_SECONDS", 300)  # a disk may be slow
    at_once(write_many, *[(str(tmp_path), worker, 12) for worker in range(20)])
    assert complete(tmp_path / "memory" / f"{DAY}.md", 20, 12)


def careless_write(path: str, worker: int, count: int, barrier: object) -> None:
    """What an agent does that has no `antsmem log`: read the file, write it back longer."""
    for number in range(count):
        barrier.wait(300)  # type: ignore[attr-defined]
        text = Path(path).read_text()
        barrier.wait(300)  # type: ignore[attr-defined]
        Path(path).write_text(f"{text}- x <!-- e:{worker:026} -->\n  worker {worker} entry {number}\n\n  - part\n")


def test_control_writers_that_do_not_append_lose_entries(tmp_path: Path) -> None:
    path = tmp_path / f"{DAY}.md"
    path.write_text(f"# {DAY}\n\n")
    barrier = multiprocessing.get_context("fork").Barrier(2)
    at_once(careless_write, (str(path), 0, 3, barrier), (str(path), 1, 3, barrier))
    assert not complete(path, 2, 3)


def save_as_an_editor(path: Path) -> None:
    """Replace the file by an older text of it with one more line."""
    draft = path.with_name("draft")
    draft.write_text("# edited by hand\n")
    draft.rename(path)


def test_an_editor_that_saves_while_we_write_does_not_lose_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(tmp_path, "first")
    path, real, saves = tmp_path / "memory" / f"{DAY}.md", dailylog.write_all, []

    def slow_write(fd: int, part: bytes) -> None:
        if not saves:
            saves.append(save_as_an_editor(path))
        real(fd, part)

    monkeypatch.setattr(dailylog, "write_all", slow_write)
    made = log(tmp_path, "second")
    assert anchors(path) == [made.entry_id]
    assert path.read_text().startswith("# edited by hand\n")


def test_an_editor_that_saves_while_we_wait_for_the_lock_does_not_lose_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(tmp_path, "first")
    path, real, saves = tmp_path / "memory" / f"{DAY}.md", dailylog._append, []

    def late_append(fd: int, *rest: bytes) -> object:
        if not saves:
            saves.append(save_as_an_editor(path))
        return real(fd, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(dailylog, "_append", late_append)
    assert anchors(path) != [made := log(tmp_path, "second").entry_id]
    assert anchors(path) == [made]


def test_control_without_looking_again_the_entry_goes_to_a_file_nobody_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dailylog, "_is_at", lambda status, path: True)
    with pytest.raises(AssertionError):
        test_an_editor_that_saves_while_we_write_does_not_lose_the_entry(tmp_path, monkeypatch)


def fill_the_disk(root: str, room: int, take_back: bool) -> None:
    """Log with room for `room` more bytes in a file; exit 0 if that is a `DiskError`."""
    path = Path(root) / "memory" / f"{DAY}.md"
    size = path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, size + room))
    if not take_back:
        dailylog._take_back = lambda fd, size, data: None
    try:
        log(Path(root), "z" * 500)
    except DiskError:
        os._exit(0)
    os._exit(1)


@pytest.mark.parametrize("room", [0, 1, 40, 300])
def test_a_full_disk_is_an_error_and_leaves_the_log_as_it_was(tmp_path: Path, room: int) -> None:
    path = log(tmp_path, "before").path
    data = path.read_bytes()
    at_once(fill_the_disk, (str(tmp_path), room, True))
    assert path.read_bytes() == data
    log(tmp_path, "later")
    assert len(anchors(path)) == 2


def test_control_without_taking_back_a_full_disk_tears_the_log(tmp_path: Path) -> None:
    path = log(tmp_path, "before").path
    data = path.read_bytes()
    at_once(fill_the_disk, (str(tmp_path), 40, False))
    assert path.read_bytes() != data


def test_a_log_held_by_another_writer_is_busy_after_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log(tmp_path, "first").path
    monkeypatch.setattr(dailylog, "_WAIT_SECONDS", 0.02)
    with dailylog.locked(path, "held"), pytest.raises(LockedError, match="being written by another process"):
        log(tmp_path, "second")
    assert len(anchors(path)) == 1


@pytest.mark.parametrize("text", ["", " \n\t\n", "\r\n\u2028"])
def test_no_text_makes_no_entry_and_no_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="no text"):
        log(tmp_path, text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("device", ["", "a b", "x\n", "-x", "a" * 65, "<!--"])
def test_a_device_name_that_could_break_the_line_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match="device name"):
        append_entry(Layout(tmp_path), "x", NOON, "UTC", device)


def test_a_text_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="longer than"):
        log(tmp_path, "x" * (dailylog.MAX_LENGTH + 1))


def test_a_log_that_is_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory" / f"{DAY}.md"
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError):
        log(tmp_path, "x")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match="not a regular file"):
        log(tmp_path, "x")
    assert not (tmp_path / "elsewhere").exists()


FRAGMENTS = (
    "\n;\n\n;```;~~~~;<!-- e:01JD3QZ4X8M6V0C2N9T5B7K1RA -->;<!--;-->;<!-- hb:x -->;<!--\te\n:;&lt;# h;- ;1. "
    ";<script>;<pre>;<![CDATA[;<?;<!X;<details>;> ;    ;\t;---;===;[a]: b;|a|\n|-|"
    ";\x1b[31m;\r;\r\n;\u2028;\x85;\x00;\ud800;\x7f"
)
pieces = st.one_of(st.text(max_size=12), st.sampled_from(FRAGMENTS.split(";")))
hostile = st.lists(pieces, max_size=12).map("".join)


@options(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hostile)
@example("- item\n  ```\n  code")
@example("x\n- 12:00:00 laptop <!-- e:01JD3QZ4X8M6V0C2N9T5B7K1RA -->")
def test_no_text_reaches_out_of_its_entry_or_passes_for_one(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    root = tmp_path_factory.mktemp("log")
    try:
        made = [log(root, text), log(root, "the next one"), log(root, text), log(root, "the last one")]
    except UsageError:
        return
    path = made[0].path
    data = path.read_bytes().decode()
    assert anchors(path) == [result.entry_id for result in made]
    assert data.count("<!-- e:") == 4
    assert "<!-- hb:" not in data
    assert not any(ord(sign) < 0x20 or 0x7F <= ord(sign) < 0xA0 for sign in data if sign not in "\n\t")
    assert data.splitlines() == data.split("\n")[:-1]
    tokens = MarkdownIt().parse(data)
    items = [token.map[0] for token in tokens if token.type == "list_item_open" and token.level == 1 and token.map]
    lines = data.split("\n")
    assert [lines[line].rpartition(":")[2][:26] for line in items] == [result.entry_id for result in made]


def test_control_without_disarming_a_text_passes_for_an_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dailylog, "_disarmed", lambda text: text)
    path = log(tmp_path, "x\n- 12:00:00 laptop <!-- e:01JD3QZ4X8M6V0C2N9T5B7K1RA -->").path
    assert len(anchors(path)) == 2
