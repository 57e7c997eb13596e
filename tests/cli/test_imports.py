"""Goal: a command loads what it needs and nothing else, because starting up is most of a small backup.

Method: each command runs in a Python of its own, which tells at its end which modules it has loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from made_homes import Home

TELL = """
import atexit, os, sys
def tell():
    fd = os.open(os.environ["MODULES"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.write(fd, "\\n".join(sys.modules).encode())
    os.close(fd)
atexit.register(tell)
from antsmem.cli.main import main
main(sys.argv[1:])
"""


def loaded(home: Home, *words: str, code: int = 0) -> set[str]:
    """The modules that the command has loaded when it ends."""
    place = home.root / "modules"
    environment = {**home.environment, "MODULES": str(place)}
    done = subprocess.run(
        [sys.executable, "-c", TELL, *words], env=environment, cwd=home.root, capture_output=True, check=False
    )
    assert done.returncode == code, done
    return set(place.read_text().splitlines())


def bare() -> set[str]:
    """What Python itself loads, as it was installed here."""
    done = subprocess.run(
        [sys.executable, "-c", "import atexit, os, sys; print('\\n'.join(sys.modules))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def within(modules: set[str], *packages: str) -> set[str]:
    return {name for name in modules for package in packages if name == package or name.startswith(package + ".")}


def test_the_version_costs_next_to_nothing(home: Home) -> None:
    modules = loaded(home, "--version")
    heavy = ("typer", "rich", "yaml", "nacl", "cryptography", "zstandard", "blake3", "sqlite3", "ahocorasick_rs")
    assert within(modules, *heavy, "json", "importlib.metadata", "logging", "asyncio", "email") == set()
    assert len(modules - bare()) < 90, sorted(modules - bare())
    assert within(modules, "antsmem.cli.commands", "antsmem.backup", "antsmem.drivers") == set()


@pytest.mark.parametrize(
    "words",
    [["backup", "--tier", "hot"], ["backup"], ["backup", "--json"], ["snapshots"], ["log", "x"]],
    ids=" ".join,
)
def test_an_ordinary_command_loads_no_network_no_pictures_and_no_plugins(home: Home, words: list[str]) -> None:
    home.must("backup")
    modules = loaded(home, "-C", str(home.workspace), *words)
    unwanted = (
        "paramiko", "boto3", "botocore", "httpx", "rich", "yaml", "importlib.metadata", "asyncio", "ssl", "http",
        "urllib.request", "sqlite3", "tarfile", "antsmem.core.age.hybrid_kem", "antsmem.drivers.s3",
        "antsmem.drivers.sftp", "antsmem.drivers.webdav", "pydantic", "keyring",
    )  # fmt: skip
    assert within(modules, *unwanted) == set()
    commands = within(modules, "antsmem.cli.commands")
    if {*words} <= {"backup", "--json"}:  # what cron calls
        assert not commands and not within(modules, "typer", "inspect", "dataclasses")
    else:
        assert f"antsmem.cli.commands.{words[0]}" in commands and len(commands) <= 4, sorted(commands)


def test_a_backup_loads_no_post_quantum_and_no_threads_pool(home: Home) -> None:
    modules = loaded(home, "-C", str(home.workspace), "backup")
    assert within(modules, "concurrent.futures", "multiprocessing", "cryptography.hazmat.primitives.hpke") == set()
    assert within(modules, "cryptography.hazmat.primitives.asymmetric.mlkem", "cryptography.x509") == set()


def test_only_the_command_that_was_asked_for_is_built(home: Home) -> None:
    for name in ("status", "check", "prune"):
        home.must("backup")
        modules = loaded(home, "-C", str(home.workspace), name)
        others = {"antsmem.cli.commands.recover", "antsmem.cli.commands.waive", "antsmem.cli.commands.config"}
        assert not others & modules
    assert os.path.exists(home.repository)
