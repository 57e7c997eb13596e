"""What a sync costs a file does not grow with the number of files: no question about one file reads all of them.

Method: the statements of a sync that records, and of one that takes, are traced; SQLite says how it answers each
that was asked for every file.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from devices import Agent, DeviceAt, backends_at

from antsmem.memory.sync import sync

FILES = 40


@pytest.mark.parametrize("host", ["laptop", "desktop"])
def test_no_question_that_is_asked_for_every_file_reads_a_whole_table(host: str, tmp_path: Path) -> None:
    agent = Agent("laptop", "desktop")
    devices = {name: DeviceAt(agent, name, tmp_path / name, backends_at(tmp_path)) for name in agent.keys}
    for number in range(FILES):
        devices["laptop"].write(f"notes/{number}.md", f"note {number}\n")
    if host == "desktop":
        devices["laptop"].sync()
    memory = devices[host].memory()
    asked: Counter[str] = Counter()
    example: dict[str, str] = {}

    def trace(statement: str) -> None:
        shape = re.sub(r"'[^']*'|\b[0-9]+\b", "?", statement)
        asked[shape] += 1
        example[shape] = statement

    database = memory.index._db
    database.set_trace_callback(trace)
    sync(memory, devices[host].job(), devices[host].backends)
    database.set_trace_callback(None)
    often = [example[shape] for shape, count in asked.items() if count >= FILES]
    assert len(often) > 5
    for statement in often:
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [step for step in plan if step.startswith("SCAN")], (statement, plan)
    memory.close()
