"""Goal: the reference pages say exactly what the code does.

Method: the tables are read back from the pages and compared with the tables in the code.
"""

from __future__ import annotations

import re
from pathlib import Path

from antsmem.core.plainyaml import read_yaml
from antsmem.workspace.classes import Classifier
from antsmem.workspace.rules import COPY_SUFFIXES, RULES, SQLITE_SIDES
from antsmem.workspace.settings import parse_settings
from antsmem.workspace.signatures import NOTES, SIGNATURES

PAGES = Path(__file__).parents[2] / "docs" / "reference"
TITLES = {"Secret": "secret", "Machine-bound": "machine-bound", "Derived": "derived"}


def sections(text: str) -> dict[str, str]:
    """The text below each heading of the third level, up to the next heading of any level."""
    return dict(re.findall(r"^### (.+?)\n(.*?)(?=^#{1,3} |\Z)", text, re.MULTILINE | re.DOTALL))


def test_the_page_of_path_classes_lists_every_rule_and_no_other() -> None:
    text = (PAGES / "path-classes.md").read_text()
    documented = set()
    for title, body in sections(text).items():
        path_class = TITLES.get(title, "portable")
        if title.startswith("What is not here"):
            continue
        for reason, patterns in re.findall(r"^\| (.+?) \| (`.+`) \|$", body, re.MULTILINE):
            documented |= {(path_class, pattern, reason) for pattern in re.findall(r"`([^`]+)`", patterns)}
    assert documented == {tuple(rule) for rule in RULES}
    for suffix in (*COPY_SUFFIXES, *SQLITE_SIDES):
        assert f"`{suffix.decode()}`" in text


def test_the_example_on_the_page_of_path_classes_is_valid() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (PAGES / "path-classes.md").read_text(), re.DOTALL)
    settings = parse_settings(f"name: kevin\n{example}".encode(), "page")
    assert Classifier(settings.classes).classify_file(b"passwords.md", b"notes/passwords.md") is not None
    assert len(settings.classes) == 4
    assert read_yaml(example.encode(), "page").line == 1


def test_the_page_of_runtimes_lists_every_signal_and_note_and_no_other() -> None:
    found = sections((PAGES / "runtimes.md").read_text())
    names = {re.sub(r".*\(`(.+)`\)", r"\1", title): body for title, body in found.items()}
    assert list(names) == list(SIGNATURES)
    for runtime, signals in SIGNATURES.items():
        rows = re.findall(r"^\| `(.+?)` \| (\d) \| (?:`(.*)`)? ?\|$", names[runtime], re.MULTILINE)
        expected = [
            (signal.path, str(signal.weight), signal.holds.decode().replace("\n", "⏎").replace("\0", "␀"))
            for signal in signals
        ]
        assert rows == expected, runtime
        notes = re.findall(r"^\* (.+)$", names[runtime], re.MULTILINE)
        assert notes == [note for _, _, note in NOTES.get(runtime, ())]
