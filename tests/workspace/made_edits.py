"""Edits of an agent's memory, drawn from a seed: ordinary ones and losses, as the histories of agents show them.

`python tests/workspace/made_edits.py` judges the guard's limits on odd seeds; with `choose` it shows what others
score on even ones.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from antsmem.workspace.guard import CHOSEN, Kind, Thresholds, judge

SYLLABLES = "an ba cor da el fi gro hin is ju ka lo mer no or pa qui ra sto tu ven wi xa yo zen".split()
COMMON = (
    "the a of to and in for on with is was that it as by from not be at are has will this but all when one can"
    " into after before then needs asked said wants likes uses works failed fixed wrote sent checked found moved"
).split()
HANZI = [chr(0x4E00 + 37 * number) for number in range(400)]


@dataclass(frozen=True)
class Edit:
    """One change: its name, whether it is a loss, and the file before and after."""

    name: str
    loss: bool
    kind: Kind
    before: bytes | None
    after: bytes | None


class Writer:
    """Writes files as agents do: English-like, German-like long words, or Chinese-like."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        count = self.draw.choice((400, 1500, 4000))
        self.vocabulary = ["".join(self.draw.choices(SYLLABLES, k=self.draw.randint(2, 4))) for _ in range(count)]
        self.chinese = self.draw.random() < 0.15

    def words(self, count: int) -> list[str]:
        draw, found = self.draw, []
        for _ in range(count):
            at = draw.random()
            if at < 0.45:
                found.append(draw.choice(COMMON))
            elif at < 0.94:
                found.append(
                    self.vocabulary[min(int(draw.expovariate(6 / len(self.vocabulary))), len(self.vocabulary) - 1)]
                )
            else:
                found.append(
                    draw.choice((str(draw.randint(2, 9999)), f"v{draw.randint(1, 9)}.{draw.randint(0, 20)}"))
                )
        return found

    def sentence(self, low: int = 6, high: int = 26) -> str:
        count = self.draw.randint(low, high)
        if self.chinese:
            return "".join(self.draw.choices(HANZI, k=count)) + "。"
        return " ".join(self.words(count)).capitalize() + "."

    def entry(self) -> str:
        mark = self.draw.choice(("- ", "- ", "* ", f"- 14:{self.draw.randint(0, 59):02d} ", ""))
        text = mark + " ".join(self.sentence() for _ in range(self.draw.choice((1, 1, 1, 2, 3))))
        return text + (f"\n  {self.sentence()}" if self.draw.random() < 0.15 else "")

    def heading(self, level: int = 2) -> str:
        return "#" * level + " " + " ".join(self.words(self.draw.randint(1, 4))).title()

    def daily(self) -> str:
        lines = [f"# 2026-11-{self.draw.randint(1, 30):02d}", ""]
        for _ in range(self.draw.randint(4, 50)):
            lines += [self.entry()]
            if self.draw.random() < 0.08:
                lines += ["", self.heading(), ""]
        return "\n".join(lines) + "\n"

    def core(self) -> str:
        lines = [self.heading(1), "", self.sentence(), ""]
        for _ in range(self.draw.randint(3, 12)):
            lines += [self.heading(), "", *(self.entry() for _ in range(self.draw.randint(2, 9))), ""]
        return "\n".join(lines)


def sections(text: str) -> list[str]:
    """The text cut before each heading of the second level."""
    parts: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if line.startswith("## "):
            parts.append([])
        parts[-1].append(line)
    return ["".join(part) for part in parts]


def append(w: Writer, text: str) -> str:
    return text + "\n".join(w.entry() for _ in range(w.draw.randint(1, 8))) + "\n"


def insert(w: Writer, text: str) -> str:
    lines = text.splitlines(keepends=True)
    at = w.draw.randint(1, len(lines))
    return "".join([*lines[:at], *(w.entry() + "\n" for _ in range(w.draw.randint(1, 6))), *lines[at:]])


