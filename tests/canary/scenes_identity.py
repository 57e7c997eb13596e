"""What is run of layer 1: secrets, programs that need them, keys, ways back, relays."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from made_homes import KIT, Home
from planted import SECRET, TEXTS
from staging import OUT, Places, Scene, later

from antsmem.core.age import X25519Identity
from antsmem.identity.handover import code_of

VALUE = "keystore value"
SHOWN: Places = {VALUE: (OUT,)}
NEW = TEXTS[VALUE] + "\n"
REQUEST = json.dumps({"protocolVersion": 1, "provider": "antsmem", "ids": [SECRET, "nothing"]})
PROGRAM: Places = {VALUE: ("env", "run/antsmem-exec-*")}
"""A program gets the secrets it was started for, in its environment or in a private file that goes with it."""
REMEMBERED: Places = {"fingerprint key": ("*/fingerprints.json",)}
"""Hashes that are looked up where the keystore is locked need their key beside them."""
GUARDIANS = ("guardian-1.key", "guardian-2.key")
KIT_AND = ("--kit", KIT)


def guardians(home: Home) -> list[str]:
    """Two guardians' recipients; their keys lie in the world."""
    recipients = []
    for name in GUARDIANS:
        key = X25519Identity.generate()
        (home.root / name).write_text(f"{key.secret()}\n")
        recipients.append(str(key.recipient))
    return recipients


def _guarded(home: Home) -> None:
    home.must("recovery", "add-guardian", *guardians(home), "--threshold", "2", *kit_of(home))


def kit_of(home: Home) -> tuple[str, str]:
    """`--kit` with the kit's path."""
    return "--kit", str(home.root / KIT)


def _with_a_newer_epoch(home: Home) -> None:
    ran = home.run("-C", "agent", "backup", before=lambda: later(8))
    assert ran.code == 0, ran


def _with_pending(home: Home) -> None:
    ran = home.run("-C", "agent", "secret", "rotate", SECRET, "--pending", stdin=NEW.encode())
    assert ran.code == 0, ran


def _with_file_of_secrets(home: Home) -> None:
    (home.root / "other.json").write_text(json.dumps({"other": TEXTS[VALUE]}))


def _with_token(home: Home) -> None:
    (home.workspace / "TOOLS.md").write_text(f"deploy with {TEXTS['token']}, mail with {TEXTS[VALUE]}\n")


def _with_runtime_directory(home: Home) -> None:
    Path(home.root / "run").mkdir(mode=0o700)


def forget_all(data: Path) -> None:
    """Empty a relay's database: each world is the first that it hears of."""
    with closing(sqlite3.connect(data / "relay.db")) as database, database:
        for name in ("agents", "keys", "handles", "slots", "items"):
            database.execute(f"DELETE FROM {name}")


def _at_a_relay(home: Home) -> None:
    _with_an_empty_relay(home)
    url = (home.root.parents[1] / "relay").read_text().split("\n")[0]
    home.must("identity", "move", "--relay", url, "--handle", "kevin", *kit_of(home))


def _with_an_empty_relay(home: Home) -> None:
    forget_all(Path((home.root.parents[1] / "relay").read_text().split("\n")[1]))


def _with_a_message(home: Home) -> None:
    _at_a_relay(home)
    ran = home.run("-C", "agent", "relay", "send", scid(home), stdin=TEXTS["message"].encode())
    assert ran.code == 0, ran


def _offered(home: Home) -> None:
    ran = home.run("migrate", "prepare", "--host", "desktop", "--out", "offer")
    assert ran.code == 0, ran


def _handed_over(home: Home) -> None:
    _offered(home)
    code = code_of((home.root / "offer").read_bytes())
    ran = home.run("-C", "agent", "migrate", "finish", "offer", "--code", code, *kit_of(home), "--out", "parcel")
    assert ran.code == 0, ran


def scid(home: Home) -> str:
    """The agent's."""
    (path,) = (home.home / ".config/antsmem/agents").iterdir()
    return path.stem


