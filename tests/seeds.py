"""The number that decides what the tests draw: ANTSMEM_TEST_SEED, else another one each run.

The last lines of a run tell it. Time still decides how far a test that has so many seconds comes.
"""

from __future__ import annotations

import os
import random

SEED = int(os.environ.setdefault("ANTSMEM_TEST_SEED", str(random.SystemRandom().randrange(1 << 32))))
