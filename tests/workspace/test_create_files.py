"""Goal: a template fills the gaps of a workspace and touches nothing that is there.

Method: every template into an empty and into a lived-in directory; the texts are checked for what they must not
do.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from trees import fingerprint

from antsmem.core.errors import NotFoundError, UsageError
from antsmem.workspace import create
from antsmem.workspace.classes import Classifier
from antsmem.workspace.create import TEMPLATES, create_files, templates_dir

CORE_FILES = {"SOUL.md", "USER.md", "TOOLS.md", "MEMORY.md", "HEARTBEAT.md", "NOW.md", "AGENTS.md"}
VALUES = {"name": "kevin", "time_zone": "Europe/Lisbon"}


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_empty_directory_gets_every_file_with_the_values_filled_in(tmp_path: Path, template: str) -> None:
    root = tmp_path / "new" / "agent"
    made = create_files(root, template, VALUES)
    assert made.kept == ()
    assert set(made.created) == {path.name for path in (templates_dir() / template).iterdir()}
    assert {"SOUL.md", "MEMORY.md", "HEARTBEAT.md"} <= set(made.created)
    for path in root.iterdir():
        text = path.read_text()
        assert "{{" not in text
        assert text.endswith("\n")
        assert path.stat().st_mode & 0o777 == 0o600
    assert any("kevin" in path.read_text() for path in root.iterdir())


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_there_stays_as_it_is_under_any_name_and_of_any_kind(tmp_path: Path, template: str) -> None:
    (tmp_path / "soul.md").write_text("mine")
    (tmp_path / "MEMORY.md").symlink_to("nowhere")
    (tmp_path / "HEARTBEAT.md").mkdir()
    before = fingerprint(tmp_path)
    made = create_files(tmp_path, template, VALUES)
    after = fingerprint(tmp_path)
    assert {"SOUL.md", "MEMORY.md", "HEARTBEAT.md"} <= set(made.kept)
    for path, seen in before.items():
        if path != bytes(tmp_path):
            assert after[path] == seen
    assert not (tmp_path / "SOUL.md").exists()
    again = create_files(tmp_path, template, VALUES)
    assert again.created == ()
    assert fingerprint(tmp_path) == after


def test_an_unknown_template_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no template `\.\./x`") as caught:
        create_files(tmp_path / "agent", "../x", VALUES)
    assert all(template in caught.value.hint for template in TEMPLATES)
    assert not (tmp_path / "agent").exists()


def test_an_installed_package_finds_the_templates_inside_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "antsmem"
    (package / "templates/default").mkdir(parents=True)
    (tmp_path / "templates").mkdir()  # of somebody else
    monkeypatch.setattr(create.antsmem, "__file__", str(package / "__init__.py"))
    with pytest.raises(NotFoundError):
        templates_dir()
    (package / "templates/default/SOUL.md").write_text("x")
    assert templates_dir() == package / "templates"


def test_a_heartbeat_as_laid_down_asks_for_nothing() -> None:
    for template in TEMPLATES:
        text = (templates_dir() / template / "HEARTBEAT.md").read_text()
        bare = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
        assert all(not line or line.startswith("#") for line in bare.split("\n")), template


def test_the_default_template_has_every_file_of_the_agent_and_all_are_portable() -> None:
    assert {path.name for path in (templates_dir() / "default").iterdir()} == CORE_FILES
    for path in templates_dir().rglob("*"):
        name = path.name.encode()
        assert path.is_dir() or Classifier().classify_file(name, name) is None


def test_the_readme_of_the_templates_names_every_template_and_every_file() -> None:
    text = (templates_dir() / "README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([A-Z, ]+) \|$", text, re.MULTILINE))
    assert set(rows) == set(TEMPLATES)
    for template, files in rows.items():
        assert {f"{name}.md" for name in files.split(", ")} == {
            path.name for path in (templates_dir() / template).iterdir()
        }
    described = set(re.findall(r"^\| `([A-Z]+\.md)` \|", text, re.MULTILINE))
    assert described == {path.name for template in TEMPLATES for path in (templates_dir() / template).iterdir()}
