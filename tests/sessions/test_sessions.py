"""Goal: what the documentation shows on a terminal is what happens. Method: run it, compare line by line.

Every ```console block of README.md, docs/**/*.md and tests/sessions/*.md is run. One file is one terminal: a bash
that starts in an empty home directory, with `antsmem` on its path, no terminal and nothing on standard input.

    ```console
    $ antsmem init kevin --recovery-out kit.txt     a command; the lines below it are its output, stdout and
    kevin is ready in .../kevin                     stderr as they come. `...` stands for any text in a line,
    ...                                             a line of `...` alone for any number of lines, also none
    $ antsmem -C kevin \
    >   backup                                      a command goes on behind `> ` (also for here-documents)
    ```

Every command must exit 0. A comment in the Markdown, right above a block, says what is different:

    <!-- session: exit 21 -->                the block's last command exits with 21
    <!-- session: any output -->             the output is not compared (blocks that show none of it)
    <!-- session: first COMMAND -->          runs before the block, unseen; may stand several times. The function
                                             `sample_agent DIR` makes an agent with a month of life, memories,
                                             a database, some secrets, in about 2 MB
    <!-- session: not run, needs … -->       the block is not run: it needs what a test machine does not have

Blocks in other languages (`sh`, `yaml`, `json`, …) are not run; use them for what is no session.
"""

from __future__ import annotations

import difflib
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 300.0
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
_REMARK = re.compile(r"^ *<!-- session: (?P<text>.*?) -->\s*$")
_SAMPLE = "import sys, pathlib, corpora; corpora.sample_agent(pathlib.Path(sys.argv[1]))"


class SessionError(Exception):
    """A session differs from what its file says, or its file cannot be understood."""


@dataclass(frozen=True)
class Step:
    """A command, the output lines to expect (None: any), its exit code. `line` is where it stands in the file."""

    line: int
    command: str
    expected: tuple[str, ...] | None
    exit_code: int


def steps(text: str) -> list[Step]:
    """What the `console` blocks of a Markdown file say, in order. Raises `SessionError` for an unknown remark."""
    found: list[Step] = []
    remarks: list[tuple[int, str]] = []
    block: list[tuple[int, str]] = []
    opened: re.Match[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if opened:
            if fence and not fence["language"]:
                if opened["language"] == "console":
                    found += _block(block, remarks)
                opened, block, remarks = None, [], []
            else:
                block.append((number, line.removeprefix(opened["indent"])))
        elif fence:
            opened = fence
        elif remark := _REMARK.match(line):
            remarks.append((number, remark["text"]))
        elif remarks and line.strip():
            raise SessionError(f"line {remarks[-1][0]}: no console block right below this remark")
    if opened or remarks:
        raise SessionError("the last block is not closed, or missing below its remark")
    return found


def _block(lines: list[tuple[int, str]], remarks: list[tuple[int, str]]) -> list[Step]:
    exit_code, any_output, found = 0, False, []
    for number, remark in remarks:
        word, _, rest = remark.partition(" ")
        if remark.startswith("not run, needs "):
            return []
        if word == "first":
            found.append(Step(number, rest, None, 0))
        elif word == "exit" and rest.isdecimal():
            exit_code = int(rest)
        elif remark == "any output":
            any_output = True
        else:
            raise SessionError(f"line {number}: `{remark}` is no remark for a session")
    commands: list[tuple[int, list[str], list[str]]] = []
    for number, line in lines:
        if line.startswith("$ "):
            commands.append((number, [line[2:]], []))
        elif not commands:
            raise SessionError(f"line {number}: output before any command: a command begins with `$ `")
        elif (line.startswith("> ") or line == ">") and not commands[-1][2]:
            commands[-1][1].append(line[2:])
        else:
            commands[-1][2].append(line)
    for number, words, output in commands:
        last = number == commands[-1][0]
        expected = None if any_output else tuple(output)
        found.append(Step(number, "\n".join(words), expected, exit_code if last else 0))
    return found


def matches(expected: tuple[str, ...], actual: list[str]) -> bool:
    """Whether `actual` is what `expected` means, `...` being anything."""
    parts = [r"(?:.*\n)*" if line.strip() == "..." else _pattern(line) + "\n" for line in expected]
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in actual)) is not None


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.rstrip().split("...")))


def difference(expected: tuple[str, ...], actual: list[str]) -> str:
    """A diff in which a line of output that fits a line of the file is shown as that line."""
    left = list(expected)
    shown = []
    for line in actual:
        fits = next((each for each in left if each.strip() != "..." and re.fullmatch(_pattern(each), line)), None)
        if fits is not None:
            left = left[left.index(fits) + 1 :]
        shown.append(line if fits is None else fits)
    return "\n".join(difflib.unified_diff(expected, shown, "as written", "as it came", lineterm="", n=9))


