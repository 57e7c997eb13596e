"""Goal: NOW.md says what was set, and every byte that a person wrote stays. Method: files of many forms."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antsmem.core.errors import UsageError
from antsmem.workspace.create import templates_dir
from antsmem.workspace.layout import Layout
from antsmem.workspace.now import LABELS, read_now, write_now

TEXT = """# Now

My own words stay: - Objective is not a line of this form.

<!--
- Objective: an example in a comment
-->
```
- Next action: an example in a fence
```
* **Objective:** old
- next action : before\t
Blocked by:
More words.
"""


def test_what_is_set_is_read_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "NOW.md"
    path.write_text(TEXT)
    path.chmod(0o640)
    found = write_now(Layout(tmp_path), {"objective": "new", "forbidden": "touch it"})
    assert (found.objective, found.next_action, found.blocked, found.forbidden) == (
        "new",
        "before",
        "",
        "touch it",
    )
    expected = TEXT.replace("* **Objective:** old", "* **Objective:** new")
    assert path.read_text() == expected.replace("Blocked by:\n", "Blocked by:\n- Must not: touch it\n")
    assert path.stat().st_mode & 0o777 == 0o640


def test_without_a_file_one_is_made(tmp_path: Path) -> None:
    assert not read_now(Layout(tmp_path)).found
    found = write_now(Layout(tmp_path), {"next_action": "begin\nhere"})
    assert found.found and found.next_action == "begin here"
    assert (tmp_path / "NOW.md").read_text().count("\n- ") == len(LABELS)


@pytest.mark.parametrize("template", ["default", "openclaw", "minimal"])
def test_the_templates_are_understood(tmp_path: Path, template: str) -> None:
    source = templates_dir() / template / "NOW.md"
    if source.exists():
        (tmp_path / "NOW.md").write_bytes(source.read_bytes())
        before = (tmp_path / "NOW.md").read_text().count("\n")
        write_now(Layout(tmp_path), dict.fromkeys(LABELS, "x"))
        assert (tmp_path / "NOW.md").read_text().count("\n") == before


def test_line_ends_and_bytes_that_are_no_text_stay(tmp_path: Path) -> None:
    path = tmp_path / "NOW.md"
    path.write_bytes(b"\xff\xfe odd\r\n- Objective: a\r\nlast")
    write_now(Layout(tmp_path), {"objective": "b", "blocked": "c"})
    assert path.read_bytes() == b"\xff\xfe odd\r\n- Objective: b\r\n- Blocked by: c\r\nlast"
    write_now(Layout(tmp_path), {"blocked": ""})
    assert b"- Blocked by:\r\n" in path.read_bytes()


def test_what_is_too_long_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="longer"):
        write_now(Layout(tmp_path), {"objective": "x" * 3000})
    (tmp_path / "NOW.md").symlink_to("/etc/hostname")
    with pytest.raises(UsageError):
        read_now(Layout(tmp_path))


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.text(st.sampled_from("-#* \nObjective:<!->`ab\r\t"), max_size=120),
    st.text(max_size=40),
    st.sampled_from([*LABELS]),
)
def test_any_file_takes_any_text(tmp_path: Path, before: str, text: str, key: str) -> None:
    path = tmp_path / "NOW.md"
    path.write_bytes(before.encode())
    found = write_now(Layout(tmp_path), {key: text})
    again = read_now(Layout(tmp_path))
    assert found == again
    assert again.objective == found.objective
    write_now(Layout(tmp_path), {key: text})
    assert read_now(Layout(tmp_path)) == found
