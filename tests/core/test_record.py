"""Goal: records behave as frozen slotted dataclasses do, which stand beside them here as the oracle.

Method: the same declarations both ways, and the same calls, right and wrong, on both.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from antsmem.core import record as records


def kinds() -> list[tuple[str, Any, Any, Any]]:
    frozen = dataclasses.dataclass(frozen=True, slots=True)
    loose = dataclasses.dataclass(slots=True)
    return [
        ("record", records.record, records.field, records.replace),
        ("dataclass", frozen, dataclasses.field, dataclasses.replace),
        ("mutable_record", records.mutable_record, records.field, records.replace),
        ("mutable dataclass", loose, dataclasses.field, dataclasses.replace),
    ]


def declared(kind: Callable[[type], type], field: Any) -> Any:
    class Made:
        """A record of each sort of member."""

        name: str
        key: bytes = field(repr=False)
        count: int = 7
        found: list[str] = field(default_factory=list)
        place: str = field(default="here")

        @property
        def loud(self) -> str:
            return self.name.upper()

        @classmethod
        def plain(cls) -> Any:
            return cls("plain", b"")

    return kind(Made)


PAIRS = [("record", "dataclass"), ("mutable_record", "mutable dataclass")]


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return repr(call())
    except (TypeError, AttributeError) as error:
        return type(error).__mro__[-3]  # dataclasses refuse with a child of AttributeError


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "by position": lambda made, _: made("a", b"k", 1, ["x"], "p"),
    "by name": lambda made, _: made(key=b"k", name="a", place="p"),
    "defaults": lambda made, _: made("a", b"k"),
    "a member is missing": lambda made, _: made("a"),
    "too many": lambda made, _: made("a", b"k", 1, [], "p", 5),
    "unknown": lambda made, _: made("a", b"k", colour=1),
    "twice": lambda made, _: made("a", b"k", name="b"),
    "replaced": lambda made, replace: replace(made("a", b"k"), name="b", count=3),
    "replaced by what there is not": lambda made, replace: replace(made("a", b"k"), colour=3),
    "property": lambda made, _: made("a", b"k").loud,
    "class method": lambda made, _: made.plain(),
    "equal": lambda made, _: made("a", b"k") == made("a", b"k"),
    "other": lambda made, _: made("a", b"k") == made("a", b"l"),
    "another kind": lambda made, _: made("a", b"k") == ("a", b"k", 7, [], "here"),
    "own list each": lambda made, _: made("a", b"k").found is made("a", b"k").found,
    "assigned": lambda made, _: setattr(made("a", b"k"), "name", "b"),
    "deleted": lambda made, _: delattr(made("a", b"k"), "name"),
    "new attribute": lambda made, _: setattr(made("a", b"k"), "colour", "b"),
    "hash of a list": lambda made, _: hash(made("a", b"k")),
    "hash": lambda made, _: hash(made("a", b"k", 1, (), "p")) == hash(made("a", b"k", 1, (), "p")),
    "matched": lambda made, _: made.__match_args__,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_record_answers_as_the_dataclass_does(ours, theirs, call):
    by_name = {name: (declared(kind, field), replace) for name, kind, field, replace in kinds()}
    made, replace = by_name[ours]
    oracle, oracle_replace = by_name[theirs]
    assert outcome(lambda: call(made, replace)) == outcome(lambda: call(oracle, oracle_replace))


def test_a_member_that_is_not_shown_is_not_shown():
    made = declared(records.record, records.field)("a", b"hidden")
    assert "hidden" not in repr(made)
    assert "key" not in records.shown(made)
    assert records.members(type(made)) == ("name", "key", "count", "found", "place")
    assert records.shown(3) == {}


def test_a_record_fills_members_of_its_own_after_the_start():
    @records.mutable_record
    class Made:
        given: int
        own: int = records.field(init=False)

        def __post_init__(self) -> None:
            self.own = self.given * 2

    assert Made(4).own == 8
    with pytest.raises(TypeError, match="takes no `own`"):
        Made(4, own=3)


def test_methods_that_the_class_brings_are_kept():
    @records.record
    class Made:
        key: bytes

        def __repr__(self) -> str:
            return "<hidden>"

    assert repr(Made(b"k")) == "<hidden>"
    assert copy.copy([Made(b"k")])[0].key == b"k"
