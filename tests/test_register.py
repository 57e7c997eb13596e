"""Goal: the checker of histories finds what is wrong and nothing else. Method: histories made by hand, each a
known anomaly or its harmless twin."""

from __future__ import annotations

import pytest
from register import FOREVER, Operation, linearizable

READ, WRITE = "read", "write"


@pytest.mark.parametrize(
    ("history", "right"),
    [
        ([], True),
        ([Operation(WRITE, None, 1, 0, 1), Operation(READ, None, 1, 2, 3)], True),
        ([Operation(WRITE, None, 1, 0, 1), Operation(READ, None, None, 2, 3)], False),  # stale read
        ([Operation(WRITE, None, 1, 0, 5), Operation(READ, None, None, 2, 3)], True),  # at the same time
        ([Operation(WRITE, None, 1, 0, 1), Operation(WRITE, None, 2, 0, 1)], False),  # lost update
        ([Operation(WRITE, None, 1, 0, 1), Operation("refused", None, 2, 0, 1)], True),
        ([Operation("refused", None, 2, 0, 1)], False),  # refused for no reason
        ([Operation(WRITE, None, 1, 0, FOREVER), Operation(READ, None, 1, 2, 3)], True),  # answer lost, done
        ([Operation(WRITE, None, 1, 0, FOREVER), Operation(READ, None, None, 2, 3)], True),  # or not done
        (
            [  # seen, then not there any more
                Operation(WRITE, None, 1, 0, FOREVER),
                Operation(READ, None, 1, 2, 3),
                Operation(READ, None, None, 4, 5),
            ],
            False,
        ),
    ],
)
def test_an_anomaly_is_told_from_what_is_harmless(history: list[Operation], right: bool) -> None:
    assert linearizable(history) is right
