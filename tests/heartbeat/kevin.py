"""Kevin: an agent that forgets, a place to post to that takes everything, and the machines on which he lives.

The place is a real HTTP server without any idempotency. The agent is scripted: it gets the prompt of a turn, posts
drafts by `once` as it was told, forgets what it posted, says that it is done or does not, and hangs. A wake is the
program's own, with the clock of the test; one that is to be killed runs in a fork that kills itself.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from struck import strike_at

from antsmem.core.clock import utc_text
from antsmem.core.errors import BusyError, RetiredError
from antsmem.core.wakeconfig import WakeConfig
from antsmem.drivers.file import FileStore
from antsmem.heartbeat import once as work
from antsmem.heartbeat.action import Action, Output
from antsmem.heartbeat.agents import AgentCommand
from antsmem.heartbeat.epoch import Claim, Post
from antsmem.heartbeat.journal import Journal, Places
from antsmem.heartbeat.once import Effect, Host, content_key
from antsmem.heartbeat.plan import Plan, Zone
from antsmem.heartbeat.progress import stand
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.settle import resolve_effect
from antsmem.heartbeat.states import Ended
from antsmem.heartbeat.takeover import doubts
from antsmem.heartbeat.turn import Means
from antsmem.heartbeat.wake import WakeRequest, wake
from antsmem.heartbeat.witness import Gate, StoreWitness
from antsmem.identity.signing import SigningKey
from antsmem.workspace.layout import Layout

START = 1_795_132_800  # 2026-11-20T00:00:00Z
MINUTES, DAYS, HALF = 5, 14, 15
KEY = SigningKey(bytes([0x11]) * 32)
NOTHING = Output(0, 0, False)
ZONE = Zone("UTC", "host")


class Moltbook:
    """The place: every request to post is one more post."""

    def __init__(self) -> None:
        posts: list[tuple[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"])).decode()
                posts.append((text, self.headers["X-Host"]))
                self.answer(b"posted")

            def do_GET(self) -> None:
                text = unquote(self.path.partition("?")[2])
                self.answer(b"%d" % sum(each == text for each, _ in posts))

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.posts = posts
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def post(self, text: str, host: str) -> None:
        self._ask("POST", "/", text.encode(), {"X-Host": host})

    def has(self, text: str) -> bool:
        return self._ask("GET", f"/?{quote(text)}", b"", {}) != b"0"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _ask(self, method: str, path: str, body: bytes, fields: dict[str, str]) -> bytes:
        http = HTTPConnection("127.0.0.1", self._server.server_port, timeout=30)
        try:
            http.request(method, path, body, fields)
            return http.getresponse().read()
        finally:
            http.close()


@dataclass
class Machine:
    """Where Kevin lives. `memory` is what he believes to have posted; `next_at` when something is due there."""

    name: str
    root: Path
    memory: set[str] = field(default_factory=set)
    next_at: int = 0
    retired: int = 0

    @property
    def layout(self) -> Layout:
        return Layout(self.root / self.name)

    @property
    def post(self) -> Post:
        return Post(self.root / f"{self.name}-state", self.layout.journal.parent / "epoch.json", "kevin")

    def journal(self) -> Journal:
        return Journal(Places(self.layout.journal.parent, self.root / f"{self.name}-index"), self.post.born)


class Life:
    """Two weeks of Kevin."""

    def __init__(self, root: Path, seed: int, place: Moltbook) -> None:
        self.root, self.rng, self.place = root, random.Random(seed), place
        self.now = START
        self.killed = self.wakes = self.turns = self.moments = 0
        (root / "witness").mkdir()
        self.witness = StoreWitness(lambda: FileStore.open(f"file://{root}/witness", {}), "kevin")
        self.owner = Machine("laptop", root)
        self.owner.layout.root.mkdir()
        self.data = heartbeat().encode()
        (self.owner.layout.root / "HEARTBEAT.md").write_bytes(self.data)
        self.plan: Plan = read_plan(self.data, ZONE)
        self.take(self.owner)

    @property
    def drafts(self) -> list[str]:
        """The texts that Kevin may post by now."""
        return [draft(number) for number in range(HALF) if START + number * 22 * 3600 + 1800 <= self.now]

    def wake(self, machine: Machine, kill: bool) -> None:
        """One wake there, killed or not."""
        self.wakes += 1
        if not kill:
            self.work(machine)
            return
        moment = self.rng.randrange(1, max(self.moments, 40))
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                counted = strike_at(moment)
                self.work(machine)
                os.write(writer, str(counted()).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            self.moments = int(told.read() or self.moments)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in {0, -9}, f"a wake ended with {code}"
        self.killed += code == -9
        machine.next_at = 0

    def work(self, machine: Machine) -> None:
        """A wake as cron would call it."""
        journal = machine.journal()
        gate = Gate(machine.post, self.witness, lambda: self.now * 10**9)
        host = Host(
            lambda: self.now * 10**9, self.rng.random, lambda kind: gate.enter(journal, kind),
            lambda: machine.post.saw(journal),
        )  # fmt: skip
        environment = {"HOST": machine.name}
        agent = AgentCommand("shell", ("agent",), environment)
        means = Means(machine.layout.root, WakeConfig(allow=(("*",),)), environment, agent, "UTC")
        active: Any = lambda: machine.post.require_active(journal)  # noqa: E731
        asked: Any = lambda: gate.require_all(journal)  # noqa: E731
        request = WakeRequest(
            journal, self.data, self.plan, host, means, active, witness=asked, layout=machine.layout
        )  # fmt: skip
        try:
            result = wake(request)
        except RetiredError:
            machine.retired += 1
            return
        machine.next_at = 0 if result.again or result.next_at is None else result.next_at

    def act(self, what: Action, stdout: Any, _stderr: Any) -> tuple[Ended, Output]:
        """The place of `run_action`."""
        host = what.environment["HOST"]
        if what.argv[0] == "has":
            return Ended(0 if self.place.has(draft_or_task(what.argv[1])) else 1), NOTHING
        if what.argv[0] == "post":
            if self.rng.random() < 0.1:
                return Ended(75), NOTHING
            self.place.post(draft_or_task(what.argv[1]), host)
            return (Ended(0) if self.rng.random() < 0.9 else Ended(None, 9)), NOTHING
        return self.turn(what, host, stdout), NOTHING

    def turn(self, what: Action, host: str, stdout: Any) -> Ended:
        """Kevin's turn: a draft that he believes not to have posted, and a last line, perhaps."""
        self.turns += 1
        assert what.stdin is not None
        prompt = os.pread(what.stdin, 1 << 20, 0).decode()
        nonce = re.search(r"HEARTBEAT_OK ([0-9a-f]{32})", prompt)
        assert nonce is not None and what.environment["ANTSMEM_KEY"] in prompt
        machine = self.machine(host)
        if self.rng.random() < 0.1:
            machine.memory.clear()  # the context was reset
        fresh = [text for text in self.drafts if text not in machine.memory]
        if fresh:
            text = self.rng.choice(fresh)
            self.once(machine, text)
            if self.rng.random() < 0.6:
                machine.memory.add(text)
        roll = self.rng.random()
        if roll < 0.04:
            return Ended(None, 15, late=True)
        if roll < 0.9:
            stdout.write(f"Looked around.\nHEARTBEAT_OK {nonce[1]}\n".encode())
        return Ended(0)

    def once(self, machine: Machine, text: str) -> None:
        """What Kevin types: antsmem once moltbook --key-from DRAFT --verify 'has DRAFT' -- post DRAFT."""
        journal = machine.journal()
        gate = Gate(machine.post, self.witness, lambda: self.now * 10**9)
        host = Host(lambda: self.now * 10**9, self.rng.random, lambda kind: gate.enter(journal, kind))
        key = content_key("moltbook", text.encode())
        effect = Effect(key, ("post", text), "verify", ("has", text), environment={"HOST": machine.name})
        try:
            work.once(journal, effect, host)
        except BusyError:
            return

    def machine(self, name: str) -> Machine:
        return self.owner if name == self.owner.name else Machine(name, self.root)

    def take(self, machine: Machine) -> None:
        """A person lets it take over."""
        journal, now_ns = machine.journal(), self.now * 10**9
        unsure: list[Any] = []
        if not machine.post.alone(journal, self.witness):
            unsure += doubts(stand(journal, self.plan, self.data, now_ns).plan, journal, now_ns)
        machine.post.take(journal, Claim("Qm", machine.name, KEY, self.witness), now_ns, unsure)
        self.owner = machine

    def move(self) -> Machine:
        """To a new machine, from a backup that is half an hour old; the old one is left alive, and given back."""
        old, new = self.owner, Machine("newbox", self.root)
        shutil.copytree(old.layout.root, new.layout.root)
        for _ in range(6):
            self.now += MINUTES * 60
            self.wake(old, False)
        self.take(new)
        return old

    def person(self) -> None:
        """Somebody answers what is asked, and looks at Moltbook for it."""
        journal = self.owner.journal()
        for key, state in dict(journal.open).items():
            if state in {"HELD", "BLOCKED", "UNKNOWN"}:
                name = key.partition("@")[0]
                posted = not name.startswith("post-") or self.place.has(draft_or_task(name.removeprefix("post-")))
                try:
                    resolve_effect(journal, key, "done" if posted else "redo", self.now * 10**9)
                except BusyError:
                    continue
        self.owner.next_at = 0

    def marks(self) -> Counter[str]:
        """The keys in the daily logs, and how often each is told. What fails on two days is told on both."""
        told: Counter[str] = Counter()
        for path in (self.owner.layout.root / "memory").glob("*.md"):
            for key in re.findall(r"<!-- hb:(\S+) -->", path.read_text()):
                told[key if "@" in key else f"{path.stem} {key}"] += 1
        return told


def draft(number: int) -> str:
    return f"Draft {number}: what an ant thinks about on day {number}"


def draft_or_task(word: str) -> str:
    """What is posted for a word of a command: a task's number, or the draft itself."""
    return f"Announcement {word}" if word.isdecimal() else word


def heartbeat() -> str:
    """What Kevin is asked for: a look around every two hours, and 15 announcements at their times."""
    lines = ["---\nheartbeat: 1\nbase: 1h\n---\n# Heartbeat\n\nLook around. Post the drafts, one at a time.\n"]
    for number in range(HALF):
        at = utc_text((START + 5 * 3600 + number * 22 * 3600) * 10**9)
        how = f'verify="has {number}"' if number % 2 else "effect=hold"
        lines.append(f'\n- Announce {number} {{id=post-{number} once at="{at[:10]} {at[11:16]}" {how}}}\n')
        lines.append(f"  run: post {number}\n")
    return "".join(lines)
