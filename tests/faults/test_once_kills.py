"""Goal: `antsmem once` that is killed at any system call leaves an effect that happens exactly once.

Method: SIGKILL at the entry of a system call of its own process, sent by strace, in eight situations under four
policies. Afterwards the same command runs again until the effect is settled; where it is held, a person looks at
the world and says what is true. The effect must then have happened once (`pure`: at least once), and be DONE.
Sampled: the second run is killed too. Errors: a write that fails with ENOSPC or EIO must not count as done.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from engines import UnavailableError
from launcher import IDLE
from memory import quick_directory
from sampling import SAMPLES, Sampler
from syscalls import Call, Ran, Tracer, strace

import antsmem
from antsmem.cli.commands import effects, once
from antsmem.cli.main import main
from antsmem.core import clock

LOADED = (effects, once)
LAUNCHER = [sys.executable, "-X", "frozen_modules", str(Path(__file__).with_name("once_launcher.py"))]
FRIDAY = 1_795_188_211_000_000_000
DAY = 86_400_000_000_000
POLICIES = ("verify", "hold", "idempotent", "pure")
SITUATIONS = ("first", "second-key", "replay", "died-before", "died-after", "killed", "new-month", "torn")
ACT = {
    "idempotent": 'grep -qxF "$ANTSMEM_KEY" world || echo "$ANTSMEM_KEY" >> world; echo done',
    "": 'echo "$ANTSMEM_KEY" >> world; echo done',
}


@dataclass
class Situation:
    """A world below `root`, as it is before the command under test, which is about the key `k`."""

    name: str
    policy: str
    root: Path
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.saved, self.world = self.root / "saved", self.root / "world"
        code = str(Path(antsmem.__file__).parents[1])
        self.environment = {"HOME": str(self.world), "PATH": os.environ["PATH"], "PYTHONPATH": code}
        self.environment |= {
            "PYTHONHASHSEED": "0",
            "PWD": str(self.world),
            "ANTSMEM_RUN": "",
        }
        self.now_ns = FRIDAY
        self.world.mkdir(parents=True)
        (self.world / "world").touch()
        self._prepare()
        shutil.copytree(self.world, self.saved)

    @property
    def months(self) -> Path:
        return self.world / ".local/state/antsmem/once/journal"

    def words(self, key: str = "k", ending: str = "") -> list[str]:
        """The command."""
        verify = ["--verify", f"grep -qxF {key} {self.world}/world"] if self.policy == "verify" else []
        act = ACT.get(self.policy, ACT[""])
        if self.name == "killed" and not ending and key == "k" and not (self.world / "again").exists():
            ending = "touch again; kill -9 $$"
        script = f"cd {self.world}; {act}; {ending}"
        return ["once", key, "--effect", self.policy, *verify, "--", "sh", "-c", script]

    def argv(self, words: list[str]) -> list[str]:
        return [*LAUNCHER, str(self.now_ns), *words]

    def run(self, words: list[str]) -> Ran:
        """Run it in peace, in a fork: what is imported already need not be."""
        with TemporaryFile() as out, TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                self._become(words, out.fileno(), err.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            out.seek(0)
            err.seek(0)
            return Ran(code, out.read().decode(), err.read().decode())

    def _become(self, words: list[str], out: int, err: int) -> None:
        code = 70
        try:
            for fd, number in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
                os.dup2(fd, number)
            sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode) for n, mode in enumerate("rww"))
            os.environ.clear()
            os.environ.update(self.environment)
            os.chdir("/")
            clock.now_ns = lambda: self.now_ns
            main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except BaseException:  # noqa: BLE001 - as the interpreter would
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def reset(self) -> None:
        shutil.rmtree(self.world)
        shutil.copytree(self.saved, self.world)

    def count(self, key: str = "k") -> int:
        return (self.world / "world").read_text().splitlines().count(key)

    def _prepare(self) -> None:
        if self.name != "first":
            assert self.run(self.words("other")).code == 0
        if self.name == "replay":
            assert self.run(self.words()).code == 0
        if self.name == "died-before":
            self._started()
        if self.name == "died-after":
            self._started()
            (self.world / "world").write_text("other\nk\n")
        if self.name == "new-month":
            assert self.run(["once", "failed", "--", "/nowhere"]).code == 5
            self.now_ns += 30 * DAY
        if self.name == "torn":
            month = next(self.months.iterdir())
            month.write_bytes(month.read_bytes() + b'00000000 {"at":"20')

    def _started(self) -> None:
        """A run of the key that ended right after it was recorded."""
        month = next(self.months.iterdir())
        before = month.read_bytes()
        kept = (self.world / "world").read_bytes()
        assert self.run(self.words()).code == 0
        lines = month.read_bytes()[len(before) :].splitlines(keepends=True)
        month.write_bytes(before + b"".join(lines[:2]))
        (self.world / "world").write_bytes(kept)

    def record(self) -> list[Call]:
        """The calls of the command's own process, in an undisturbed run."""
        self.reset()
        ran, calls = Tracer(self.environment).calls(self.argv(self.words()), every=True)
        assert ran.code in {0, 3, 5}, ran
        return [call for call in calls if call.thread == 0 and (not call.others or call.name in IDLE)]

    def settle(self) -> list[int]:
        """Run it again until it is settled, as a user would; the exit codes."""
        codes: list[int] = []
        until = time.monotonic() + 120
        while len(codes) < 6:
            ran = self.run(self.words())
            assert "Traceback" not in ran.err, ran.err
            if ran.code == 75 and time.monotonic() < until:  # what the killed one started is still at work
                time.sleep(0.02)
                continue
            codes.append(ran.code)
            if ran.code == 0:
                return codes
            if ran.code == 3 and "HELD" in ran.err:
                word = "done" if self.count() else "redo"
                assert self.run(["heartbeat", "resolve", "k", word]).code == 0
        return codes

    def wrong(self) -> list[str]:
        """Settle it, and say what is wrong."""
        codes = self.settle()
        found = [] if codes and codes[-1] == 0 else [f"is not settled: {codes}"]
        if self.count() == 0:
            found.append("lost")
        if self.count() > 1 and self.policy != "pure":
            found.append(f"happened {self.count()} times: {codes}")
        if self.count("other") > 1:
            found.append("the other effect happened again")
        return found


