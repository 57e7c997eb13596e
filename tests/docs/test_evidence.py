"""Goal: a page that says which test shows something names a test that there is. Method: each name is looked up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from program import DOCS, PROJECT, pages

_TEST = re.compile(r"\btests/[\w/]+\.py(?:::\w+)?")
THREATS = (DOCS / "explanation" / "threat-model.md").read_text("utf-8")


def missing(name: str) -> bool:
    """Whether there is no such module of tests, or no such test in it."""
    place, _, function = name.partition("::")
    path = PROJECT / place
    if not path.is_file():
        return True
    found = {
        node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)
    }
    return bool(function) and function not in found


def named() -> list[tuple[Path, str]]:
    return [(page, name) for page in pages() for name in _TEST.findall(page.read_text("utf-8"))]


def test_every_test_that_a_page_names_is_there() -> None:
    assert [f"{page.relative_to(PROJECT)}: {name}" for page, name in named() if missing(name)] == []
    assert len(named()) > 50


@pytest.mark.parametrize("name", ["tests/nowhere.py", "tests/docs/test_evidence.py::test_that_is_not_there"])
def test_a_test_that_is_not_there_is_noticed(name: str) -> None:
    assert missing(name) and not missing("tests/docs/test_evidence.py::missing")


def test_every_threat_says_what_holds_what_shows_it_and_what_is_not_promised() -> None:
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", THREATS, re.MULTILINE | re.DOTALL))
    threats = {title: body for title, body in sections.items() if not re.match(r"What |Four ", title)}
    assert len(threats) >= 14
    for title, body in threats.items():
        rows = re.findall(r"^\| (.+?) \| (.+?) \|$", body, re.MULTILINE)
        assert rows[0] == ("must hold", "shown by"), title
        assert len(rows) > 1 and all(_TEST.search(shown) for _, shown in rows[1:]), title
        assert "**Not promised:**" in body, title
