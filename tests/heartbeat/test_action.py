"""Goal: an action is gone when its time is over, whatever it does, and costs no memory.

Method: actions that ignore SIGTERM, fork, leave their session, print without end, close everything, hang; with a
shorter time between SIGTERM and SIGKILL than the program gives.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antsmem.heartbeat import action
from antsmem.heartbeat.action import Action, run_action, survivors
from antsmem.heartbeat.runs import Run
from antsmem.heartbeat.states import Ended

LINUX = sys.platform == "linux"
NASTY = {
    "hangs": "import time; time.sleep(600)",
    "ignores-term": "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(600)",
    "forks": "import os,time\nfor _ in range(5): os.fork()\ntime.sleep(600)",
    "leaves-its-session": "import os,time\nif os.fork(): time.sleep(600)\nos.setsid(); time.sleep(600)",
    "leaves-and-ignores": "import os,signal,time\nsignal.signal(15, signal.SIG_IGN)\nif os.fork() == 0:\n"
    " os.setsid()\n if os.fork(): os._exit(0)\ntime.sleep(600)",
    "closes-everything": "import os,time; os.closerange(0, 100); time.sleep(600)",
    "stops-itself": "import os,signal; os.kill(os.getpid(), signal.SIGSTOP)",
}


def run(
    tmp_path: Path, code: str, seconds: float = 0.5, lock: int | None = None
) -> tuple[Ended, bytes, bytes, str]:
    with Run(tmp_path) as files:
        argv = (sys.executable, "-S", "-E", "-c", code)
        what = Action(argv, {"PATH": os.environ["PATH"]}, files.name, seconds, lock)
        ended, _ = run_action(what, files.stdout, files.stderr)
        return ended, *files.printed(), files.name


@pytest.mark.parametrize("name", NASTY)
def test_nothing_outlives_its_time(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action, "GRACE_SECONDS", 0.5)
    ended, _, _, run_name = run(tmp_path, NASTY[name])
    assert ended.late
    assert ended.survivors == () and survivors(run_name) == ()


def test_sigterm_comes_first_and_may_be_used(tmp_path: Path) -> None:
    code = "import signal,sys,time\ndef end(*_): print('tidied', flush=True); sys.exit(3)\n"
    ended, said, _, _ = run(tmp_path, code + "signal.signal(15, end); time.sleep(600)", 1.5)
    assert ended.late and said == b"tidied\n"


@pytest.mark.skipif(not LINUX, reason="only Linux tells")
def test_what_is_left_behind_is_named(tmp_path: Path) -> None:
    code = "import os,time\nif os.fork() == 0:\n os.setsid(); os.closerange(0, 3); time.sleep(600)"
    ended, _, _, _ = run(tmp_path, code, 30)
    assert (ended.code, ended.late, len(ended.survivors)) == (0, False, 1)
    os.kill(ended.survivors[0], signal.SIGKILL)


@pytest.mark.skipif(not LINUX, reason="only Linux tells")
def test_what_a_run_within_a_run_started_belongs_to_both(tmp_path: Path) -> None:
    inner = (
        "import os, sys\nfrom pathlib import Path\n"
        "from antsmem.heartbeat.action import Action, run_action\nfrom antsmem.heartbeat.runs import Run\n"
        "files = Run(Path(sys.argv[1]))\n"
        "what = Action(('sleep', '600'), dict(os.environ), files.name, 600)\n"
        "run_action(what, files.stdout, files.stderr)"
    )
    with Run(tmp_path) as files:
        argv = ("sh", "-c", '"$0" -c "$1" "$2" >/dev/null 2>&1 &', sys.executable, inner, str(tmp_path / "in"))
        ended, _ = run_action(
            Action(argv, {"PATH": os.environ["PATH"]}, files.name, 60), files.stdout, files.stderr
        )
    assert ended.code == 0
    while not (names := [path.name for path in tmp_path.glob("in/*")]) or not survivors(names[0]):
        time.sleep(0.02)
    within, around = survivors(names[0]), survivors(files.name)
    for pid in around:
        os.kill(pid, signal.SIGKILL)
    assert len(within) == 1 and within[0] in around and len(around) == 2


@pytest.mark.skipif(not LINUX, reason="only Linux tells")
def test_who_forgot_its_environment_is_known_by_the_lock(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    code = (
        "import os,subprocess,sys\nsubprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'], "
        f"env={{}}, pass_fds=({lock},), stdout=-3, stderr=-3)"
    )
    ended, _, _, _ = run(tmp_path, code, 30, lock)
    os.close(lock)
    assert ended.code == 0 and len(ended.survivors) == 1
    os.kill(ended.survivors[0], signal.SIGKILL)


def test_endless_output_is_bounded_and_costs_no_memory(tmp_path: Path) -> None:
    size = 1 << 30 if os.environ.get("ANTSMEM_SOAK") == "1" else 100 << 20
    code = (
        f"import os\npart = b'x' * (1 << 20)\nfor _ in range({size >> 20}): os.write(1, part); os.write(2, b'y')"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Run(tmp_path) as files:
        what = Action((sys.executable, "-S", "-c", code), {}, files.name, 60)
        ended, output = run_action(what, files.stdout, files.stderr)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (ended.code, output.cut, output.stdout_bytes) == (0, True, action.STDOUT_BYTES)
    assert (tmp_path / files.name / "stdout").stat().st_size == action.STDOUT_BYTES
    assert output.stderr_bytes == size >> 20
    assert (after - before) * (1024 if LINUX else 1) < 8 << 20


def test_a_full_disk_loses_output_not_the_effect(tmp_path: Path) -> None:
    with Run(tmp_path) as files, open("/dev/full", "r+b", buffering=0) as full:
        what = Action(
            ("sh", "-c", "echo lost; echo kept >&2; exit 7"), {"PATH": os.environ["PATH"]}, files.name, 60
        )
        ended, output = run_action(what, full, files.stderr)
        assert (ended.code, output.cut, output.stdout_bytes, output.stderr_bytes) == (7, True, 0, 5)


def test_an_interrupt_ends_the_action_too(tmp_path: Path) -> None:
    script = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "from antsmem.heartbeat.action import Action, run_action\n"
        "from antsmem.heartbeat.runs import Run\n"
        "def end(*_): raise KeyboardInterrupt\n"
        "signal.signal(15, end)\n"
        "files = Run(Path(sys.argv[1]))\n"
        "print(files.name, flush=True)\n"
        "what = Action(('sleep', '600'), {'PATH': '/usr/bin:/bin'}, files.name, 600)\n"
        "run_action(what, files.stdout, files.stderr)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert caller.stdout is not None
    name = caller.stdout.readline().strip()
    while LINUX and not survivors(name):
        time.sleep(0.01)
    caller.terminate()
    caller.wait()
    caller.stdout.close()
    assert survivors(name) == ()


def test_a_mask_sees_every_part(tmp_path: Path) -> None:
    class Upper:
        held = b""

        def feed(self, part: bytes) -> bytes:
            out, self.held = self.held, part.upper()
            return out

        def end(self) -> bytes:
            return self.held

    with Run(tmp_path) as files:
        what = Action(
            ("sh", "-c", "echo one; sleep 0.1; echo two"), {"PATH": "/usr/bin:/bin"}, files.name, 60, mask=Upper
        )
        run_action(what, files.stdout, files.stderr)
        assert files.printed()[0] == b"ONE\nTWO\n"


def test_outputs_are_private(tmp_path: Path) -> None:
    with Run(tmp_path / "runs") as files:
        assert files.folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in files.folder.iterdir()} == {0o600}
