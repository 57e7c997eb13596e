"""Goal: the Tab key works. Method: a real bash loads what `--show-completion` prints and is asked to complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
ASK = """
eval "$(antsmem --show-completion bash)"
COMP_WORDS=(antsmem "$@")
COMP_CWORD=$#
_antsmem_completion antsmem
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["rec"], {"recover", "recovery"}),
        (["re"], {"restore", "recover", "recovery", "repository", "relay", "report"}),
        (["backup", "--t"], {"--tier"}),
        (["repository", "a"], {"add"}),
    ],
)
def test_bash_completes(words: list[str], offered: set[str]) -> None:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", *words], env=environment, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == offered
