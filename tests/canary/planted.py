"""An agent with a canary in every place that may hold something private, and where each of them may be seen."""

from __future__ import annotations

import base64
import os
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from canaries import Canary
from corpora import secret
from made_homes import KIT, Home
from seeds import SEED

from antsmem.core import age
from antsmem.core.errors import AntsmemError
from antsmem.identity.escrow import open_escrow
from antsmem.identity.keystore import Keystore, open_keystore
from antsmem.identity.log import parse_log
from antsmem.identity.recovery import RecoveryKit

ODD = ' "\\/+ü'
"""Letters that quoting changes."""
LETTERS = base64.b64encode(random.Random(SEED).randbytes(60)).decode().translate(str.maketrans("+/", "xy"))
TEXTS = {
    "memory": f"in the blue tin, {LETTERS[:8]}{ODD} behind the third brick{ODD}",
    "daily log": f"met the locksmith, {LETTERS[8:16]}{ODD} at the old mill{ODD}",
    "keystore value": f"w4v9H{LETTERS[16:28]}{ODD}{LETTERS[20:30]}",
    "environment": f"Ev{LETTERS[30:42]}{ODD}{LETTERS[34:44]}",
    "passphrase": f"nine words{ODD} {LETTERS[44:56]}{ODD}",
    "message": f"meet me at the lighthouse, {LETTERS[12:24]}{ODD} and bring the maps{ODD}",
    "token": secret("gh", "p_", "q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi"),
    "ssh key": secret("-----BEGIN OPENSSH ", "PRIVATE", " KEY-----\n", LETTERS, LETTERS, "\n-----END-----\n"),
}
"""Kind → canary, for those that are a text of ours."""
STORE_PASSWORD = "CANARY_STORE_PASSWORD"
ENVIRONMENT = {STORE_PASSWORD: TEXTS["environment"]}
SECRET = "mail"
PASSPHRASE_KEY = "home/passphrase-key.age"

MAY: dict[str, tuple[str, ...]] = {
    "memory": ("agent/*",),
    "daily log": ("agent/*",),
    "token": ("agent/.env", "agent/TOOLS.md"),
    "ssh key": ("agent/keys/id_ed25519", "home/.ssh/id_ed25519"),
    "host key": ("home/.config/antsmem/keys/*",),
    "kit": (KIT,),
    "op key": (),
    "epoch key": (),
    "next key": (),
    "fingerprint key": (),
    "keystore value": (),
    "environment": (),
    "passphrase": (),
    "message": (),
    "guardian": ("guardian-1.key", "guardian-2.key"),
}
"""Kind → the places, below the world's root, where it may stand whatever is run. It may be seen nowhere else, but
for what a scene asks for."""

_KEY = re.compile("AGE-SECRET-KEY-" + "1[0-9A-Z]{58}")
_TEMP = re.compile(r"\.antsmem-tmp-[0-9a-f]{12}-|\.antsmem-restoring-| \(deleted\)$")


def plant(root: Path) -> Home:
    """The agent, with two hot snapshots and a cold one."""
    home = Home(root)
    home.init()
    files = {
        "MEMORY.md": TEXTS["memory"], "memory/2026-11-20.md": TEXTS["daily log"], ".env": TEXTS["token"],
        "keys/id_ed25519": TEXTS["ssh key"],
    }  # fmt: skip
    for name, text in files.items():
        path = home.workspace / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
    (root / "home/.ssh").mkdir()
    (root / "home/.ssh/id_ed25519").write_text(TEXTS["ssh key"])
    ran = home.run("-C", "agent", "secret", "set", SECRET, stdin=TEXTS["keystore value"].encode())
    assert ran.code == 0, ran
    sealed = age.seal([_host_keys(root)[0].secret().encode()], [age.ScryptRecipient(TEXTS["passphrase"], 2)])
    (root / PASSPHRASE_KEY).write_bytes(b"".join(sealed))
    home.must("backup")
    (home.workspace / "TODAY.md").write_text("changed\n")
    home.must("backup")
    home.must("backup", "--tier", "cold")
    return home


def copy(model: Path, root: Path) -> Home:
    """Another one just like it; the paths in its configuration are put right."""
    shutil.copytree(model, root, symlinks=True)
    for path in (root / "home/.config/antsmem/agents").iterdir():
        path.write_text(path.read_text().replace(str(model), str(root)))
    return Home(root)


def canaries_of(root: Path, shown: str = "") -> Iterator[Canary]:
    """Every secret in the world at `root`: those that were planted, and the keys of all agents that live there,
    also of those that a command has made. `shown`: what it printed, where a new kit may stand."""
    for kind, text in TEXTS.items():
        yield Canary(kind, text.encode())
    hosts, kits = _host_keys(root), _kits(root)
    kits += [RecoveryKit.parse(line).identity for line in _KEY.findall(shown)]
    guardians = _identities(root.glob("guardian-*.key"))
    for kind, keys in (("host key", hosts), ("kit", kits), ("guardian", guardians)):
        for key in keys:
            yield from _age_key(kind, key)
    for place in root.glob("**/.antsmem"):
        for keystore in _opened(place, [*hosts, *kits]):
            yield Canary("op key", keystore.op_key.seed())
            yield Canary("fingerprint key", keystore.fingerprint_key)
    for sealed in root.glob("**/epochs/*.age"):
        with suppress(AntsmemError):
            (key,) = age.parse_identity_file(bytes(age.unseal(sealed.read_bytes(), [*hosts, *kits])).decode())
            assert isinstance(key, age.X25519Identity)
            yield from _age_key("epoch key", key)
    for place in root.glob("**/did.jsonl"):
        for sealed in root.glob("**/*keystore-escrow.age"):
            with suppress(AntsmemError):
                escrow = open_escrow(sealed.read_bytes(), kits, parse_log(place.read_bytes()))
                yield Canary("next key", escrow.next_key.seed())


def may(kind: str, place: str, root: Path, more: dict[str, tuple[str, ...]]) -> bool:
    """Whether a canary of `kind` may be seen at `place`. A half-written file counts as the one it becomes."""
    name = _TEMP.sub("", place.removeprefix(f"{root}/"))
    return any(fnmatch(name, pattern) for pattern in (*MAY[kind], *more.get(kind, ())))


def files_of(root: Path) -> Iterator[tuple[str, bytes]]:
    """(place, bytes) of all that lies below `root`: contents, names, link targets and attributes."""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            yield "name", os.fsencode(name)
            if os.path.islink(path):
                yield "name", os.fsencode(os.readlink(path))
            elif os.path.isfile(path):
                yield path, Path(path).read_bytes()


def _host_keys(root: Path) -> list[age.X25519Identity]:
    return _identities(root.glob("home/.config/antsmem/keys/*.key"))


def _kits(root: Path) -> list[age.X25519Identity]:
    return _identities(path for path in root.glob("*kit*") if path.is_file())


def _identities(paths: Iterator[Path]) -> list[age.X25519Identity]:
    found = []
    for path in paths:
        with suppress(AntsmemError):
            found.append(RecoveryKit.parse(path.read_text()).identity)
    return found


def _age_key(kind: str, key: age.X25519Identity) -> Iterator[Canary]:
    text = key.secret()
    yield Canary(kind, text.encode())
    yield Canary(kind, text.lower().encode())
    yield Canary(kind, key._content)


def _opened(place: Path, keys: list[age.X25519Identity]) -> Iterator[Keystore]:
    with suppress(AntsmemError):
        yield open_keystore(place / "keystore/keystore.age", keys)
