"""Goal: `init` and `recover` that were cut off anywhere are finished by the same command, and lose nothing.

Method: each is killed before every call that changes the disk, and run again: the kit opens the agent, a backup
works, a check finds nothing. The same after a full disk, a Ctrl-C and a wrong option. Controls: a kit that is
written after the identity's log, and a workspace that is filled before its host has keys, must be noticed.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from made_homes import KIT, TRACE, Home, Ran

from antsmem.cli.commands import repository
from antsmem.core.errors import DiskError
from antsmem.identity.files import Placing
from antsmem.identity.recovery import RecoveryKit

CHANGING = ("open", "rename", "link", "unlink", "mkdir", "rmdir")


def dying(step: int, end: Callable[[], object] = lambda: os._exit(9)) -> Callable[[], None]:
    """Let the process end before its `step`-th call, from 0, that changes the disk."""

    def prepare() -> None:
        left = [step]

        def counted(call: Callable[..., object], reads: Callable[..., bool]) -> Callable[..., object]:
            def wrapped(*arguments: object, **options: object) -> object:
                if not reads(*arguments, **options):
                    left[0] -= 1
                    if left[0] == -1:
                        end()
                return call(*arguments, **options)

            return wrapped

        for name in CHANGING:
            reading = _reads if name == "open" else (lambda *_, **__: False)
            setattr(os, name, counted(getattr(os, name), reading))

    return prepare


def _reads(path: object, flags: int, *_: object, **__: object) -> bool:
    return not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)


def struck(
    place: Path, run: Callable[[Home, Callable[[], None] | None], Ran], made: Callable[[Path], Home]
) -> Iterator[Home]:
    """The homes of `made` after `run` was killed in them at its first, second, third … step."""
    for step in range(1000):
        home = made(place / str(step))
        ran = run(home, dying(step))
        if ran.code == 0:
            assert step >= 20
            return
        assert ran.code == 9, ran
        yield home
        shutil.rmtree(home.root)


def init(home: Home, before: Callable[[], None] | None = None, *more: str) -> Ran:
    return home.run("init", "agent", "--recovery-out", KIT, "--repository", "stick", *more, before=before)


def wrong_with(home: Home) -> list[str]:
    """What is not as an agent that was made without an accident has it."""
    wrong = []
    if home.run("-C", "agent", "backup").code or home.run("-C", "agent", "check", "--read-data").code:
        wrong.append("no backup, or a damaged one")
    if home.run("restore", "--to", "back", "--kit", KIT, "--repository", "./stick").code:
        wrong.append("the kit does not open it")
    config = home.home / ".config/antsmem"
    left = [*home.root.glob(".antsmem-tmp-*"), *home.workspace.rglob(".antsmem-tmp-*")]
    left += [*config.glob("keys/[!.]*")][1:] + [*config.glob("agents/[!.]*")][1:]
    wrong += [f"left over: {path}" for path in left]
    return wrong


def test_an_init_that_was_killed_anywhere_is_finished_by_the_same_command(tmp_path: Path) -> None:
    wrong = []
    for number, home in enumerate(struck(tmp_path, init, Home)):
        if (home.workspace / ".antsmem/identity/did.jsonl").exists():
            assert RecoveryKit.parse((home.root / KIT).read_text()).scid
        ran = init(home)
        found = [f"again: {ran}"] if ran.code else wrong_with(home)
        wrong += [f"killed at step {number}: {each}" for each in found]
    assert wrong == [], "\n".join(wrong)


def test_control_a_kit_that_is_written_after_the_log_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[tuple[Path, bytes]] = []
    new, rename = Placing.new, Placing.rename

    def kept_back(placing: Placing, path: Path, data: bytes) -> None:
        late.append((path, data)) if path.name == KIT else new(placing, path, data)

    def then(placing: Placing, source: Path, path: Path) -> None:
        rename(placing, source, path)
        for each in late:
            new(placing, *each)

    monkeypatch.setattr(Placing, "new", kept_back)
    monkeypatch.setattr(Placing, "rename", then)
    noticed = 0
    for home in struck(tmp_path, init, Home):
        log = home.workspace / ".antsmem/identity/did.jsonl"
        noticed += log.exists() and not (home.root / KIT).exists()
    assert noticed


def test_a_full_disk_under_the_kit_is_seen_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path / "full")):
            raise OSError(28, "No space left on device")
        return real(fd, data)

    (tmp_path / "full").mkdir()
    monkeypatch.setattr(os, "write", full)
    ran = home.run("init", "agent", "--recovery-out", "full/kit.txt")
    assert ran.code == 40 and not home.workspace.exists()
    assert list((tmp_path / "full").iterdir()) == []
    assert home.run("init", "agent", "--recovery-out", KIT).code == 0
    assert wrong_with_default(home) == []


def wrong_with_default(home: Home) -> list[str]:
    (home.root / "stick").symlink_to(home.repository)
    return wrong_with(home)


def test_an_init_that_could_not_make_its_repository_is_finished_by_the_same_command(tmp_path: Path) -> None:
    home = Home(tmp_path)

    def full() -> None:
        def failing(*_: object) -> NoReturn:
            raise DiskError("could not write: no space left")

        repository.ensure = failing  # type: ignore[assignment]

    assert init(home, full).code == 40
    kit = (home.root / KIT).read_text()
    again = init(home)
    assert again.code == 0 and "went on" in again.err and (home.root / KIT).read_text() == kit
    assert wrong_with(home) == []
    assert init(home).code == 11


def test_an_unknown_template_leaves_no_directory(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.run("init", "agent", "--template", "nope").code == 2
    assert not home.workspace.exists()


@pytest.mark.parametrize("shown", [True, False])
def test_a_ctrl_c_in_an_init_leaves_no_agent_without_its_kit(tmp_path: Path, shown: bool) -> None:
    words = ("init", "agent") if shown else ("init", "agent", "--recovery-out", KIT)
    for step in range(3, 70, 6):
        home = Home(tmp_path / str(step))
        ran = home.run(*words, before=dying(step, lambda: os.kill(os.getpid(), signal.SIGINT)))
        whole = (home.workspace / ".antsmem/identity/did.jsonl").exists()
        assert ran.code in {0, 130} and TRACE not in ran.err, ran
        assert not whole or "AGE-SECRET-KEY-" in (ran.out if shown else (home.root / KIT).read_text())
        again = home.run(*words)
        assert again.code == (11 if ran.code == 0 else 0), (step, again)


def test_a_kit_of_another_agent_is_never_taken_for_that_of_a_run_that_was_cut_off(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.init()
    kit = (home.root / KIT).read_text()
    assert home.run("init", "other", "--recovery-out", KIT).code == 11
    begun = home.workspace / ".antsmem/identity/did.jsonl"
    folder = home.root / "given/.antsmem/identity"
    folder.mkdir(parents=True)
    shutil.copyfile(begun, folder / "begun.jsonl")  # a stranger's directory says that our agent was begun there
    assert home.run("init", "given", "--recovery-out", KIT).code == 11
    assert home.run("init", "given", "--recovery-out", "given.txt").code == 0
    assert (home.root / KIT).read_text() == kit
    home.must("backup")