class Shell:
    """One bash, fed command by command. Everything it starts ends with it."""

    def __init__(self, home: Path) -> None:
        self._mark = f"=={os.urandom(8).hex()}=="
        self._process = subprocess.Popen(
            [shutil.which("bash") or "bash", "--noprofile", "--norc"],
            cwd=home,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        sample = f"PYTHONPATH={shlex.quote(str(PROJECT / 'tests'))} {shlex.quote(sys.executable)} -c '{_SAMPLE}'"
        self.run(f'sample_agent() {{ {sample} "$1"; }}')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin and self._process.stdout
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def run(self, command: str) -> tuple[int, list[str]]:
        """Run a command; its exit code and the lines it printed."""
        assert self._process.stdin
        self._process.stdin.write(
            f"eval {shlex.quote(command)} </dev/null; printf '%s %d\\n' '{self._mark}' $?\n".encode()
        )
        self._process.stdin.flush()
        output, _, code = self._read_to_mark(command).rpartition(self._mark)
        return int(code), [line.rstrip() for line in output.splitlines()]

    def _read_to_mark(self, command: str) -> str:
        assert self._process.stdout
        read, until = b"", time.monotonic() + PATIENCE_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not re.search(rb"%s \d+\n\Z" % self._mark.encode(), read):
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise SessionError(f"`{command}` did not end in {PATIENCE_SECONDS:.0f} seconds:\n{read!r}")
                part = os.read(self._process.stdout.fileno(), 1 << 16)
                if not part:
                    raise SessionError(f"`{command}` ended the shell:\n{read.decode(errors='replace')}")
                read += part
        return read.decode(errors="replace")


def environment(home: Path) -> dict[str, str]:
    """All that a session knows of this machine."""
    path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
    language = {"LANG": "C.UTF-8", "PYTHONUTF8": "1", "TZ": "UTC", "COLUMNS": "100", "TERM": "dumb"}
    return {"HOME": str(home), "PATH": path, "USER": "kim", **language}


def run_session(text: str, home: Path) -> None:
    """Run a file's session in the empty directory `home`; `SessionError` where something differs."""
    with Shell(home) as shell:
        for step in steps(text):
            code, output = shell.run(step.command)
            where = f"line {step.line}: $ {step.command}"
            if code != step.exit_code:
                came = "\n".join(output)
                raise SessionError(f"{where}\nexited with {code}, not with {step.exit_code}:\n{came}")
            if step.expected is not None and not matches(step.expected, output):
                raise SessionError(f"{where}\n{difference(step.expected, output)}")


def files() -> list[str]:
    """All Markdown files of the project that hold a session."""
    candidates = [PROJECT / "README.md", *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("tests/sessions/*.md")]
    held = [path for path in sorted(candidates) if "```console" in path.read_text("utf-8")]
    return [str(path.relative_to(PROJECT)) for path in held]


@pytest.mark.parametrize("file", files())
def test_a_session_runs_as_written(file: str, tmp_path: Path) -> None:
    wrong = None
    try:
        run_session((PROJECT / file).read_text("utf-8"), tmp_path)
    except SessionError as error:
        wrong = f"{file}, {error}"
    if wrong:
        pytest.fail(wrong, pytrace=False)


def block(*lines: str, remark: str = "") -> str:
    """A Markdown file with one session."""
    above = f"<!-- session: {remark} -->\n" if remark else ""
    return "\n".join(["Words.", "", f"{above}```console", *lines, "```", "", "More words.", ""])


@pytest.mark.parametrize(
    "text",
    [
        block("$ echo one; echo two >&2", "one", "two"),
        block("$ echo 20261120T122306", "2026...06"),
        block("$ seq 9", "1", "...", "9"),
        block("$ true", "..."),
        block("$ export X=kept", "$ cd /", '$ echo "$X $PWD"', "kept /"),
        block("$ cat <<END", "> two", ">", "> lines", "> END", "two", "", "lines"),
        block("$ printf 'no newline at the end'", "no newline at the end"),
        block("$ true", "$ (exit 7)", remark="exit 7"),
        block("$ cat seen", "seen", remark="first echo seen > seen"),
        block("$ antsmem --version", remark="any output"),
        block("$ rocket --launch", remark="not run, needs a rocket"),
        "- in a list:\n  ```console\n  $ echo indented\n  indented\n  ```\n",
        "```sh\nfalse\n```\n",
    ],
)
def test_the_runner_accepts(text: str, tmp_path: Path) -> None:
    run_session(text, tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (block("$ echo one", "two"), r"-two\n\+one"),
        (block("$ seq 3", "1", "2"), r"\+3"),
        (block("$ seq 2", "1", "2", "3"), r"-3"),
        (block("$ seq 3", "1", "...", "4"), r"-4"),
        (block("$ echo unasked"), r"\+unasked"),
        (block("$ false"), "exited with 1, not with 0"),
        (block("$ false", "$ true"), "exited with 1, not with 0"),
        (block("$ true", remark="exit 3"), "exited with 0, not with 3"),
        (block("$ echo 'open"), "exited with"),
        (block("$ exit 0"), "ended the shell"),
        (block("loose"), "output before any command"),
        (block("$ true", remark="skip"), "no remark"),
        ("<!-- session: exit 3 -->\n\nWords.\n", "no console block"),
        ("```console\n$ true\n", "not closed"),
    ],
)
def test_the_runner_refuses(text: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match=complaint):
        run_session(text, tmp_path)


def test_a_difference_shows_matching_lines_as_they_are_written() -> None:
    shown = difference(("id ...", "a", "b"), ["id 4711", "a", "c"])
    assert " id ..." in shown and "-b" in shown and "+c" in shown and "4711" not in shown


def test_a_session_sees_nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTSMEM_WORKSPACE", "/nowhere")
    run_session(block('$ echo "${ANTSMEM_WORKSPACE-unset}"', "unset", '$ [ "$HOME" = "$PWD" ]'), tmp_path)
