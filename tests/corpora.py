"""Workspaces for tests and benchmarks, made from nothing: the same for the same seed, quick, and like real ones.

Text is drawn from a vocabulary with the frequencies of a language, so that it compresses like notes do (about
2.8 times with zstd 3), and repeats no long passage, so that nothing can cheat by finding the same text twice.
What SQLite and git salt themselves (write-ahead log, index) differs from run to run; names and contents do not.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import sqlite3
import stat
import subprocess
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import permutations
from pathlib import Path

MB = 1_000_000
START = 1_772_323_200  # 2026-03-01, when these agents begin to live
_TOPICS = ("garden", "travel", "health", "money", "people", "code", "reading", "house", "music", "research")


@dataclass(frozen=True)
class Corpus:
    """What a generator made: regular files and the bytes in them."""

    files: int
    size_bytes: int


@lru_cache(1)
def _base() -> bytes:
    """16 MB of text. Word frequencies follow Zipf's law; headings, lists and paragraphs come as in notes."""
    rng = random.Random(20261120)
    common = (
        "the of and to a in that it is was for on with as at by this from or had not but what all were when we"
    )
    common += (
        " there can an your which their said if do will each about how up out them then she many some so these"
    )
    starts = "b br c ch d f g gr h k l m n p pl r s st t v".split()
    ends = "ar en il or um ing er ine ot al ed is ent ama ose ur ip".split()
    words = common.split()
    while len(words) < 6000:
        word = "".join(rng.choice(starts) + rng.choice(ends) for _ in range(rng.choice((1, 2, 2, 2, 3, 3))))
        words.append(word.capitalize() if rng.random() < 0.08 else word)
    weights = [1 / (place + 2) for place in range(len(words))]
    phrases = [" ".join(rng.choices(words, weights, k=rng.choice((2, 2, 3, 4)))) for _ in range(2500)]
    drawn = rng.choices(words, weights, k=40_000) + rng.choices(phrases, weights[:2500], k=25_536)
    marks = rng.choices(
        (" ", ", ", ". ", ".\n", ".\n\n", "\n- ", ":\n\n- ", "\n\n## ", "`, `", f" {rng.randrange(99)} "),
        (800, 60, 60, 25, 12, 25, 4, 3, 4, 20),
        k=65536,
    )
    table = [(word + mark).encode() for word, mark in zip(drawn, marks, strict=True)]
    return b"".join(map(table.__getitem__, array("H", rng.randbytes(3_600_000))))


_VOWELS = [bytes.maketrans(b"aeiou", "".join(order).encode()) for order in permutations("aeiou")]
_SWAPS = [bytes.maketrans(b"tnrsl", swapped) for swapped in (b"tnrsl", b"nrslt", b"rsltn")]


class Writer:
    """Draws text and bytes, and writes files with times of their own."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.rng = random.Random(seed)
        self.files = 0
        self.size = 0
        self.now = START
        root.mkdir(parents=True, exist_ok=True)

    def text(self, size: int) -> bytes:
        """`size` bytes of notes. The letters of each draw are exchanged: draws have no passage in common."""
        base = _base()
        at = self.rng.randrange(len(base) - min(size, len(base)) + 1)
        cut = base[at : at + size].translate(self.rng.choice(_VOWELS)).translate(self.rng.choice(_SWAPS))
        while len(cut) < size:
            cut += self.text(size - len(cut))
        return cut

    def put(self, path: str, data: bytes, mode: int = 0o644) -> Path:
        """Write a file at `path` below the root, about an hour younger than the one before."""
        target = self.root / path
        try:
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        except FileNotFoundError:
            target.parent.mkdir(parents=True)
            fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            os.fchmod(fd, mode)
            os.write(fd, data)
        finally:
            os.close(fd)
        self.now += self.rng.randrange(20, 400)
        at = self.now * 1_000_000_000 + self.rng.randrange(1_000_000_000)
        os.utime(target, ns=(at, at))
        self.files += 1
        self.size += len(data)
        return target

    def database(self, path: str, size: int) -> Path:
        """A SQLite database of memories: text and an embedding a row, `size` bytes in all."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with_text = ((self.text(1190).decode(), self.rng.randbytes(768)) for _ in range(size // 2048))
        connection = sqlite3.connect(target)
        connection.executescript(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE memories (id INTEGER PRIMARY KEY, kind TEXT, body TEXT, embedding BLOB);"
        )
        connection.executemany("INSERT INTO memories (kind, body, embedding) VALUES ('note', ?, ?)", with_text)
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        self.files += 1
        self.size += target.stat().st_size
        return target

    def made(self) -> Corpus:
        return Corpus(self.files, self.size)


