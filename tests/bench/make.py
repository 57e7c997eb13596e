"""Make and change workspaces in a process of its own, so that the one that measures stays small.

`make.py corpus S DIR`, `make.py notes COUNT DIR`, `make.py hour DIR SEED`, `make.py edit DIR COUNT SEED`
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import corpora

_CORPORA = {"S": corpora.corpus_s, "M": corpora.corpus_m, "L": corpora.corpus_l}


def notes(count: int, root: Path) -> None:
    """`count` notes of about 2 kB, a hundred in a directory."""
    writer = corpora.Writer(root, seed=7)
    for number in range(count):
        size = int(writer.rng.lognormvariate(7.4, 0.6))
        writer.put(f"notes/{number // 100:04d}/note {number}.md", writer.text(size))


def edit(root: Path, count: int, seed: int) -> None:
    """Append a few lines to `count` notes, as if ten minutes ago."""
    writer = corpora.Writer(root, seed)
    paths = sorted(path for path in root.rglob("*.md") if ".antsmem" not in path.parts)
    for path in random.Random(seed).sample(paths, count):
        with open(path, "ab") as file:
            file.write(b"\n" + writer.text(writer.rng.randrange(60, 400)))
        then = os.stat(path).st_mtime_ns - 600_000_000_000
        os.utime(path, ns=(then, then))


def main(words: list[str]) -> None:
    """Do what the words say."""
    match words:
        case ["corpus", name, root]:
            _CORPORA[name](Path(root))
        case ["notes", count, root]:
            notes(int(count), Path(root))
        case ["hour", root, seed]:
            corpora.mutate(Path(root), seed=int(seed))
        case ["edit", root, count, seed]:
            edit(Path(root), int(count), int(seed))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
