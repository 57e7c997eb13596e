"""What is run: one scene or more for each command that there is. A command without one fails the suite by name.

A scene for a new command is one line in `SCENES`: its words, how it ends, and what it may show and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from made_homes import KIT, Home
from planted import STORE_PASSWORD, TEXTS
from scenes_identity import RELAYS, SECRETS, WAYS_BACK
from scenes_memory import MEMORY
from staging import OUT, Places, Scene

from antsmem.cli.main import everything


def names() -> Iterator[str]:
    """`repository add`, … : every command that can be typed."""

    def below(name: str, command: Any) -> Iterator[str]:
        for part, each in getattr(command, "commands", {}).items():
            yield from below(f"{name} {part}".strip(), each)
        if not getattr(command, "commands", None):
            yield name

    return below("", typer.main.get_command(everything()))


def restored(*places: str) -> Places:
    """What a restore may bring back there."""
    return dict.fromkeys(("memory", "daily log"), places)


def _with_token(home: Home) -> None:
    (home.workspace / "TOOLS.md").write_text(f"deploy with {TEXTS['token']}\n")


def _with_waived_token(home: Home) -> None:
    _with_token(home)
    home.must("waive", "TOOLS.md", "--reason", "a test")


def _with_value(home: Home) -> None:
    (home.workspace / "TOOLS.md").write_text(f"mail: {TEXTS['keystore value']}\n")


def _with_effect(home: Home) -> None:
    home.must("once", "key", "--", "echo", "hello")


def _with_question(home: Home) -> None:
    home.must("once", "key", "--", "false", code=3)


def _at_work(home: Home) -> None:
    home.must("heartbeat", "take-over")


def _with_damage(home: Home) -> None:
    next((home.repository / "packs").iterdir()).write_bytes(b"damaged")


def _with_key_command(home: Home) -> None:
    (key,) = (home.home / ".config/antsmem/keys").iterdir()
    (home.home / ".config/antsmem/config.yaml").write_text(f'key_sources: ["command:cat {key}"]\n')


KEY_COMMAND: Places = {"environment": ("env",)}
"""A program that the operator configured runs in the operator's environment."""
WEB = ("--option", f"password=env:{STORE_PASSWORD}", "--option", "username=kevin", "--option", "tls=no")
SENT: Places = {"environment": ("net",)}
"""The password for a store is sent to the store."""

SCENES: dict[str, list[Scene]] = {
    "init": [
        Scene(("init", "other", "--recovery-out", "other-kit"), shows={"kit": ("other-kit",)}),
        Scene(("init", "other"), shows={"kit": (OUT,)}),
    ],
    "backup": [
        Scene(("backup",)),
        Scene(("backup", "--tier", "cold")),
        Scene(("backup",), 21, prepare=_with_token),
        Scene(("backup",), prepare=_with_waived_token),
        Scene(("backup",), 21, {"keystore value": ("agent/TOOLS.md",)}, prepare=_with_value),
        Scene(("backup",), shows=KEY_COMMAND, prepare=_with_key_command),
    ],
    "snapshots": [Scene(("snapshots",)), Scene(("snapshots", "--kit", KIT, "--repository", "REPOSITORY"))],
    "restore": [
        Scene(("restore", "--to", "there"), shows=restored("there/*")),
        Scene(("restore", "--in-place")),
        Scene(
            ("restore", "cold", "--to", "there", "--kit", KIT, "--repository", "REPOSITORY"),
            shows=restored("there/*"),
        ),
    ],
    "recover": [
        Scene(
            ("recover", "new", "--kit", KIT, "--repository", "REPOSITORY", "--host", "desktop"),
            shows=restored("new/*"),
        )
    ],
    "check": [Scene(("check", "--read-data")), Scene(("check", "--read-data"), 30, prepare=_with_damage)],
    "prune": [Scene(("prune", "--grace-hours", "0"))],
    "forget": [Scene(("forget", "OLDEST"))],
    "ls": [Scene(("ls",))],
    "find": [Scene(("find", "*.md"))],
    "show": [Scene(("show", "latest:MEMORY.md"), shows={"memory": (OUT,)})],
    "diff": [Scene(("diff", "OLDEST"))],
    "repository add": [
        Scene(("repository", "add", "second", "second")),
        Scene(("repository", "add", "web", "WEBDAV", *WEB), 41, SENT),
    ],
    "repository list": [Scene(("repository", "list"))],
    "repository init": [Scene(("repository", "init", "default"))],
    "repository test": [Scene(("repository", "test"))],
    "waive": [Scene(("waive", "TOOLS.md", "--reason", "an example"), prepare=_with_token)],
    "log": [Scene(("log",), stdin=TEXTS["daily log"]), Scene(("log", TEXTS["daily log"]))],
    "status": [Scene(("status",))],
    "once": [
        Scene(("once", "key", "--", "echo", "hello"), shows=KEY_COMMAND),
        Scene(("once", "key", "--", "false"), 3, shows=KEY_COMMAND),
    ],
    "heartbeat plan": [Scene(("heartbeat", "plan"))],
    "heartbeat next": [Scene(("heartbeat", "next"))],
    "heartbeat log": [Scene(("heartbeat", "log"), prepare=_with_effect)],
    "heartbeat resolve": [Scene(("heartbeat", "resolve", "key", "done"), prepare=_with_question)],
    "heartbeat retire": [Scene(("heartbeat", "retire"), prepare=_at_work)],
    "heartbeat take-over": [Scene(("heartbeat", "take-over"))],
    "config show": [Scene(("config", "show", "--origin"))],
    **SECRETS,
    **WAYS_BACK,
    **RELAYS,
    **MEMORY,
}