def secret(*parts: str) -> str:
    """A made-up credential, put together here so that none stands in any file of the project."""
    return "".join(parts)


def sample_agent(root: Path, days: int = 30, seed: int = 1) -> Corpus:
    """An agent after `days` days of life, with all that makes backups hard, in about 2 MB."""
    writer = Writer(root, seed)
    for name in ("SOUL", "USER", "TOOLS", "MEMORY", "HEARTBEAT", "AGENTS"):
        writer.put(f"{name}.md", f"# {name.capitalize()}\n\n".encode() + writer.text(2500))
    for day in range(days):
        date = time.strftime("%Y-%m-%d", time.gmtime(START + day * 86400))
        entries = (
            f"\n## {9 + hour:02d}:{writer.rng.randrange(60):02d}\n\n".encode()
            + writer.text(writer.rng.randrange(80, 900))
            for hour in range(writer.rng.randrange(3, 12))
        )
        writer.put(f"memory/{date}.md", f"# {date}\n".encode() + b"".join(entries) + b"\n")
    for number in range(6):
        suffix = ("jpg", "pdf", "png")[number % 3]
        writer.put(
            f"attachments/scan {number}.{suffix}", writer.rng.randbytes(writer.rng.randrange(20_000, 120_000))
        )
    writer.put("notes/köln – überblick.md", writer.text(900))
    writer.put("notes/two\nlines.md", writer.text(300))
    writer.put("bin/report", b"#!/bin/sh\nls memory\n", 0o755)
    token = writer.rng.randbytes(20).hex()
    writer.put(".env", secret("OPENAI_API", "_KEY=", "s", "k-", token, "\n").encode(), 0o600)
    body = "\n".join(writer.rng.randbytes(32).hex() for _ in range(6))
    pem = secret("-----BEGIN ", "PRIVATE", " KEY-----\n", body, "\n-----END ", "PRIVATE", " KEY-----\n")
    writer.put("keys/relay.pem", pem.encode(), 0o600)
    writer.put("node_modules/left-pad/index.js", b"module.exports = s => s\n")
    writer.put("node_modules/left-pad/package.json", b'{"name": "left-pad"}\n')
    writer.put("gateway.pid", b"4242\n")
    os.symlink("memory", root / "diary")
    os.symlink("/nonexistent/models/large.bin", root / "model.bin")
    _git(root / "memory", writer)
    _database_in_use(root / "state" / "memory.db", writer)
    return writer.made()


def _git(folder: Path, writer: Writer) -> None:
    """A nested repository with two commits, made with the git program; none where that is missing."""
    if shutil.which("git") is None:
        return
    when = f"{START} +0000"
    keep = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = {"GIT_AUTHOR_NAME": "agent", "GIT_AUTHOR_EMAIL": "agent@example.org", "GIT_AUTHOR_DATE": when}
    who |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in who.items()}
    environment = {**keep, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    files = sorted(path.name for path in folder.glob("*.md"))
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", *files[: len(files) // 2 + 1]],
        ["commit", "-q", "-m", "first half"],
        ["add", *files],
        ["commit", "-q", "--allow-empty", "-m", "second half"],
        ["branch", "node_modules/trial.pem"],
    ):
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True, capture_output=True)


def _database_in_use(path: Path, writer: Writer) -> None:
    """A database with a write-ahead log that holds rows the database file does not have yet."""
    writer.database("state/memory.db", 400_000)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    rows = [(writer.text(1190).decode(), writer.rng.randbytes(768)) for _ in range(20)]
    connection.executemany("INSERT INTO memories (kind, body, embedding) VALUES ('new', ?, ?)", rows)
    connection.commit()
    # The last connection to close would empty the log: keep copies of the three files as they are now.
    names = [path.with_name(path.name + side) for side in ("", "-wal", "-shm")]
    for name in names:
        shutil.copyfile(name, name.with_name(name.name + ".copy"))
    connection.close()
    for name in names:
        name.with_name(name.name + ".copy").rename(name)
    writer.files += 2


def corpus_s(root: Path, seed: int = 2) -> Corpus:
    """400 notes, 3 MB."""
    writer = Writer(root, seed)
    for number in range(400):
        writer.put(_note(writer, number), b"# Note\n\n" + writer.text(int(writer.rng.lognormvariate(8.63, 0.8))))
    return writer.made()


