"""A year of hourly snapshots against ten of them: listing, incremental and prune as whole processes.

Three agents with the same files take turns: one with ten snapshots, one with a year of them and the policy applied
daily, one with a year of them and never a prune.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import copy
from pathlib import Path

from measure import BenchError, Sample, measured, run
from sides import Taken, copied, make
from tools import Antsmem

SHORT, PRUNED, KEPT = "10 snapshots", "pruned daily", "never pruned"
INSIDE = "incremental, without start-up"
CATCH_UP = "the first prune ever"
_LIVE = str(Path(__file__).with_name("history.py"))


def history(tool: Antsmem, own: Path, hours: int, runs: int, say: Callable[[str], None]) -> Taken:
    """Make the three agents below `own` and measure them. `hours` are 8,760 in a year."""
    taken, agents = Taken(), dict[str, Antsmem]()
    for name, agent_hours, how in ((SHORT, 10, "keep"), (PRUNED, hours, "prune"), (KEPT, hours, "keep")):
        say(f"H: living through {agent_hours} hours ({name})")
        agents[name] = copy(tool)
        _begin(agents[name], own, name)
        _live(agents[name], name, (str(agent_hours), how), taken)
    for number in range(runs):
        say(f"H: listing and incremental {number + 1}/{runs}")
        for name, agent in agents.items():
            taken.add("listing", name, measured(agent.command("snapshots")))
        for name, agent in agents.items():
            make("edit", agent.workspace, "3", str(number))
            taken.add("incremental", name, measured(agent.backup()))
    say("H: prune")
    taken.add(CATCH_UP, KEPT, measured(agents[KEPT].command("prune")))
    for number in range(runs):
        for name, agent in agents.items():
            make("edit", agent.workspace, "3", str(100 + number))
            run(agent.backup())
            taken.add("prune", name, measured(agent.command("prune")))
    for name, agent in agents.items():
        taken.add_size("repository size", name, agent.size_bytes())
        run(agent.check_data())
    return taken


def _begin(agent: Antsmem, own: Path, name: str) -> None:
    workspace = own / "work" / f"H {name}" / "S"
    copied(own / "corpora" / "S", workspace, "corpus", "S")
    place = workspace.with_name("place")
    shutil.rmtree(place, ignore_errors=True)
    agent.begin(workspace, place)


def _live(agent: Antsmem, name: str, how: tuple[str, str], taken: Taken) -> None:
    words = [sys.executable, _LIVE, str(agent.workspace), *how]
    environment = dict(agent.command().environment)
    lived = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if lived.returncode:
        raise BenchError(f"the history of `{name}` broke off")
    early, late = json.loads(lived.stdout)
    taken.add(INSIDE, name, Sample(late, 0.0, 0))
    if name == PRUNED:
        taken.times[INSIDE][SHORT] = [Sample(early, 0.0, 0)]
