"""What the documentation is held against: the program's commands, read from itself, and the program at work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from antsmem.cli.main import everything

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
ANTSMEM = Path(sys.executable).parent / "antsmem"


def pages() -> list[Path]:
    """All Markdown pages of the project that people read."""
    return [PROJECT / "README.md", PROJECT / "templates" / "README.md", *sorted(DOCS.glob("**/*.md"))]


def commands() -> Iterator[tuple[str, Any]]:
    """(`antsmem repository add`, the command) for everything that can be typed, in the order of `--help`."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        for part, each in getattr(command, "commands", {}).items():
            yield from below(f"{name} {part}", each)
        if not getattr(command, "commands", None):
            yield name, command

    return below("antsmem", typer.main.get_command(everything()))


def table(command: Any) -> list[str]:
    """The rows of a command's arguments and options: how to write it, what it means, its default."""
    return [_row(item) for item in command.params]


def _row(item: Any) -> str:
    written = item.opts[0]
    if not written.startswith("--"):
        written = written.upper() + ("…" if item.nargs != 1 else "")
        written = item.metavar or (written if item.required else f"[{written}]")
    elif not item.is_flag:
        written += f" {item.metavar or _value(item)}"
    default = "" if item.default in (None, "", False) else f"`{item.default}`"
    return f"| `{written}` | {item.help} | {'required' if item.required else default} |"


def _value(item: Any) -> str:
    kind = str(item.type)
    if "Int" in kind:
        return "N"
    return "PATH" if "Path" in kind else {"option": "KEY=VALUE"}.get(item.name, item.name.upper())


@dataclass(frozen=True)
class Terminal:
    """The program in an empty home directory."""

    home: Path

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `antsmem` with `words`, which must exit with `code`."""
        path = os.pathsep.join([str(ANTSMEM.parent), "/usr/local/bin", "/usr/bin", "/bin"])
        environment = {"HOME": str(self.home), "PATH": path, "LANG": "C.UTF-8", "TZ": "UTC"}
        done = subprocess.run(
            [ANTSMEM, *words], cwd=self.home, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, code: int = 0) -> dict[str, Any]:
        """The document that `antsmem --json` prints: on standard output, or a failure on standard error."""
        done = self.run(*words, "--json", code=code)
        found = json.loads(done.stdout or done.stderr)
        assert isinstance(found, dict)
        return found


def sections(text: str, level: str) -> dict[str, str]:
    """Title → text of the sections of a level, each up to the next heading of that or a higher level."""
    end = f"^#{{1,{len(level)}}} |\\Z"
    return dict(re.findall(rf"^{level} (.+?)\n(.*?)(?={end})", text, re.MULTILINE | re.DOTALL))
