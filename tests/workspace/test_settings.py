"""Goal: `agent.yaml` means one thing, mistakes are shown with file and line, and a hostile file can do little.

Method: what is written is read back (all settings hypothesis can think of); mistakes are listed with the complaint
expected; the modules that reading imports are counted in a fresh interpreter.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import ConfigError, NotFoundError, UsageError, WouldOverwriteError
from antsmem.core.plainyaml import _quick
from antsmem.workspace.classes import CLASSES, Classifier, glob_fault
from antsmem.workspace.layout import Layout
from antsmem.workspace.settings import (
    COLD,
    ESCROW,
    HOT,
    AgentSettings,
    Tier,
    name_from,
    parse_settings,
    read_settings,
    render,
    write_settings,
)

counts = st.integers(1, 10_000)
intervals = st.integers(1, 99_999).map(lambda minutes: minutes * 60).filter(lambda seconds: seconds <= 366 * 86400)
globs = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable() and glob_fault(text) is None)
settings = st.builds(
    AgentSettings,
    name=st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", fullmatch=True),
    did=st.one_of(st.none(), st.from_regex(r"did:webvh:[A-Za-z0-9]{46}:[a-z0-9.%-]{1,60}", fullmatch=True)),
    time_zone=st.sampled_from(["UTC", "Europe/Lisbon", "America/Argentina/Buenos_Aires", "Etc/GMT+5"]),
    hot=st.builds(Tier, interval_seconds=intervals, hourly=counts, daily=counts),
    cold=st.builds(Tier, interval_seconds=intervals, weekly=counts, monthly=st.integers(0, 10_000)),
    escrow=st.builds(Tier, newest=counts),
    classes=st.dictionaries(
        st.sampled_from(CLASSES), st.lists(globs, min_size=1, max_size=4).map(tuple), max_size=len(CLASSES)
    ),
)


@given(settings)
def test_what_is_written_is_what_is_read(given_settings: AgentSettings) -> None:
    assert parse_settings(render(given_settings).encode(), "agent.yaml") == given_settings
    Classifier(given_settings.classes)


def test_a_file_with_a_name_only_has_the_defaults() -> None:
    read = parse_settings(b"name: kevin\n", "agent.yaml")
    assert read == AgentSettings("kevin", None, "UTC", HOT, COLD, ESCROW, {})
    assert (read.hot.interval_seconds, read.hot.hourly, read.hot.daily) == (3600, 48, 14)
    assert (read.cold.interval_seconds, read.cold.weekly, read.cold.monthly) == (604800, 8, 12)
    assert (read.escrow.interval_seconds, read.escrow.newest) == (0, 3)


def test_a_tier_keeps_exactly_what_its_keep_says_or_the_default() -> None:
    read = parse_settings(b"name: k\ntiers:\n  hot:\n    keep:\n      daily: 3\n  cold:\n    every: 2w\n", "f")
    assert read.hot == Tier(3600, daily=3)
    assert read.cold == Tier(14 * 86400, weekly=8, monthly=12)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "f:1`: has no `name`"),
        ("name: kevin\ntier: 1", "f:2`: unknown key `tier`: did you mean `tiers`?"),
        ("name: k\n\ntime-zone: UTC", "f:3`: unknown key `time-zone`: did you mean `time_zone`?"),
        ("name: k\nclasses:\n  machine_bound: []", "unknown key `machine_bound`: did you mean `machine-bound`?"),
        ("name: k\ntiers:\n  hot:\n    evry: 1h", "f:4`: unknown key `evry`: did you mean `every`?"),
        ("name: k\ncommand: rm", "unknown key `command`: there are `name`"),
        ("name: k\ntiers:\n  escrow:\n    every: 1h", "unknown key `every`"),
        ("name: ../../x", "`name` is not letters"),
        ("name: .hidden", "`name` is not letters"),
        ('name: "a b"', "`name` is not letters"),
        ("name: " + "x" * 65, "`name` is not letters"),
        ("name: [a]", "`name` is not letters"),
        ("name: k\ndid: webvh:x", "`did` is not a DID"),
        ("name: k\ntime_zone: ../../etc/passwd", "`time_zone` is not an IANA name"),
        ("name: k\ntiers:\n  hot:\n    every: 90", "`every` is not a time"),
        ("name: k\ntiers:\n  hot:\n    every: 0h", "`every` is not a time"),
        ("name: k\ntiers:\n  hot:\n    every: 54w", "`every` is longer than a year"),
        ("name: k\ntiers:\n  hot:\n    keep:\n      hourly: 0", "`keep` keeps nothing"),
        ("name: k\ntiers:\n  hot:\n    keep:\n      hourly: -1", "`hourly` is not a number from 0"),
        ("name: k\ntiers:\n  hot:\n    keep:\n      hourly: 10001", "`hourly` is not a number from 0"),
        ("name: k\ntiers:\n  hot:\n    keep:\n      hourly: many", "`hourly` is not a number from 0"),
        ("name: k\ntiers: hot", "f:2`: expected keys here"),
        ("name: k\nclasses:\n  derived: x", "f:3`: expected a list here"),
        ("name: k\nclasses:\n  derived:\n    - x\n    - '**'", "f:5`: glob `**` names nothing"),
        ("name: k\nclasses:\n  derived: [[a]]", "`glob` is not a line of text"),
        ('name: k\nclasses:\n  derived: ["a\\e[31m"]', "`glob` is not a line of text"),
        ("name: k\nclasses:\n  derived: [" + "a," * 1001 + "]", "holds more than 1000 globs"),
    ],
)
def test_a_mistake_is_shown_with_file_and_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text.encode(), "f")
    message = str(caught.value)
    assert complaint in message
    assert message.isprintable()
    assert "edit `f`, line" in caught.value.hint


def test_a_fresh_file_is_written_once_and_never_over_another(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "agent")
    write_settings(layout, AgentSettings("kevin"))
    assert read_settings(layout).name == "kevin"
    with pytest.raises(WouldOverwriteError):
        write_settings(layout, AgentSettings("lisa"))
    assert read_settings(layout).name == "kevin"
    assert _quick(layout.settings.read_text()) is not None


def test_settings_that_could_not_be_read_back_are_not_written(tmp_path: Path) -> None:
    for bad in (
        AgentSettings("../x"),
        AgentSettings("k", time_zone='UTC"\ncommand: "x'),
        AgentSettings("k", hot=Tier(60)),
    ):
        with pytest.raises(ConfigError):
            write_settings(Layout(tmp_path), bad)
    assert list(tmp_path.iterdir()) == []


def test_no_file_says_what_makes_one_and_a_link_is_not_followed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(NotFoundError) as caught:
        read_settings(layout)
    assert "name: NAME" in caught.value.hint
    layout.home.mkdir()
    layout.settings.symlink_to("/etc/passwd")
    with pytest.raises(UsageError):
        read_settings(layout)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Kévin's agent", "K-vin-s-agent"),
        ("../..", "agent"),
        ("", "agent"),
        ("x" * 99, "x" * 64),
        (".claw", "claw"),
    ],
)
def test_any_directory_name_gives_a_valid_agent_name(text: str, name: str) -> None:
    assert name_from(text) == name


@given(st.text(max_size=80))
def test_a_name_made_from_any_text_can_be_written(text: str) -> None:
    made = AgentSettings(name_from(text))
    assert parse_settings(render(made).encode(), "f") == made


def test_reading_a_file_that_antsmem_wrote_does_not_import_yaml(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    write_settings(
        layout, AgentSettings("kevin", "did:webvh:Qm:relay.example", "Europe/Lisbon", classes={"derived": ("a/",)})
    )
    code = (
        "import sys; from pathlib import Path; from antsmem.workspace.layout import Layout;"
        "from antsmem.workspace.settings import read_settings; read_settings(Layout(Path(sys.argv[1])));"
        "print(*sorted({'yaml', 'zoneinfo', 'difflib', 'hashlib', 'typer', 'rich'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, check=True).stdout
    assert shown.decode().strip() == ""
