"""Goal: a new recovery kit opens what the old one opened, secrets and ledger too; the old one opens nothing new.

Method: an agent with a secret gets a new kit; then it is recovered on another machine, with each kit, through the
commands.
"""

from __future__ import annotations

from pathlib import Path

from made_homes import KIT, Home


def _escrow(home: Home) -> list[Path]:
    return sorted((home.home / ".local/share/antsmem").glob("*/escrow/*secrets-escrow.age"))


def test_a_new_kit_opens_the_secrets_and_the_old_one_does_not(home: Home) -> None:
    value = b"not a secret " * 2
    home.must("secret", "set", "token", stdin=value)
    home.must("backup")
    home.must("identity", "rotate", "--kit", KIT, "--new-kit", "new-kit.txt")
    (escrow,) = _escrow(home)
    home.must("backup")
    recover = (
        "recover",
        "new",
        "--repository",
        str(home.repository),
        "--secrets",
        str(escrow),
        "--accept-stale",
        "--instead",
    )
    old = home.run(*recover, "--kit", KIT)
    assert old.code != 0 and not (home.root / "new").exists()
    new = home.run(*recover, "--kit", "new-kit.txt", "--host", "desktop")
    assert new.code == 0, new
    assert home.run("-C", "new", "secret", "get", "token").out.encode() == value
