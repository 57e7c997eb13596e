"""Goal: what users install is whole. Method: build the wheel and run it where the source tree is out of reach."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from antsmem import __version__

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend that `pyproject.toml` names."""
    place = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True)
    (made,) = place.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `antsmem` program of a new environment that borrows its libraries from this one."""
    place = tmp_path_factory.mktemp("fresh")
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    here = sysconfig.get_path("purelib")
    there = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    install = ["pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    # A path in a .pth file is only searched: the .pth file there that leads to the source tree is not read.
    Path(there, "borrowed.pth").write_text(f"{here}\n")
    return place / "bin" / "antsmem"


def run(program: Path, home: Path, *words: str) -> str:
    done = subprocess.run(
        [str(program), *words],
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_what_the_program_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    templates = {str(path.relative_to(PROJECT)) for path in PROJECT.glob("templates/**/*.md")}
    assert templates
    assert {f"antsmem/{name}" for name in templates} <= names
    assert "antsmem/py.typed" in names
    modules = {str(path.relative_to(PROJECT)) for path in PROJECT.glob("antsmem/**/*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    assert {name.split("/")[0] for name in names} == {"antsmem", f"antsmem-{__version__}.dist-info"}


def test_the_wheel_offers_the_drivers(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        text = archive.read(points).decode()
    assert "[antsmem.stores]" in text
    assert "antsmem = antsmem.__main__:main" in text


def test_the_installed_program_runs_without_the_source_tree(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "--version") == f"antsmem {__version__}\n"
    ask = [str(installed.with_name("python")), "-I", "-c", "import antsmem; print(antsmem.__file__)"]
    where = subprocess.run(ask, check=True, capture_output=True, text=True).stdout
    assert where.startswith(str(installed.parents[1]))


def test_the_installed_program_makes_an_agent_from_its_templates(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "init", "kevin", "--recovery-out", "kit.txt")
    for template in PROJECT.glob("templates/default/*.md"):
        assert (tmp_path / "kevin" / template.name).is_file()
    run(installed, tmp_path, "-C", "kevin", "backup")
    assert "hot" in run(installed, tmp_path, "-C", "kevin", "snapshots")
