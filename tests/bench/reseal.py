"""How fast an epoch's content moves under another key, what that takes, and what new headers alone write.

    python tests/bench/reseal.py [MEGABYTES]

An agent with so many megabytes of photographs and two thousand notes, in memory where there is such a place.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "cli")]

from made_homes import KIT, Home  # noqa: E402


def timed(home: Home, *words: str) -> tuple[float, dict[str, object]]:
    """Seconds, and what the command printed."""
    began = time.perf_counter()
    document = home.must(*words, "--json").document
    return time.perf_counter() - began, document


def main(megabytes: int) -> None:
    rng = random.Random(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as root:
        home = Home(Path(root))
        home.init()
        for number in range(megabytes):
            (home.workspace / f"{number}.jpg").write_bytes(rng.randbytes(1_000_000))
        for number in range(2000):
            (home.workspace / f"{number}.md").write_text(" ".join(f"{rng.random():.2f}" for _ in range(400)))
        home.must("backup")
        stored = sum(path.stat().st_size for path in home.repository.rglob("*") if path.is_file())
        epochs = home.must("epoch", "list", "--json").document["epochs"]
        (name,) = [row["name"] for row in epochs if row["tier"] == "hot"]
        seconds, done = timed(home, "keys", "rewrap", "--kit", str(home.root / KIT))
        print(f"{stored / 1e6:.0f} MB stored; new headers: {done['written_bytes']} bytes in {seconds:.2f} s")
        seconds, done = timed(home, "keys", "rewrap", "--epoch", name, "--reseal")
        written = done["repositories"][0]["written_bytes"]  # type: ignore[index]
        rate = written / 1e6 / seconds
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"moved: {written / 1e6:.0f} MB in {seconds:.1f} s ({rate:.0f} MB/s), {peak:.0f} MB of memory")
        seconds, _ = timed(home, "epoch", "list")
        print(f"epoch list: {seconds:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
