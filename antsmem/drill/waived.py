"""Which secrets in a copied agent may stay, because the agent's own ledger says so: as places in its files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from antsmem.identity.scan import Scanned, scan_file
from antsmem.identity.scanner import Finding, Scanner
from antsmem.identity.waivers import Waivers


def waived_places(root: Path, waivers: Waivers, scanner: Callable[[], Scanner]) -> list[str]:
    """`PATH:LINE` of each line below `root` in which every secret is waived. A line that also holds one that is
    not is left out: its backup is refused for the copy as for the agent."""
    places = []
    for path in sorted({path for path, *_ in waivers.standing()}):
        scanned, whole = Scanned(), os.fsencode(root) + b"/" + path
        if os.path.isfile(whole):
            scan_file(scanner(), whole, path, scanned)
        lines: dict[int, bool] = {}
        for each in scanned.places:
            finding = Finding(each.rule, 0, 0, each.fingerprint, each.form)
            lines[each.line] = lines.get(each.line, True) and waivers.allows(path, finding)
        places += [f"{os.fsdecode(path)}:{line}" for line, all_waived in sorted(lines.items()) if all_waived]
    return places
