"""Goal: no page leads nowhere. Method: every link, every command and every option in the pages is looked up."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from program import DOCS, PROJECT, commands, pages

from antsmem.cli.main import COMMANDS

GLOBAL = {"-C", "--workspace", "--json", "-q", "--quiet", "-v", "--verbose", "--no-input", "--help", "--version"}
GLOBAL |= {"--install-completion", "--show-completion"}
GROUPS = {name.split()[1] for name, _ in commands() if len(name.split()) == 3}
_LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_CALL = re.compile(
    r"(?<!# )(?<!role )(?<!owner )(?<!add )"  # comments; users of that name
    r"\bantsmem(?: -C \S+| -q| -v| --json)* ([a-z]+(?:-[a-z]+)*)(?: ([a-z-]+)\b)?([^|;&\n]*)"
)


def prose(text: str) -> str:
    """A page without its blocks of code."""
    return _FENCED.sub("", text)


def anchors(page: Path) -> set[str]:
    """What a link may name after `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text("utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)).lower() for text in headings)
    return {text.replace(" ", "-") for text in plain}


def links() -> Iterator[tuple[Path, str]]:
    for page in pages():
        for target in _LINK.findall(prose(page.read_text("utf-8"))):
            yield page, target


def dead(page: Path, target: str) -> bool:
    """Whether a relative link leads nowhere. Links to other sites are not followed."""
    if re.match(r"[a-z]+:", target):
        return not target.startswith("https://")
    name, _, anchor = target.partition("#")
    place = (page.parent / name).resolve() if name else page
    return not place.is_file() or bool(anchor and anchor not in anchors(place))


def test_every_link_leads_somewhere() -> None:
    found = [f"{page.relative_to(PROJECT)}: {target}" for page, target in links() if dead(page, target)]
    assert found == []


@pytest.mark.parametrize("target", ["nowhere.md", "index.md#nowhere", "http://example.org", "../nowhere/"])
def test_a_dead_link_is_noticed(target: str) -> None:
    assert dead(DOCS / "index.md", target)
    assert not dead(DOCS / "index.md", "changelog.md#010")


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    todo = [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        seen.add(page)
        targets = [target.partition("#")[0] for target in _LINK.findall(prose(page.read_text("utf-8")))]
        near = [(page.parent / target).resolve() for target in targets if target.endswith(".md")]
        todo += [place for place in near if place.is_file() and place not in seen]
    assert sorted(str(page.relative_to(PROJECT)) for page in {*DOCS.glob("**/*.md")} - seen) == []


def code(text: str) -> str:
    """What a page shows as code: its blocks, and what stands between back quotes."""
    blocks = [found[0] for found in _FENCED.finditer(text)]
    return "\n".join([*blocks, *_CODE.findall(prose(text))]).replace("\\\n>", " ")


def calls() -> Iterator[tuple[str, str, list[str]]]:
    """(where, command, options) of every `antsmem …` that a page shows as code."""
    for page in pages():
        for found in _CALL.finditer(code(page.read_text("utf-8"))):
            name, second, rest = found.groups()
            below = name in GROUPS and bool(second) and not second.startswith("-")
            command = f"antsmem {name} {second}" if below else f"antsmem {name}"
            rest = rest if below else f"{second or ''}{rest}"
            try:
                words = shlex.split(rest, comments=True)
            except ValueError:
                words = rest.split()
            words = words[: words.index("--")] if "--" in words else words  # what follows is another program's
            options = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
            yield f"{page.relative_to(PROJECT)}: {found[0].strip()}", command, options


def test_every_command_in_the_pages_exists_with_its_options() -> None:
    known: dict[str, Any] = {
        name: {*GLOBAL, *(o for p in each.params for o in p.opts)} for name, each in commands()
    }
    wrong = []
    seen = set()
    for where, command, options in calls():
        if command in {f"antsmem {group}" for group in GROUPS}:
            continue
        seen.add(command)
        if command not in known or not set(options) <= known[command]:
            wrong.append(where)
    assert wrong == []
    assert {name.split()[1] for name in seen} == set(COMMANDS)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_a_page_has_one_title_and_no_machine_path(page: Path) -> None:
    text = page.read_text("utf-8")
    assert re.findall(r"^# ", prose(text), re.MULTILINE) == ["# "]
    assert not re.search(r"(?<![\w.~])/(?:root|work|tmp|builds)/", text)


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text("utf-8").splitlines()) <= 120
