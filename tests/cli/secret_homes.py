"""An agent with a secret, and machines on which it is recovered."""

from __future__ import annotations

import shutil
from pathlib import Path

from made_homes import KIT, Home, Ran

VALUE = b"can" + b"ary-value-1"


def with_secret(home: Home) -> Home:
    """`home`, its agent with a secret, a backup, and a copy of both from then."""
    home.must("secret", "set", "token", stdin=VALUE)
    home.must("backup")
    shutil.copytree(home.repository, home.root / "old-repository")
    shutil.copyfile(escrow(home), home.root / "old-secrets.age")
    return home


def escrow(home: Home) -> Path:
    """The newest escrow of the secrets."""
    return max((home.home / ".local/share/antsmem").glob("*/escrow/*-secrets-escrow.age"))


def secrets(home: Home, root: Path | None = None) -> dict[str, str]:
    ran = home.run("-C", str(root or home.workspace), "secret", "list", "--json")
    assert ran.code == 0, ran
    return {f"{row['name']} {row['version']}": row["state"] for row in ran.document["secrets"]}


def machine(home: Home) -> Home:
    """Another machine, with the recovery kit only."""
    count = len(list(home.root.glob("machine-*")))
    other = Home(home.root / f"machine-{count}")
    shutil.copyfile(home.root / KIT, other.root / KIT)
    return other


def recover(other: Home, repository: Path, *words: str) -> Ran:
    return other.run(
        "recover", str(other.workspace), "--kit", KIT, "--repository", str(repository), "--json", *words
    )
