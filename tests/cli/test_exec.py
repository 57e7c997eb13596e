"""Goal: a program gets its secrets and nobody else does: not by what it prints, nor by what is left behind.

Method: programs that print what they got, in every way; programs and antsmem itself that are signalled, killed and
left without a reader. Controls: the same programs without the mask show the secret, and without the guard a killed
run leaves a file.
"""

from __future__ import annotations

import base64
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_homes import TRACE, Home
from made_secrets import configure, lock, plant

SECRET = "".join(["Zk7Qw2", "Lx9Rt4", "-Vb8Nm1", "Hs6Jd3"])
KEY = "".join(["q7RtZ2", "mVx9KpL4", "sWbN8c"])
ANTSMEM = Path(sys.executable).parent / "antsmem"
SHM = Path("/dev/shm")


@pytest.fixture
def kept(home: Home) -> Home:
    """An agent with two secrets, one of them an object."""
    plant(home, db=SECRET.encode(), account=f'{{"user":"kim","password":"{KEY}"}}'.encode())
    (home.root / "run").mkdir(mode=0o700)  # where no run of another process sweeps
    home.environment["XDG_RUNTIME_DIR"] = str(home.root / "run")
    return home


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    before = set(SHM.glob("antsmem-exec-*"))
    yield
    left = {*SHM.glob("antsmem-exec-*"), *tmp_path.glob("run/antsmem-exec-*")} - before
    for _ in range(2400):  # those of tests in other processes go when they end
        left = {place for place in left if place.exists()}
        if not left:
            break
        time.sleep(0.05)
    assert not left