SECRETS: dict[str, list[Scene]] = {
    "secret set": [Scene(("secret", "set", "other"), stdin=NEW)],
    "secret get": [Scene(("secret", "get", SECRET), shows=SHOWN), Scene(("secret", "get", "nothing"), 10)],
    "secret list": [Scene(("secret", "list"))],
    "secret rotate": [
        Scene(("secret", "rotate", SECRET), stdin=NEW),
        Scene(("secret", "rotate", SECRET, "--activate"), prepare=_with_pending),
    ],
    "secret revoke": [Scene(("secret", "revoke", SECRET, "--reason", "a test"))],
    "secret destroy": [Scene(("secret", "destroy", SECRET))],
    "secret verify": [Scene(("secret", "verify"))],
    "secret import": [
        Scene(("secret", "import", "other.json"), shows={VALUE: ("other.json",)}, prepare=_with_file_of_secrets),
        Scene(("secret", "import"), stdin=f"OTHER='{TEXTS[VALUE]}'\n"),
    ],
    "secret resolve": [Scene(("secret", "resolve"), shows=SHOWN, stdin=REQUEST)],
    "exec": [
        Scene(
            ("exec", "--env", f"A=secret://{SECRET}", "--", "sh", "-c", 'printf "%s" "$A"; printf "%s" "$A" >&2'),
            during=PROGRAM,
        ),
        Scene(
            ("exec", "--file", f"A=secret://{SECRET}", "--", "cat", "/nonexistent"), 1, during=PROGRAM,
            prepare=_with_runtime_directory,
        ),
    ],
    "scan": [
        Scene(("scan",)),
        Scene(("scan", "--remember"), 21, REMEMBERED | {VALUE: ("agent/TOOLS.md",)}, prepare=_with_token),
    ],
}  # fmt: skip
WAYS_BACK: dict[str, list[Scene]] = {
    "identity rotate": [
        Scene(("identity", "rotate", *KIT_AND, "--new-kit", "new-kit"), shows={"kit": ("new-kit",)}),
    ],
    "recovery show": [Scene(("recovery", "show"), prepare=_guarded)],
    "recovery add-guardian": [Scene(("recovery", "add-guardian", *KIT_AND), stdin="GUARDIANS")],
    "recovery drill": [
        Scene(
            ("recovery", "drill", *KIT_AND, "--guardian", GUARDIANS[0], "--guardian", GUARDIANS[1]),
            prepare=_guarded,
        ),
    ],
    "epoch list": [Scene(("epoch", "list"))],
    "epoch destroy": [
        Scene(("epoch", "destroy", "EPOCH", "--yes"), 2),
        Scene(("epoch", "destroy", "EPOCH", "--dry-run"), days=8, prepare=_with_a_newer_epoch),
        Scene(("epoch", "destroy", "EPOCH", "--yes", *KIT_AND), days=8, prepare=_with_a_newer_epoch),
    ],
    "keys rewrap": [Scene(("keys", "rewrap", *KIT_AND))],
}
MOVES: dict[str, list[Scene]] = {
    "migrate prepare": [Scene(("migrate", "prepare", "--host", "desktop"))],
    "migrate finish": [
        Scene(("migrate", "finish", "offer", "--code", "CODE", *KIT_AND, "--out", "parcel"), prepare=_offered)
    ],
    "migrate accept": [
        Scene(
            ("migrate", "accept", "new", "parcel"),
            shows={"memory": ("new/*",), "daily log": ("new/*",)},
            prepare=_handed_over,
        )
    ],
    "migrate-test": [Scene(("migrate-test", "--target", "moon"), 2)],  # it hunts canaries of its own
}
RELAYS: dict[str, list[Scene]] = {
    "identity show": [Scene(("identity", "show"))],
    "identity verify": [
        Scene(("identity", "verify")),
        Scene(("identity", "verify"), prepare=_at_a_relay, afresh=True),
    ],
    "identity resolve": [Scene(("identity", "resolve", "SCID"), prepare=_at_a_relay, afresh=True)],
    "identity export": [Scene(("identity", "export", "--out", "bundle")), Scene(("identity", "export"))],
    "identity move": [
        Scene(("identity", "move", "--relay", "RELAY", *KIT_AND), prepare=_with_an_empty_relay, afresh=True)
    ],
    "relay serve": [
        Scene(("relay", "serve", "--data", "relay-data", "--listen", "127.0.0.1:0"), until_it_speaks=True)
    ],
    "relay register": [Scene(("relay", "register"), prepare=_at_a_relay, afresh=True)],
    "relay status": [Scene(("relay", "status"), prepare=_at_a_relay, afresh=True)],
    "relay send": [Scene(("relay", "send", "SCID"), stdin=TEXTS["message"], prepare=_at_a_relay, afresh=True)],
    "relay inbox": [Scene(("relay", "inbox"), shows={"message": (OUT,)}, prepare=_with_a_message, afresh=True)],
}
