"""What is run: one scene or more for each command that there is. A command without one fails the suite by name.

A scene for a new command is one line in `SCENES`: its words, how it ends, and what it may show and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from made_homes import KIT, Home
from planted import STORE_PASSWORD, TEXTS
from scenes_identity import MOVES, RELAYS, REMEMBERED, SECRETS, WAYS_BACK
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


def _with_known_value(home: Home) -> None:
    _with_value(home)
    home.must("scan", "--remember", code=21)


def _with_history(home: Home) -> None:
    home.must("guard")
    with (home.workspace / "MEMORY.md").open("a") as file:
        file.write("- one more fact\n")
    home.must("guard")


def _with_loss(home: Home) -> None:
    (home.workspace / "USER.md").write_text("likes tea\n" * 30)
    home.must("guard")
    (home.workspace / "USER.md").write_text("")


def _with_effect(home: Home) -> None:
    home.must("once", "key", "--", "echo", "hello")


def _with_question(home: Home) -> None:
    home.must("once", "key", "--", "false", code=3)


def _at_work(home: Home) -> None:
    home.must("heartbeat", "take-over")


def _with_work(home: Home) -> None:
    (home.home / ".config/antsmem/config.yaml").write_text('heartbeat:\n  allow:\n    - "*"\n')
    (home.workspace / "HEARTBEAT.md").write_text("- run: echo hello {id=work every=1h}\n")


def _with_damage(home: Home) -> None:
    next((home.repository / "packs").iterdir()).write_bytes(b"damaged")


def _with_key_command(home: Home) -> None:
    (key,) = (home.home / ".config/antsmem/keys").iterdir()
    (home.home / ".config/antsmem/config.yaml").write_text(f'key_sources: ["command:cat {key}"]\n')


_HISTORY = ("pipe", "home/.local/share/antsmem/*/history.git/*")
KEPT: Places = {"memory": _HISTORY, "daily log": _HISTORY}
"""The history keeps the memory, readable, on this host; git gets it through a pipe."""
SHOWN: Places = {**KEPT, "memory": (OUT, *_HISTORY)}
"""A diff of the memory shows it."""
KEY_COMMAND: Places = {"environment": ("env",)}
"""A program that the operator configured runs in the operator's environment."""
WEB = ("--option", f"password=env:{STORE_PASSWORD}", "--option", "username=kevin", "--option", "tls=no")
TOLD: Places = REMEMBERED | {"keystore value": ("agent/TOOLS.md",)}
"""It stands in a file of the agent's; what the agent is told is without it."""
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
            ("recover", "new", "--kit", KIT, "--repository", "REPOSITORY", "--host", "desktop", "--instead"),
            shows=restored("new/*"),
        )
    ],
    "check": [Scene(("check", "--read-data")), Scene(("check", "--read-data"), 30, prepare=_with_damage)],
    "prune": [Scene(("prune", "--grace-hours", "0"))],
    "forget": [Scene(("forget", "OLDEST"))],
    "ls": [Scene(("ls",))],
    "find": [Scene(("find", "*.md"))],
    "show": [Scene(("show", "latest:MEMORY.md"), shows={"memory": (OUT,)})],
    "diff": [Scene(("diff", "OLDEST")), Scene(("diff", "MEMORY.md"), shows=SHOWN, prepare=_with_history)],
    "history": [
        Scene(("history",), shows=KEPT),
        Scene(("history", "MEMORY.md"), shows=KEPT, prepare=_with_history),
    ],
    "undo": [Scene(("undo", "MEMORY.md"), shows=KEPT, prepare=_with_history)],
    "guard": [
        Scene(("guard",), shows=KEPT),
        Scene(("guard",), 3, shows=KEPT, prepare=_with_loss),
        Scene(("guard",), shows=KEPT, prepare=_with_token),
    ],
    "watch": [Scene(("watch", "--once", "--no-backup"), shows=KEPT)],
    "now": [Scene(("now", "--next", "go on"))],
    "doctor": [Scene(("doctor",)), Scene(("doctor", "--fix"), shows=KEPT)],
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
    "heartbeat run": [
        Scene(("heartbeat", "run", "work"), shows=KEY_COMMAND, prepare=_with_work),
        Scene(("heartbeat",), shows=KEY_COMMAND, prepare=_with_work),
    ],
    "heartbeat pause": [Scene(("heartbeat", "pause", "work"), prepare=_with_work)],
    "heartbeat resume": [Scene(("heartbeat", "resume", "work"), prepare=_with_work)],
    "heartbeat approve": [Scene(("heartbeat", "approve"))],
    "heartbeat log": [Scene(("heartbeat", "log"), prepare=_with_effect)],
    "heartbeat resolve": [Scene(("heartbeat", "resolve", "key", "done"), prepare=_with_question)],
    "heartbeat retire": [Scene(("heartbeat", "retire"), prepare=_at_work)],
    "heartbeat take-over": [Scene(("heartbeat", "take-over"))],
    "heartbeat status": [Scene(("heartbeat", "status"), prepare=_with_effect)],
    "heartbeat doctor": [Scene(("heartbeat", "doctor"), 0, TOLD, prepare=_with_known_value)],
    "report": [Scene(("report", "key", "done", "--note", "x"), code=2)],
    "wake": [
        Scene(("wake",), shows=TOLD | restored(OUT), prepare=_with_known_value),
        Scene(("wake",), shows=restored(OUT), prepare=_with_token),
    ],
    "compact": [Scene(("compact",), shows=TOLD | restored(OUT), stdin="known", prepare=_with_known_value)],
    "heartbeat install": [Scene(("heartbeat", "install", "--cron"))],
    "config show": [Scene(("config", "show", "--origin"))],
    **MOVES,
    **SECRETS,
    **WAYS_BACK,
    **RELAYS,
    **MEMORY,
}
