"""Two hosts of one agent, each with a home directory of its own, as their terminals see them."""

from __future__ import annotations

from pathlib import Path

from made_homes import KIT, Home


def first_home(place: Path) -> Home:
    """The agent's first host, with a backup that holds its key files, and an embedded backend."""
    home = Home(place)
    home.init()
    home.must("backend", "add", "embedded", str(place / "backend"))
    home.must("backend", "init")
    return home


def second_home(place: Path, first: Home) -> Home:
    """Another host, made by `recover` from a backup of the first one."""
    first.must("backup")
    home = Home(place)
    repository, kit = str(first.repository), str(first.root / KIT)
    words = ("recover", str(home.workspace), "--kit", kit, "--repository", repository, "--host", "desktop")
    ran = home.run(*words)
    assert ran.code == 0, ran
    home.must("backend", "add", "embedded", str(first.root / "backend"))
    return home


def tree(home: Home) -> dict[str, bytes]:
    """Every file of the workspace but antsmem's own."""
    found = {}
    for path in sorted(home.workspace.rglob("*")):
        name = str(path.relative_to(home.workspace))
        if path.is_file() and not name.startswith(".antsmem/"):
            found[name] = path.read_bytes()
    return found
