"""Like `runner.py`, led by the code that mutants reach: needs atheris, which has wheels for Python 3.11 to 3.13.

    python guided.py TARGET SEED SECONDS DIRECTORY

libFuzzer ends the process itself: its last line says how many runs there were, and the directory is left.
"""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import atheris
import mutants

with atheris.instrument_imports(include=["antsmem"]):
    from runner import accepted, mutant, prepared


def main(name: str, seed: str, seconds: str, place: Path) -> None:
    target = prepared(name, place)
    corpus = place / "corpus"
    corpus.mkdir()
    for number, good in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(good)

    def change(data: bytes, longest: int, drawn: int) -> bytes:
        dice = Random(drawn)
        if dice.random() < 0.3:
            return bytes(atheris.Mutate(data, longest))
        if target.inside is not None and dice.random() < 0.5:
            return (mutant(target, dice) or data)[:longest]
        return mutants.of_bytes(dice, [data or b"\n", *target.seeds])[:longest]

    limits = [
        f"-seed={int(seed) % (1 << 32) or 1}",
        f"-max_total_time={seconds}",
        "-max_len=300000",
        "-rss_limit_mb=0",
        f"-artifact_prefix={place}/",
    ]
    atheris.Setup([sys.argv[0], str(corpus), *limits], lambda data: accepted(target, data), custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