def started(home: Home, *words: str, **how: object) -> subprocess.Popen[str]:
    command = [str(ANTSMEM), "-C", str(home.workspace), "exec", *words]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen(command, env=home.environment, cwd=home.root, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def gone(pid: int) -> bool:
    """Whether a process has ended, give it a moment."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_program_gets_its_secrets_and_they_are_masked_in_what_it_prints(kept: Home) -> None:
    script = """
echo "plain: $DB"; printf %s "$DB" | base64; printf %s "$DB" | od -An -tx1 | tr -d ' \\n'; echo
cat "$ACCOUNT"; echo; echo "$PASSWORD"; echo "to stderr: $DB" >&2
test "$DB" = "$1" && test "$PASSWORD" = "$2" && stat -c %a "$ACCOUNT"
"""
    ran = kept.run(
        "-C", "agent", "exec", "--env", "DB=secret://db", "--file", "ACCOUNT=secret://account",
        "--env", "PASSWORD=secret://account#password", "--", "sh", "-c", script, "sh", SECRET, KEY,
    )  # fmt: skip
    lines = ran.out.splitlines()
    assert ran.code == 0 and lines[0] == "plain: [secret:db]" and ran.err == "to stderr: [secret:db]\n"
    assert lines[1].startswith("[secret:db]") and lines[2] == "[secret:db]"
    assert lines[3:] == ["[secret:account]", "[secret:account#password]", "600"]


def test_without_the_mask_it_would_show(kept: Home) -> None:
    script = "import antsmem.identity.launch as l\nl.Stream.feed = lambda self, data: data"
    process = kept.start(script, "exec", "--env", "DB=secret://db", "--", "sh", "-c", 'echo "$DB"')
    assert process.communicate()[0] == f"{SECRET}\n"


def test_its_environment_is_clean(kept: Home) -> None:
    more = {"AWS_SECRET_ACCESS_KEY": "other", "WANTED": "yes", "LC_ALL": "C", "ANTSMEM_X": "x"}
    ran = kept.run("-C", "agent", "exec", "--env", "DB=secret://db", "--pass", "WANTED", "--", "env", more=more)
    names = {line.partition("=")[0] for line in ran.out.splitlines()}
    assert {"DB", "WANTED", "PATH", "HOME", "LC_ALL"} <= names
    assert not names & {"AWS_SECRET_ACCESS_KEY", "ANTSMEM_X"}


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)])
def test_its_exit_code_is_ours(kept: Home, script: str, code: int) -> None:
    assert kept.run("-C", "agent", "exec", "--env", "DB=secret://db", "--", "sh", "-c", script).code == code


def test_it_reads_our_standard_input(kept: Home) -> None:
    assert kept.run("-C", "agent", "exec", "--", "cat", stdin=b"\0\xffx\n").out == "\0\udcffx\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--", "/nonexistent"], 10),
        (["--", "/dev/null"], 2),
        (["--", ""], 2),
        ([], 2),
        (["--env", "DB", "--", "true"], 2),
        (["--env", "D B=secret://db", "--", "true"], 2),
        (["--env", "DB=db", "--", "true"], 2),
        (["--env", "DB=secret://nothing", "--", "true"], 10),
        (["--env", "DB=secret://nowhere/x", "--", "true"], 10),
        (["--env", "DB=secret://db#user", "--", "true"], 2),
        (["--env", "DB=secret://account#nothing", "--", "true"], 10),
        (["--env", "X=secret://db", "--file", "X=secret://db", "--", "true"], 2),
        (["--env", "DB=secret://zero", "--", "true"], 2),
        (["--ssh-add", "secret://db", "--", "true"], 41),
        (["--file", "OLD=secret://old", "--", "true"], 10),
        (["--file", "BACK=secret://back", "--", "true"], 2),
    ],
)
def test_a_wrong_call_starts_nothing_and_shows_nothing(kept: Home, words: list[str], code: int) -> None:
    plant(kept, zero=b"a\0b-and-more")
    plant(kept, "revoked", old=SECRET.encode())
    plant(kept, "quarantined", back=SECRET.encode())
    ran = kept.run("-C", "agent", "exec", *words)
    assert ran.code == code and TRACE not in ran.err and SECRET not in ran.err + ran.out, ran


def test_a_locked_host_gives_nothing_but_other_providers_do(kept: Home) -> None:
    configure(kept, 'providers:\n  env:\n    names: "GIVEN"\n')
    lock(kept)
    assert kept.run("-C", "agent", "exec", "--env", "DB=secret://db", "--", "true").code == 20
    given = ["--env", "G=secret://env/GIVEN", "--", "sh", "-c", 'test "$G" = "$0" && echo "$G"', SECRET]
    ran = kept.run("-C", "agent", "exec", *given, more={"GIVEN": SECRET})
    assert (ran.code, ran.out) == (0, "[secret:GIVEN]\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT])
def test_a_signal_reaches_the_program_and_its_answer_comes_back(kept: Home, number: signal.Signals) -> None:
    script = f"trap 'echo got it; exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    process = started(kept, "--file", "DB=secret://db", "--", "sh", "-c", script)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, said = process.communicate(timeout=300)
    assert (process.returncode, out) == (9, "got it\n") and TRACE not in said


@pytest.mark.parametrize("words", [["--file", "DB=secret://db"], ["--env", "DB=secret://db"]])
def test_killed_outright_we_leave_neither_file_nor_program(kept: Home, words: list[str]) -> None:
    script = 'echo $$; echo "$DB"; exec sleep 600'
    process = started(kept, *words, "--", "sh", "-c", script)
    assert process.stdout is not None and process.stderr is not None
    pid, shown = int(process.stdout.readline()), process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert gone(pid)
    give_up = time.monotonic() + 120
    while words[0] == "--file" and Path(shown).parent.exists():
        assert time.monotonic() < give_up, "the file is still there"
        time.sleep(0.02)


def test_killed_with_its_guard_the_next_run_sweeps(kept: Home) -> None:
    process = started(kept, "--file", "DB=secret://db", "--", "sh", "-c", 'echo $$ "$DB"; exec sleep 600')
    assert process.stdout is not None and process.stderr is not None
    pid, path = process.stdout.readline().split()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for each in [str(process.pid), *children]:
        os.kill(int(each), signal.SIGSTOP)
    for each in [str(process.pid), *children]:
        os.kill(int(each), signal.SIGKILL)
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert gone(int(pid))
    assert Path(path).exists(), "the control: without the guard it stays"
    assert kept.run("-C", "agent", "exec", "--file", "DB=secret://db", "--", "true").code == 0
    assert not Path(path).parent.exists()


def test_a_run_is_not_swept_by_another(kept: Home) -> None:
    process = started(
        kept, "--file", "DB=secret://db", "--", "sh", "-c", 'echo "$DB"; read x; cat "$DB"', stdin=-1
    )
    assert process.stdout is not None
    path = Path(process.stdout.readline().strip())
    for _ in range(2):
        assert kept.run("-C", "agent", "exec", "--file", "DB=secret://db", "--", "true").code == 0
    assert path.read_text() == SECRET
    out, _ = process.communicate("go\n", timeout=300)
    assert out == "[secret:db]" and not path.parent.exists()


def test_a_reader_that_goes_away_ends_the_program(kept: Home) -> None:
    script = "echo $$; while :; do echo line; done"
    process = started(kept, "--env", "DB=secret://db", "--", "sh", "-c", script)
    assert process.stdout is not None and process.stderr is not None
    pid = int(process.stdout.readline())
    process.stdout.close()
    assert process.wait(300) == 141 and TRACE not in process.stderr.read()
    process.stderr.close()
    assert gone(pid)


def test_a_program_left_behind_does_not_keep_us(kept: Home) -> None:
    process = started(kept, "--env", "DB=secret://db", "--", "sh", "-c", "sleep 600 & echo $!")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    os.kill(int(out), signal.SIGKILL)


def test_a_prompt_is_seen_before_it_is_answered(kept: Home) -> None:
    script = 'printf "name? Zk"; read name; echo "hello $name $DB"'
    process = started(kept, "--env", "DB=secret://db", "--", "sh", "-c", script, stdin=-1)
    assert process.stdout is not None
    assert process.stdout.read(len("name? Zk")) == "name? Zk"
    assert process.communicate("kim\n", timeout=300)[0] == "hello kim [secret:db]\n"


def test_on_a_terminal_it_can_ask_and_be_interrupted(kept: Home) -> None:
    script = 'trap "echo stopped; exit 5" INT; printf "ask: "; read x; echo "$x $DB"; while :; do sleep 0.05; done'
    words = [str(ANTSMEM), "-C", str(kept.workspace), "exec", "--env", "DB=secret://db", "--", "sh", "-c", script]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(words[0], words, kept.environment)
    seen = b""

    def until(what: bytes) -> None:
        nonlocal seen
        while what not in seen:
            seen += os.read(terminal, 4096)

    until(b"ask: ")
    os.write(terminal, b"answer\n")
    until(b"answer [secret:db]")
    os.write(terminal, b"\x03")
    until(b"stopped")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(terminal)
    assert SECRET.encode() not in seen


def test_no_core_is_dumped_by_the_program_or_by_us(kept: Home) -> None:
    ran = kept.run("-C", "agent", "exec", "--env", "DB=secret://db", "--", "sh", "-c", "ulimit -Hc; ulimit -c")
    assert ran.out == "0\n0\n"
    script = "import atexit; atexit.register(lambda: print(open('/proc/self/limits').read()))"
    said = kept.start(script, "status").communicate()[0]
    (line,) = [line for line in said.splitlines() if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


def test_another_process_of_the_same_user_cannot_look_into_us(kept: Home) -> None:
    script = "import ctypes, atexit; atexit.register(lambda: print('dumpable', ctypes.CDLL(None).prctl(3)))"
    assert "dumpable 0" in kept.start(script, "status").communicate()[0]
    assert "dumpable 1" in kept.start(script, "log", "x").communicate()[0], "the control: nothing was unlocked"


def test_an_ssh_key_is_in_an_agent_of_the_programs_own(kept: Home, tmp_path: Path) -> None:
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kevin", "-f", str(tmp_path / "id")]
    subprocess.run(made, check=True)
    plant(kept, ssh=(tmp_path / "id").read_bytes())
    words = ["--ssh-add", "secret://ssh", "--", "sh", "-c", 'ssh-add -L; echo "$SSH_AUTH_SOCK"']
    ran = kept.run("-C", "agent", "exec", *words)
    public, socket = ran.out.splitlines()
    assert ran.code == 0 and public.split()[1] == (tmp_path / "id.pub").read_text().split()[1]
    assert not Path(socket).parent.exists()


def test_much_output_comes_through_whole_and_masked(kept: Home) -> None:
    noise = base64.b64encode(os.urandom(3_000_000)).decode()
    (kept.root / "noise").write_text(f"{noise}{SECRET}{noise}")
    ran = kept.run("-C", "agent", "exec", "--env", "DB=secret://db", "--", "cat", "noise")
    assert ran.out == f"{noise}[secret:db]{noise}"


def test_a_value_too_short_to_mask_is_named(kept: Home) -> None:
    plant(kept, pin=b"123")
    ran = kept.run("-C", "agent", "exec", "--env", "PIN=secret://pin", "--", "true")
    assert ran.code == 0 and "`pin` is too short to be masked" in ran.err
