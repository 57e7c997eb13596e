"""How often the embedded vector index finds what an exact comparison finds, and how long a search takes.

`nearest.py [VECTORS] [DIMENSIONS]`: vectors in 1000, 100 and 20 clusters around centres drawn at random, each a
centre plus six tenths of its spread; 100 searches for the nearest ten of each. Times are of the processor: others
may use the machine.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy

from antsmem.memory.embedded.vectors import FileVectors
from antsmem.memory.roles import VectorRow

SEARCHES, NEAREST, TOGETHER = 100, 10, 5000
STREAM = "tenant/agent"


def measured(clusters: int, many: int, dimensions: int, place: Path) -> str:
    """One line of the table."""
    dice = numpy.random.default_rng(1)
    centres = dice.normal(size=(clusters, dimensions))
    drawn = centres[dice.integers(clusters, size=many + SEARCHES)]
    drawn += 0.6 * dice.normal(size=drawn.shape)
    drawn = (drawn / numpy.linalg.norm(drawn, axis=1, keepdims=True)).astype(numpy.float32)
    kept, asked = drawn[:many], drawn[many:]
    exact = numpy.argsort(-(asked @ kept.T), axis=1)[:, :NEAREST]
    index = FileVectors(place)
    index.create(f"{clusters} clusters", dimensions)
    started = time.process_time()
    for start in range(0, many, TOGETHER):
        rows = enumerate(kept[start : start + TOGETHER], start)
        index.upsert([VectorRow(STREAM, str(number), 1, vector) for number, vector in rows])
    put_us = (time.process_time() - started) / many * 1e6
    hits, spent = 0, []
    for vector, wanted in zip(asked, exact, strict=True):
        started = time.process_time()
        found = index.search(STREAM, vector, NEAREST)
        spent.append(time.process_time() - started)
        hits += len({int(name) for name, _ in found} & {int(number) for number in wanted})
    size_mb = sum(path.stat().st_size for path in place.glob("*.db")) / 1e6
    index.close()
    recall = hits / SEARCHES / NEAREST
    return (
        f"{clusters:5} clusters: recall@{NEAREST} {recall:.3f}, search {median(spent) * 1000:.1f} ms"
        f" (quickest {min(spent) * 1000:.1f}), put {put_us:.0f} us each, {size_mb:.0f} MB"
    )


if __name__ == "__main__":
    many, dimensions = (int(word) for word in (sys.argv[1:] + ["100000", "384"][len(sys.argv) - 1 :]))
    for clusters in (1000, 100, 20):
        with TemporaryDirectory() as place:
            print(measured(clusters, many, dimensions, Path(place)), flush=True)
