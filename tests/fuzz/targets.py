"""What a stranger can hand us: every kind of file, by name.

A target is added with one function that makes it from the specimens (see `reading.Target`) and one line in the
table of its module: it is fuzzed from then on, in CI, in `make soak`, by hypothesis and led by coverage.
"""

from __future__ import annotations

from of_backup import BACKUP
from of_files import FILES
from of_identity import IDENTITY
from of_memory import MEMORY
from of_relay import RELAY
from of_trust import TRUST
from reading import Making

TARGETS: dict[str, Making] = FILES | IDENTITY | BACKUP | TRUST | RELAY | MEMORY