@pytest.fixture(scope="session")
def situations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Situation]]:
    made: dict[tuple[str, str], Situation] = {}
    with quick_directory(tmp_path_factory) as root:

        def give(name: str, policy: str) -> Situation:
            try:
                strace()
            except UnavailableError as error:
                if os.environ.get("ANTSMEM_REQUIRE_SERVERS") == "1":
                    pytest.fail(str(error), pytrace=False)
                pytest.skip(str(error))
            if (name, policy) not in made:
                made[name, policy] = Situation(name, policy, root / f"{name}-{policy}")
                if len(made) == 1:  # bytecode is written now, and not by a run whose calls are counted
                    made[name, policy].record()
                made[name, policy].calls = made[name, policy].record()
            return made[name, policy]

        yield give


@pytest.fixture(params=[f"{name} {policy}" for name in SITUATIONS for policy in POLICIES])
def situation(request: pytest.FixtureRequest, situations: Callable[[str, str], Situation]) -> Situation:
    name, policy = request.param.split()
    return situations(name, policy)


def struck(situation: Situation, call: Call, how: str = "signal=KILL") -> Ran:
    situation.reset()
    return Tracer(situation.environment).struck(situation.argv(situation.words()), call, how)


def test_a_kill_at_any_call_leaves_an_effect_that_happens_once(situation: Situation, sampler: Sampler) -> None:
    changing = [call for call in situation.calls if call.changes]
    others = [call for call in situation.calls if not call.changes]
    chosen = [*sampler.some(changing, 0.5), *sampler.some(others, 0.5)]
    problems = []
    for call in chosen:
        ran = struck(situation, call)
        sampler.count("kills of once", ran.code == -9)
        # How often it looks whether its child has ended is another number each time.
        assert ran.code == -9 or not call.changes, f"{situation.name}: not killed at {call}: {ran}"
        problems += [f"{situation.name} {situation.policy} killed at {call}: {what}" for what in situation.wrong()]
        assert problems == []


def test_a_second_kill_changes_nothing(situation: Situation, sampler: Sampler) -> None:
    if SAMPLES != "all" and sampler.rng.random() > 0.25:
        return
    problems = []
    for _ in range(156 if SAMPLES == "all" else 1):
        first, second = sampler.rng.choices(situation.calls, k=2)
        struck(situation, first)
        Tracer(situation.environment).struck(situation.argv(situation.words()), second, "signal=KILL")
        problems += [
            f"{situation.name} {situation.policy} {first}, {second}: {what}" for what in situation.wrong()
        ]
        sampler.count("double kills of once")
    assert problems == []


def test_a_disk_that_fails_never_makes_it_happen_twice(situation: Situation, sampler: Sampler) -> None:
    names = {"write", "fsync", "mkdir", "link", "rename", "openat"}
    changing = [call for call in situation.calls if call.changes and call.name in names]
    if not changing:
        assert situation.name == "replay"
        return
    problems = []
    for call in sampler.some(changing, 0.5):
        for error in ("ENOSPC", "EIO"):
            ran = struck(situation, call, f"error={error}")
            if "Traceback" in ran.err:
                problems.append(f"{situation.name} {situation.policy} {error} at {call}: {ran.err[-300:]}")
            problems += [f"{situation.name} {situation.policy} {error} {call}: {w}" for w in situation.wrong()]
            sampler.count("failing calls of once")
    assert problems == []