def corpus_m(root: Path, seed: int = 3) -> Corpus:
    """20,000 files, a SQLite database of 150 MB and 100 MB of attachments: 445 MB in all."""
    return _mixed(root, seed, 1.0)


def corpus_l(root: Path, seed: int = 4) -> Corpus:
    """3 GB in the proportions of `corpus_m`."""
    return _mixed(root, seed, 3000 / 445)


def _mixed(root: Path, seed: int, scale: float) -> Corpus:
    writer = Writer(root, seed)
    count = int(20_000 * scale)
    shares = [writer.rng.lognormvariate(0, 1.1) for _ in range(count)]
    each = 195 * MB * scale / sum(shares)
    for number, share in enumerate(shares):
        writer.put(_note(writer, number), writer.text(max(40, int(share * each))))
    writer.database("state/memory.db", int(150 * MB * scale))
    left = int(100 * MB * scale)
    while left > 0:
        size = min(left, int(writer.rng.lognormvariate(14, 0.9)))
        suffix = writer.rng.choice(("jpg", "pdf", "mp3", "png"))
        writer.put(f"attachments/{writer.files}.{suffix}", writer.rng.randbytes(size))
        left -= size
    return writer.made()


def _note(writer: Writer, number: int) -> str:
    """A path as agents lay them out: daily logs, notes by topic, transcripts by date."""
    date = time.strftime("%Y-%m-%d", time.gmtime(START + number * 86400 % (86400 * 1500)))
    kind = writer.rng.randrange(10)
    if kind == 0:
        return f"memory/{date}-{number}.md"
    if kind < 7:
        return f"notes/{writer.rng.choice(_TOPICS)}/{number // 400}/note {number}.md"
    return f"sessions/{date[:4]}/{date[5:7]}/{number:06d}.jsonl"


@dataclass(frozen=True)
class Mutation:
    """What an hour of work changed."""

    edited: int
    created: int
    deleted: int
    rows: int


def mutate(root: Path, fraction: float = 0.01, seed: int = 5) -> Mutation:
    """An hour of work: `fraction` of the text files edited or deleted, a few made, some database pages changed."""
    writer = Writer(root, seed)
    rng = writer.rng
    texts = sorted(path for path in root.rglob("*") if path.suffix in {".md", ".jsonl"} and _is_plain(root, path))
    chosen = rng.sample(texts, max(1, int(len(texts) * fraction)))
    few = len(chosen) // 20
    for place, path in enumerate(chosen):
        if place < few:
            path.unlink()
            continue
        data = path.read_bytes()
        if rng.random() < 0.7:
            path.write_bytes(data + b"\n" + writer.text(rng.randrange(60, 600)))
        else:
            at = rng.randrange(len(data) + 1)
            path.write_bytes(data[:at] + writer.text(rng.randrange(20, 200)) + data[at + rng.randrange(100) :])
    for number in range(few):
        (root / f"new note {seed}-{number}.md").write_bytes(writer.text(rng.randrange(500, 9000)))
    rows = 0
    for database in sorted(path for path in root.rglob("*.db") if _is_plain(root, path)):
        connection = sqlite3.connect(database)
        last = connection.execute("SELECT max(id) FROM memories").fetchone()[0] or 0
        picked = sorted(rng.sample(range(1, last + 1), min(last, 200)))
        connection.executemany("UPDATE memories SET kind = 'seen' WHERE id = ?", [(row,) for row in picked])
        fresh = [(writer.text(1190).decode(), rng.randbytes(768)) for _ in range(min(last, 100))]
        connection.executemany("INSERT INTO memories (kind, body, embedding) VALUES ('note', ?, ?)", fresh)
        connection.commit()
        connection.close()
        rows += len(picked) + len(fresh)
    return Mutation(len(chosen) - few, few, few, rows)


def _is_plain(root: Path, path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "node_modules" for part in path.relative_to(root).parts)
    return not hidden and stat.S_ISREG(path.lstat().st_mode)


def big_tree(root: Path, seed: int = 6) -> Corpus:
    """15,000 small files with Chinese, Japanese and Korean names in 300 directories, and 200 links to nowhere."""
    writer = Writer(root, seed)
    signs = [chr(code) for first in (0x4E00, 0x3042, 0xAC00) for code in range(first, first + 60)]
    for number in range(15_000):
        rng = writer.rng
        folder = f"{signs[number % 150]}{signs[number % 30]}/{signs[number % 2]}{number % 300}"
        name = "".join(rng.choices(signs, k=rng.randrange(2, 12)))
        target = writer.put(f"{folder}/{name}-{number}.md", writer.text(rng.randrange(10, 1500)))
        if number % 75 == 0:
            os.symlink(f"/nonexistent/{name}", target.with_suffix(".link"))
    return writer.made()


