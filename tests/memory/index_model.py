"""A plain dictionary beside an index of rows, through drawn calls to both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Call = tuple[str, str, list[int], int]
_STREAMS, _NUMBERS = st.sampled_from("ab"), st.lists(st.integers(0, 12), max_size=9)
CALLS: st.SearchStrategy[list[Call]] = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), _STREAMS, _NUMBERS, st.integers(1, 3)),
        st.tuples(st.just("delete"), _STREAMS, _NUMBERS, st.just(0)),
        st.tuples(st.just("drop"), _STREAMS, st.just([]), st.just(0)),
    ),
    max_size=12,
)
"""What to do, the stream, the numbers of rows, their version."""


def after(index: Any, calls: list[Call], row: Callable[[int, str, str, int], Any]) -> dict[str, dict[str, Any]]:
    """The rows that `index` holds after `calls`: stream → id → row. `row(turn, stream, id, version)` makes one to
    put in the call of that turn."""
    model: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
    for turn, (call, stream, numbers, version) in enumerate(calls):
        mine, names = model[stream], [f"r{number}" for number in numbers]
        if call == "upsert":
            rows = [row(turn, stream, name, version) for name in names]
            index.upsert(rows)
            for each in rows:
                if each.id not in mine or mine[each.id].version <= version:
                    mine[each.id] = each
        elif call == "delete":
            index.delete(stream, names)
            for name in names:
                mine.pop(name, None)
        else:
            index.drop(stream)
            mine.clear()
    for stream, mine in model.items():
        assert index.count(stream) == len(mine)
    return model