def fix_typos(w: Writer, text: str) -> str:
    words = text.split(" ")
    for _ in range(w.draw.randint(1, 4)):
        at = w.draw.randrange(len(words))
        words[at] = words[at][:1] + words[at][2:] + words[at][1:2]
    return " ".join(words)


def reorder(w: Writer, text: str) -> str:
    parts = sections(text)
    if len(parts) > 3:
        first, *rest = parts
        w.draw.shuffle(rest)
        return "".join([first, *(part if part.endswith("\n") else part + "\n" for part in rest)])
    lines = text.splitlines(keepends=True)
    head, rest = lines[:2], lines[2:]
    w.draw.shuffle(rest)
    return "".join(head + rest)


def prune_section(w: Writer, text: str) -> str:
    parts = sections(text)
    if len(parts) < 4:
        return update(w, text)
    sizes = [len(part) for part in parts]
    small = [at for at in range(1, len(parts)) if sizes[at] < 0.4 * sum(sizes)]
    gone = w.draw.choice(small)
    return "".join(part for at, part in enumerate(parts) if at != gone)


def update(w: Writer, text: str) -> str:
    """A line or two say something else: a fact changed."""
    lines = text.splitlines(keepends=True)
    candidates = [at for at, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    for at in w.draw.sample(candidates, min(len(candidates) // 12 + 1, 2)):
        lines[at] = w.entry() + "\n"
    return "".join(lines)


def tick_off(w: Writer, text: str) -> str:
    """A few entries are done, and removed."""
    lines = text.splitlines(keepends=True)
    candidates = [at for at, line in enumerate(lines) if line.startswith(("- ", "* "))]
    gone = set(w.draw.sample(candidates, min(len(candidates) // 10, 3)))
    return "".join(line for at, line in enumerate(lines) if at not in gone)


def reformat(w: Writer, text: str) -> str:
    way = w.draw.randrange(4)
    if way == 0:
        return text.replace("\n", "\r\n")
    if way == 1:
        return text.replace("\n- ", "\n* ")
    if way == 2:
        return "\n".join(line.rstrip() for line in text.splitlines()) + "\n\n"
    return "\n".join(
        part for line in text.splitlines() for part in (line.replace(". ", ".\n  ").split("\n") if line else [""])
    )


def compact(w: Writer, text: str) -> str:
    """The day is told shorter: each entry by some of its words, in their order, the names and numbers kept."""
    title, *lines = text.splitlines()
    told = []
    for line in lines:
        if line.startswith("#") or not line.strip() or w.draw.random() < 0.25:
            continue
        if w.chinese:
            size = len(line)
            start = w.draw.randrange(max(size // 2, 1))
            told.append("- " + line[start : start + max(size // 2, 4)])
            continue
        words = [word for word in line.strip("-* ").split() if word.lower().strip(".") not in COMMON]
        keep = [word for word in words if w.draw.random() < w.draw.uniform(0.5, 0.8)]
        if keep:
            told.append("- " + " ".join(keep))
    return "\n".join([title, "", "## Summary", "", *told]) + "\n"


ORDINARY: dict[str, Callable[[Writer, str], str]] = {
    "append": append,
    "insert": insert,
    "fix typos": fix_typos,
    "reorder": reorder,
    "prune a section": prune_section,
    "update a fact": update,
    "tick off": tick_off,
    "reformat": reformat,
    "compact a day": compact,
}


def truncate(w: Writer, text: str) -> str:
    kept = text[: int(len(text) * w.draw.uniform(0.02, 0.7))]
    return kept + (("\n" + w.entry() + "\n") if w.draw.random() < 0.3 else "")


def lose_head(w: Writer, text: str) -> str:
    kept = text[int(len(text) * w.draw.uniform(0.2, 0.95)) :]
    return kept + ((w.entry() + "\n") if w.draw.random() < 0.3 else "")


def rewrite(w: Writer, text: str) -> str:
    """Something else in its place, of the same author, under the same title or not."""
    new = w.daily() if w.draw.random() < 0.5 else w.core()
    title, _, rest = new.partition("\n")
    return (text.partition("\n")[0] if w.draw.random() < 0.5 else title) + "\n" + rest


def lose_middle(w: Writer, text: str) -> str:
    """An agent wrote the file anew from what it had in view: the beginning, the end, and `...`."""
    size = len(text)
    return (
        text[: int(size * w.draw.uniform(0.05, 0.3))] + "\n...\n" + text[int(size * w.draw.uniform(0.75, 0.95)) :]
    )


LOSSES: dict[str, Callable[[Writer, str], str]] = {
    "truncate": truncate,
    "head lost": lose_head,
    "rewrite": rewrite,
    "middle lost": lose_middle,
}


@cache
def edits(seed: int) -> tuple[Edit, ...]:
    """One edit of each sort, of files of their own."""
    return tuple(_drawn(seed))


def _drawn(seed: int) -> Iterator[Edit]:
    w = Writer(seed)
    for name, change in ORDINARY.items():
        kind: Kind = (
            "daily" if name == "compact a day" or (name != "prune a section" and w.draw.random() < 0.5) else "core"
        )
        text = w.daily() if kind == "daily" else w.core()
        yield Edit(name, False, kind, text.encode(), change(w, text).encode())
    for name, change in LOSSES.items():
        kind = w.draw.choice(("daily", "core"))
        text = w.daily() if kind == "daily" else w.core()
        yield Edit(name, True, kind, text.encode(), change(w, text).encode())
    text, soul = w.daily(), w.core()
    yield Edit("empty", True, "daily", text.encode(), w.draw.choice((b"", b"\n", b" \n\n")))
    yield Edit("delete", True, "core", soul.encode(), None)
    yield Edit(
        "SOUL changed", True, "soul", soul.encode(), w.draw.choice((append, insert, update))(w, soul).encode()
    )
    yield Edit("BOOTSTRAP reseeded", True, "bootstrap", None, soul.encode())


def tally(seeds: range, limits: Thresholds = CHOSEN) -> tuple[Counter[str], Counter[str], int, int]:
    """Of some seeds: edits and alarms by name, and how many were losses and ordinary."""
    seen: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    losses = ordinary = 0
    for seed in seeds:
        for edit in edits(seed):
            seen[edit.name] += 1
            losses, ordinary = losses + edit.loss, ordinary + (not edit.loss)
            alarms[edit.name] += judge(edit.kind, edit.before, edit.after, limits) is not None
    return seen, alarms, losses, ordinary


def scores(seeds: range, limits: Thresholds = CHOSEN) -> tuple[float, float]:
    """(recall, false alarms in 200 ordinary edits)."""
    _, alarms, losses, ordinary = tally(seeds, limits)
    false = sum(alarms[name] for name in ORDINARY)
    return (alarms.total() - false) / losses, 200 * false / ordinary


def show_candidates() -> None:
    """What other limits would have scored on the even seeds."""
    for lost in (0.15, 0.2, 0.25):
        for told in (0.15, 0.2, 0.25, 0.3):
            for section in (0.4, 0.5):
                limits = Thresholds(lost=lost, told=told, section=section)
                recall, false = scores(range(0, 200, 2), limits)
                print(f"{lost} {told} {section}: recall {recall:.3f}, {false:.2f} false alarms in 200", flush=True)


def main() -> None:
    odd = range(1, 401, 2)
    seen, alarms, losses, ordinary = tally(odd)
    print(f"judged on odd seeds, as the program has them: {CHOSEN}")
    for name in seen:
        print(f"  {name:20} {alarms[name]:5} of {seen[name]}")
    recall, false = scores(odd)
    print(f"recall {recall:.3f} of {losses} losses, {false:.2f} false alarms in 200 of {ordinary} ordinary edits")


if __name__ == "__main__":
    show_candidates() if sys.argv[1:] == ["choose"] else main()