ODD_NAMES = (
    b"two\nlines", b"tab\there", b"bell\x07", b"del\x7f", b"not-utf8-\xff\xfe", b"half-\xe4\xb8", b"-rf",
    b"--help", b" lead", b"trail ", b"dot.", b"...", b"*", b"?", b"$(touch x)", b"`x`", b"a;b|c&d",
    b"quo\"te'", b"back\\slash", b"%41", b"#hash", b"~", b"CON", b"nul.txt", b"a:b", b"n" * 255,
    "漢".encode() * 85, "🦀🧠.md".encode(), "שלום.md".encode(), "rtl\u202eexe.md".encode(),
    "zero\u200bwidth".encode(), "é-composed".encode(), "e\u0301-composed".encode(), b"Twin.md", b"twin.md",
    b"TWIN.md", "ß".encode(), b"SS",
)  # fmt: skip


def odd_zoo(root: Path, sparse_bytes: int = 1 << 30) -> tuple[str, ...]:
    """One of everything a file system can hold; the result names what this one could not.

    Not made by root, a file with mode 0000 and the directory `closed` cannot be read: that is part of the zoo.
    """
    root.mkdir(parents=True, exist_ok=True)
    top, refused = os.fsencode(root), []

    def attempt(what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except (OSError, AttributeError) as error:
            refused.append(f"{what}: {error}")

    def write(name: bytes, data: bytes = b"odd\n", mode: int = 0o644) -> None:
        path = root / os.fsdecode(name)
        path.write_bytes(data)
        path.chmod(mode)

    def link(target: bytes, name: bytes) -> None:
        os.symlink(target, top + b"/links/" + name)

    for folder in ("names", "modes", "links", "times", "empty", "modes/sticky", "modes/shared", "closed"):
        (root / folder).mkdir()
    for name in ODD_NAMES:
        attempt(f"name {name!r}", partial(write, b"names/" + name, name))
    for mode in (0, 0o200, 0o400, 0o444, 0o600, 0o644, 0o700, 0o755, 0o777, 0o4755, 0o2755, 0o1644):
        write(b"modes/%04o" % mode, b"mode\n", mode)
    (root / "modes/sticky").chmod(0o1777)
    (root / "modes/shared").chmod(0o2775)
    write(b"closed/inside")
    for target, name in (
        (b"../names/twin.md", b"good"), (b"nowhere", b"broken"), (b"/nonexistent/at/all", b"absolute"),
        (b"/etc", b"outside"), (b"../..", b"above"), (b"self", b"self"), (b"second", b"first"),
        (b"first", b"second"), (b"two\nlines\xff", b"odd"), (b"x" * 4000, b"long"), (b".", b"here"),
    ):  # fmt: skip
        attempt(f"link {name!r}", partial(link, target, name))
    write(b"empty/file", b"")
    (root / "empty/directory").mkdir()
    write(b"hard", b"three names\n")
    for other in ("hard-too", "links/hard"):
        attempt("hard link", partial(os.link, root / "hard", root / other))
    attempt("fifo", partial(os.mkfifo, root / "fifo"))
    attempt("socket", partial(_socket, root, "unix-socket"))
    write(b"sparse", b"start")
    attempt("sparse file", partial(os.truncate, root / "sparse", sparse_bytes))
    write(b"attributes")
    attempt("xattr", lambda: os.setxattr(root / "attributes", "user.antsmem", b"\x00\xffvalue"))
    for name, at in ((b"1931", -1_230_000_000), (b"1970", 0), (b"2300", 10_413_792_000)):
        write(b"times/" + name)
        at_ns = at * 1_000_000_000 + 123_456_789
        attempt("time", partial(os.utime, top + b"/times/" + name, ns=(at_ns, at_ns)))
    deep = root / "deep" / Path(*["down"] * 59)
    deep.mkdir(parents=True)
    (deep / "bottom.md").write_text("bottom\n")
    (root / "closed").chmod(0)
    return tuple(refused)


def _socket(root: Path, name: str) -> None:
    """Bind a socket under a path that may be longer than a socket address can hold."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{fd}/{name}" if os.path.isdir("/proc/self/fd") else str(root / name))
    finally:
        os.close(fd)
