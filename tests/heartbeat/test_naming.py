"""Goal: work keeps its name when its text is edited, and no other work gets that name.

Method: single edits; properties over arbitrary texts and lists of tasks.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.heartbeat.naming import Known, find_renames, made_id
from antsmem.heartbeat.plan import Zone
from antsmem.heartbeat.reading import read_plan
from antsmem.heartbeat.tags import ID


def known(text: str) -> list[Known]:
    tasks = read_plan(text.encode(), Zone("UTC", "host")).tasks
    return [Known(task.id, task.path, task.title) for task in tasks]


@given(st.lists(st.text(max_size=30), max_size=4), st.text(max_size=300))
def test_a_made_id_is_a_name_for_files_and_depends_on_headings_and_text(path: list[str], title: str) -> None:
    name = made_id(path, title)
    assert ID.fullmatch(name) and name == made_id(path, title)
    assert name != made_id([*path, "x"], title) and len(name) <= 45


def test_a_new_schedule_a_pause_and_a_tag_are_not_new_work() -> None:
    names = {
        known(text)[-1].id
        for text in (
            "## Forum (every 4 hours)\n- a\n",
            "## Forum (daily)\n- b\n",
            "## Forum {every=2h}\n- a\n",
            "## [paused] Forum {every=2h}\n- a\n",
            "## ~~Forum~~\n- a\n",
        )
    }
    assert len(names) == 1


def test_an_edited_item_is_the_same_work() -> None:
    before = known("# T\n- Write the weekly post about ants {every=1w}\n")
    after = known("# T\n- Write the weekly post about all ants {every=1w}\n")
    assert find_renames(before, after).same == {after[0].id: before[0].id}


@pytest.mark.parametrize(
    "text",
    [
        "# Other\n- Write the weekly post about ants {every=1w}\n",
        "# T\n- Something else altogether {every=1w}\n",
        "# T\n- Write the weekly post about ants {id=post every=1w}\n",
    ],
)
def test_another_heading_another_text_or_a_given_id_is_other_work(text: str) -> None:
    before = known("# T\n- Write the weekly post about ants {every=1w}\n")
    after = known(text)
    given_ids = [task.id for task in after if task.id == "post"]
    found = find_renames(before, after, given_ids)
    assert not found.same and not found.ambiguous


def test_two_that_may_be_one_are_ambiguous() -> None:
    before = known("- Post launch note one {once}\n- Post launch note two {once}\n")
    after = known("- Post launch note six {once}\n")
    found = find_renames(before, after)
    assert not found.same and found.ambiguous == {after[0].id: (before[0].id, before[1].id)}


def test_one_that_may_have_become_two_is_ambiguous() -> None:
    before = known("- Post launch note six {once}\n")
    after = known("- Post launch note one {once}\n- Post launch note two {once}\n")
    assert find_renames(before, after).ambiguous.keys() == {task.id for task in after}


def test_what_is_still_there_is_not_renamed() -> None:
    before = known("- Post launch note one {once}\n")
    after = known("- Post launch note one {once}\n- Post launch note two {once}\n")
    found = find_renames(before, after)
    assert not found.same and not found.ambiguous


TASKS = st.lists(
    st.builds(Known, st.sampled_from("abcdefgh"), st.sampled_from([(), ("x",)]), st.text("ab ", max_size=8)),
    max_size=8,
    unique_by=lambda task: task.id,
)


@given(TASKS, TASKS)
def test_a_rename_goes_from_one_that_is_gone_to_one_that_is_new(before: list[Known], after: list[Known]) -> None:
    found = find_renames(before, after)
    old, new = {task.id for task in before}, {task.id for task in after}
    assert found.same.keys() <= new - old and set(found.same.values()) <= old - new
    assert len(set(found.same.values())) == len(found.same)
    assert not found.same.keys() & found.ambiguous.keys()
