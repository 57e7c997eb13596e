"""Goal: what a stranger wrote cannot move the cursor of whoever reads about it. Method: any text."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from antsmem.backup.manifest import shown
from antsmem.core.errors import IntegrityError

MOVING = {"Cc", "Cs", "Zl", "Zp"}


@given(st.text())
def test_a_message_and_its_hint_are_one_line(text: str) -> None:
    error = IntegrityError(f"`{text}` is odd", hint=text)
    for said in (str(error), error.hint):
        assert not MOVING & {unicodedata.category(each) for each in said}
    assert not text.isprintable() or (str(error), error.hint) == (f"`{text}` is odd", text)


def test_escapes_are_shown_and_not_sent() -> None:
    assert str(IntegrityError("a\x1b[2J\x9b\nb\u202e\udc80ü\u3000")) == r"a\x1b[2J\x9b\nb\u202e\udc80ü" + "\u3000"
    assert shown("a\x9b2J\u202e\n.md".encode()) == r"a\x9b2J\u202e\0012.md"
