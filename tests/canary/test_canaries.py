"""Goal: no command lets a secret out, whatever it is told and however it ends.

Method: canaries stand for memory, logs, values, keys and passphrases; every command runs plainly, with `--json`,
with `-v`, wrongly, without its key, on a full disk, with a bug, and interrupted or killed halfway, under strace.
All that it printed, wrote, sent, named or handed to a child, and all that is left, is searched in every
spelling; what may stand where is said in `planted.MAY` and in the scene. ANTSMEM_SOAK=1 strikes at more places;
ANTSMEM_TEST_SEED says which. The controls are programs that leak, each in its own way, and must be caught.
"""

from __future__ import annotations

import os
import pty
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from canaries import Canary, Hunt, spellings
from leaky import LEAKS, UNVEILED
from made_homes import TRACE, Home
from memory import remove
from planted import ENVIRONMENT, MAY, PASSPHRASE_KEY, TEXTS, canaries_of, copy, files_of, may
from scenes import SCENES, names
from scenes_identity import guardians, scid
from seeds import SEED
from staging import OUT, Scene
from watching import Watched

from antsmem.identity.handover import code_of

SOAK = os.environ.get("ANTSMEM_SOAK") == "1"
STRIKES = 12 if SOAK else 1
CASES = [(name, number) for name in SCENES for number in range(len(SCENES[name]))]

Hit = tuple[str, str, str]
"""Kind of canary, how it was spelt, and where."""


class Stage:
    """A world copied for one run."""

    def __init__(self, watched: Watched, model: Path, root: Path, servers: dict[str, str]) -> None:
        self.watched, self.model, self.root, self.servers = watched, model, root, servers
        self.runs = 0

    def run(self, scene: Scene, *more: str, lost: str = "", **how: Any) -> tuple[dict[str, Any], set[Hit]]:
        """Run `scene` with the words `more` after removing the files `lost`; how it ended and what it let out."""
        self.runs += 1
        root = self.root.with_name(f"world-{self.runs}")
        home = copy(self._prepared(scene), root)
        (root / "tmp").mkdir()
        for path in root.glob(lost) if lost else ():
            path.unlink()
        names = {"REPOSITORY": str(home.repository), "OLDEST": oldest(home), **self.servers, "SCID": scid(home)}
        names["EPOCH"] = min(path.stem for path in home.workspace.glob(".antsmem/keystore/epochs/hot-*.age"))
        names["CODE"] = code_of((root / "offer").read_bytes()) if (root / "offer").exists() else ""
        words = ["-C", "agent", *(names.get(word, word) for word in scene.words)]
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = more
        stdin = "\n".join(guardians(home)) if scene.stdin == "GUARDIANS" else scene.stdin
        order = {
            "root": str(root),
            "words": words,
            "stdin": stdin,
            "until_it_speaks": scene.until_it_speaks,
            "days": scene.days,
        }
        order |= how
        environment = {**ENVIRONMENT, "TMPDIR": str(root / "tmp"), "XDG_RUNTIME_DIR": str(root / "run")}
        ran, seen = self.watched.run(order | {"more": environment})
        printed = ran["out"] + ran["err"]
        hunt = Hunt(canaries_of(root, printed))
        running = [(each.place, each.data, scene.shows | scene.during) for each in seen]
        left = [*files_of(root), (OUT, printed.encode(errors="surrogateescape"))]
        hits = {
            (kind, form, place.removeprefix(f"{root}/"))
            for place, data, shows in (*running, *((place, data, scene.shows) for place, data in left))
            for kind, form in hunt.search(data)
            if not may(kind, place, root, shows)
        }
        return ran, hits

    def _prepared(self, scene: Scene) -> Path:
        """The world in which `scene` begins."""
        place = self.root.with_name(f"scene-{id(scene)}")
        if scene.afresh and place.exists():
            remove(place)
        if not place.exists():
            scene.prepare(copy(self.model, place))
        return place


def oldest(home: Home) -> str:
    """The first snapshot of the first repository."""
    return min(path.stem for path in (home.repository / "snapshots").glob("*.sig"))


