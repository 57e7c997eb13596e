"""What must be reached, and the Markdown tables that say whether it was."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import years
from measure import middle
from sides import Taken

TOOLS = ("antsmem", "restic", "borg")
_READ = "check, all data read"


@dataclass(frozen=True, slots=True)
class Target:
    """`least`: the peer must take at least so many times as long. `share`: our size must be at most this part of
    the peer's. `most_bytes`: an absolute limit, whatever the peers do."""

    peer: str = ""
    least: float = 0.0
    share: float = 0.0
    most_bytes: int = 0

    def __str__(self) -> str:
        if self.most_bytes:
            return f"≤ {self.most_bytes / 1e6:.0f} MB"
        return f"≥ {self.least:g} × {self.peer}" if self.least else f"≤ {self.share:g} × {self.peer}"

    def is_met(self, ours: float, theirs: float | None) -> bool | None:
        """Whether it is reached; None where the peer is not here."""
        if self.most_bytes:
            return ours <= self.most_bytes
        if theirs is None:
            return None
        return theirs / ours >= self.least if self.least else ours <= self.share * theirs


_MEMORY = {"peak memory": [Target(most_bytes=200_000_000)]}
TARGETS: Mapping[str, Mapping[str, Sequence[Target]]] = {
    "S": {"incremental": [Target("restic", least=4.5), Target("borg", least=2)]},
    "M": {
        "first": [Target("restic", least=1.8)],
        "unchanged": [Target("restic", least=3.5), Target("borg", least=3.5)],
        "incremental": [Target("restic", least=2.5)],
        "restore": [Target("restic", least=2.2)],
        "one file": [Target("restic", least=4)],
        "check": [Target("restic", least=3)],
        _READ: [Target("restic", least=2)],
        "incremental, bytes added": [Target("restic", share=0.4)],
        "repository size": [Target("restic", share=1)],
        **_MEMORY,
    },
    "L": {
        "first": [Target("restic", least=1.4)],
        "unchanged": [Target("restic", least=2.5)],
        "incremental": [Target("restic", least=2)],
        "restore": [Target("restic", least=1.4)],
        _READ: [Target("restic", least=1.4)],
        "incremental, bytes added": [Target("restic", share=0.4)],
        **_MEMORY,
    },
}
_GROWTH = 2.0


def side_by_side(section: str, taken: Taken) -> str:
    """The table of one corpus: seconds of wall clock (of processor), sizes, ratios, targets."""
    rows = []
    for step, by_tool in taken.times.items():
        found = {tool: middle(samples) for tool, samples in by_tool.items()}
        cells = [f"{found[t].wall_seconds:.2f} ({found[t].cpu_seconds:.2f})" if t in found else "" for t in TOOLS]
        walls = {tool: sample.wall_seconds for tool, sample in found.items()}
        ratios = [f"{walls[peer] / walls['antsmem']:.1f}" if peer in walls else "" for peer in TOOLS[1:]]
        rows.append([f"{step}, s", *cells, *ratios, *_verdict(section, step, walls)])
    for figure, values in taken.sizes.items():
        sizes = {tool: median(sizes) for tool, sizes in values.items()}
        cells = [_megabytes(sizes[tool]) if tool in sizes else "" for tool in TOOLS]
        ratios = [f"{sizes['antsmem'] / sizes[peer]:.2f}" if peer in sizes else "" for peer in TOOLS[1:]]
        rows.append([f"{figure}, MB", *cells, *ratios, *_verdict(section, figure, sizes)])
    head = [section, *TOOLS, "to restic", "to borg", "target", ""]
    return table(head, rows)


def _verdict(section: str, step: str, values: Mapping[str, float]) -> list[str]:
    targets = TARGETS.get(section, {}).get(step, [])
    verdicts = [target.is_met(values["antsmem"], values.get(target.peer)) for target in targets]
    said = [_said(verdict) for verdict in verdicts]
    same = len(set(said)) == 1
    return ["; ".join(map(str, targets)), said[0] if same and said else "; ".join(said)]


def _said(verdict: bool | None) -> str:
    return "peer missing" if verdict is None else "met" if verdict else "**not met**"


def growth(taken: Taken, hours: int) -> str:
    """The table of a year's snapshots: seconds, and how many times what ten snapshots cost."""
    rows = []
    for step, agents in taken.times.items():
        walls = {name: middle(samples).wall_seconds for name, samples in agents.items()}
        cells = [f"{walls[name]:.3f}" if name in walls else "" for name in (years.SHORT, years.PRUNED, years.KEPT)]
        ratios = [
            walls[name] / walls[years.SHORT] for name in (years.PRUNED, years.KEPT)
            if name in walls and years.SHORT in walls
        ]  # fmt: skip
        target = (
            [f"≤ {_GROWTH:g} ×", "; ".join(_said(ratio <= _GROWTH) for ratio in ratios)] if ratios else ["", ""]
        )
        shown = [f"{ratio:.1f}" for ratio in ratios]
        rows.append([f"{step}, s", *cells, *shown, *[""] * (2 - len(shown)), *target])
    sizes = [
        median(taken.sizes["repository size"][name]) / 1e6 for name in (years.SHORT, years.PRUNED, years.KEPT)
    ]
    rows.append(["repository size, MB", *[f"{size:.1f}" for size in sizes], "", "", "", ""])
    return table(
        [f"H, {hours:,} hours", years.SHORT, years.PRUNED, years.KEPT, "pruned", "never", "target", ""], rows
    )


def costs(taken: Mapping[int, Taken]) -> str:
    """Microseconds of wall clock a file, start-up included, by the number of files in the workspace."""
    rows = []
    for files, each in taken.items():
        for step in ("first", "unchanged", "changed"):
            row = [f"{files:,}", step if step != "changed" else "changed, a tenth of them"]
            for tool in TOOLS:
                samples = each.times[step].get(tool)
                row.append(f"{_each(each, step, tool, files):,.0f}" if samples else "")
            rows.append(row)
    return table(["files", "µs a file", *TOOLS], rows)


def _each(taken: Taken, step: str, tool: str, files: int) -> float:
    walls = {name: middle(by_tool[tool]).wall_seconds for name, by_tool in taken.times.items()}
    if step == "changed":
        return max(0.0, walls["changed"] - walls["unchanged"]) / (files // 10) * 1e6
    return walls[step] / files * 1e6


def _megabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f}" if size_bytes >= 1e6 else f"{size_bytes / 1e6:.3f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def put_into(page: Path, section: str, text: str) -> None:
    """Replace what stands between `<!-- section -->` and `<!-- /section -->` in a Markdown page."""
    mark = re.compile(f"(<!-- {section} -->\n).*?(<!-- /{section} -->)", re.DOTALL)
    page.write_text(mark.sub(lambda found: f"{found[1]}{text}\n{found[2]}", page.read_text()))
