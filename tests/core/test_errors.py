"""Goal: what a stranger wrote cannot move the cursor of whoever reads the error over it. Method: any text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import IntegrityError


@given(st.text())
def test_a_message_is_one_printable_line(text: str) -> None:
    message = str(IntegrityError(f"`{text}` is odd"))
    assert message.isprintable()
    assert not text.isprintable() or message == f"`{text}` is odd"


def test_escapes_are_shown_and_not_sent() -> None:
    assert str(IntegrityError("a\x1b[2J\x9b\nb\u202e\udc80ü")) == r"a\x1b[2J\x9b\nb\u202e\udc80ü"