@pytest.fixture
def stage(watched: Watched, model: Path, root: Path, webdav: str, relay: str) -> Stage:
    return Stage(watched, model, root, {"WEBDAV": webdav, "RELAY": relay})


def variants(calls: int, dice: random.Random) -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """(name, more words, how) of the ways to run a command that calls `calls` of our functions."""
    yield "json", ("--json",), {}
    yield "verbose", ("-v",), {}
    yield "wrong option", ("--nope",), {}
    yield "without its key", (), {"lost": "home/.config/antsmem/keys/*"}
    yield "full disk", (), {"strike": ["full", 0]}
    for how in ("crash", "crash with a value", "interrupt", "kill"):
        for _ in range(STRIKES):
            at = dice.randrange(1, calls + 1)
            yield f"{how} at {at}", (), {"strike": [how, at]}


def test_every_command_that_there_is_has_a_scene() -> None:
    missing = set(names()) - set(SCENES)
    assert not missing, f"commands without a canary scene in tests/canary/scenes.py: {sorted(missing)}"
    assert not set(SCENES) - set(names())


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_command_lets_no_secret_out(stage: Stage, name: str, number: int) -> None:
    scene = SCENES[name][number]
    dice = random.Random(f"{SEED} {name} {number}")
    ran, hits = stage.run(scene, strike=["", 0])
    assert ran["code"] == scene.code, ran
    assert hits == set(), "plain"
    for variant, more, how in variants(ran["calls"], dice):
        ran, hits = stage.run(scene, *more, **how)
        assert hits == set(), f"{variant}; again with ANTSMEM_TEST_SEED={SEED}"
        if variant.startswith("crash") and ran["code"] == 1:
            assert TRACE in ran["err"]


def test_a_passphrase_is_not_shown(stage: Stage) -> None:
    """Typed at a terminal: not echoed, and nowhere else either."""
    master, slave = pty.openpty()
    heard = bytearray()

    def person() -> None:
        while b"passphrase: " not in heard:
            heard.extend(os.read(master, 100))
        os.write(master, TEXTS["passphrase"].encode() + b"\n")

    def with_passphrase(home: Home) -> None:
        config = home.home / ".config/antsmem/config.yaml"
        config.write_text(f"key_sources: ['passphrase:{home.root / PASSPHRASE_KEY}']\n")

    typing = threading.Thread(target=person, daemon=True)
    typing.start()
    ran, hits = stage.run(Scene(("backup",), prepare=with_passphrase), tty=os.ttyname(slave))
    typing.join(120)
    assert ran["code"] == 0 and hits == set(), (ran, heard)
    assert Hunt([Canary("passphrase", TEXTS["passphrase"].encode())]).search(bytes(heard)) == set()
    os.close(slave)
    os.close(master)


def _anew(home: Home) -> None:
    """Something that has to be packed again."""
    (home.workspace / "MEMORY.md").write_text(f"Again: {TEXTS['memory']}\n")


@pytest.mark.parametrize("name", LEAKS)
def test_control_a_leak_is_found(stage: Stage, name: str) -> None:
    leak = LEAKS[name]
    scene = SCENES["backup"][2 if leak.kind == "token" else 0]
    how = {"strike": ["crash with a value", 1]} if name == UNVEILED else {}
    _, hits = stage.run(replace(scene, prepare=_anew) if scene.code == 0 else scene, leak=name, **how)
    assert any(hit[:2] == (leak.kind, leak.form) and leak.place in hit[2] for hit in hits), hits


def test_control_what_a_scene_may_show_is_a_hit_elsewhere(stage: Stage) -> None:
    for name in ("show", "restore", "init"):
        scene = SCENES[name][0]
        assert {kind for kind, _, _ in stage.run(Scene(scene.words))[1]} == set(scene.shows)


def test_control_half_a_secret_is_found_in_every_spelling() -> None:
    for kind, text in TEXTS.items():
        hunt = Hunt([Canary(kind, text.encode())])
        for form, spelt in spellings(text.encode()):
            half = len(spelt) // 2
            for part in (spelt[:half], spelt[half:]):
                assert (kind, form) in hunt.search(b"before " + part + b" behind")
        assert hunt.search(b"nothing of the kind " * 99) == set()
    assert set(TEXTS) <= set(MAY)
