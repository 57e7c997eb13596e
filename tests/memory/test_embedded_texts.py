"""Goal: the embedded text index holds what was put into it and nothing else, and takes any query.

Method: a plain dictionary beside it through drawn calls; FTS5's own check of its tables; drawn queries. Control: a
query that is given to FTS5 as it is fails.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_model import CALLS, Call, after

from antsmem.core.errors import ConfigError, DriverMissingError, IntegrityError
from antsmem.memory.embedded import texts
from antsmem.memory.embedded.texts import FileTexts
from antsmem.memory.roles import TextRow
from antsmem.memory.words import asked_words, words

STREAM = "tenant/agent"


@given(calls=CALLS)
def test_it_holds_what_was_put_whatever_the_order_of_calls(
    tmp_path_factory: pytest.TempPathFactory, calls: list[Call]
) -> None:
    index = FileTexts(tmp_path_factory.mktemp("index"))
    model = after(index, calls, lambda turn, *who: TextRow(*who, f"every turn{turn}"))
    for stream, mine in model.items():
        for turn in range(len(calls)):
            named = {name for name, row in mine.items() if row.text == f"every turn{turn}"}
            assert {name for name, _ in index.search(stream, f"turn{turn}", 99)} == named
    index._db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    assert index._db.execute("SELECT count(*) FROM words").fetchone() == (sum(map(len, model.values())),)
    index.close()


@given(st.text())
def test_words_are_letters_and_digits_and_nothing_else(text: str) -> None:
    for word in words(text):
        assert 0 < len(word) <= 100
        assert word.isalnum() or ord(word) >= 0x3041, ascii(word)  # one of the scripts without spaces
    assert len(asked_words(text)) <= 64
    assert words(" ".join(words(text))) == words(text)


@pytest.mark.parametrize("query", ['"', "tea AND", "tea NEAR(", "nothing:tea", "(((", "*", "-tea", "tea'"])
def test_a_query_given_as_it_is_would_be_an_error(tmp_path: Path, query: str) -> None:
    """The control of the suite's queries."""
    index = FileTexts(tmp_path)
    assert index.search(STREAM, query, 9) == []
    with pytest.raises(sqlite3.OperationalError):
        index._db.execute(texts._SEARCH, (query, STREAM, 9)).fetchall()
    index.close()


def test_an_interrupted_change_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, other, put = FileTexts(tmp_path), FileTexts(tmp_path), texts._put
    index.upsert([TextRow(STREAM, "a", 1, "tea")])

    def interrupted(db: sqlite3.Connection, row: TextRow) -> None:
        put(db, row)
        if row.id == "b":
            raise KeyboardInterrupt

    monkeypatch.setattr(texts, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index.upsert([TextRow(STREAM, "a", 2, "coffee"), TextRow(STREAM, "b", 1, "tea")])
    assert [name for name, _ in other.search(STREAM, "tea coffee", 9)] == ["a"]
    assert other.search(STREAM, "coffee", 9) == []
    for each in (index, other):
        each.close()


def test_a_damaged_file_and_a_place_that_is_none_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts.db").write_bytes(b"no database " * 1000)
    with pytest.raises(IntegrityError):
        FileTexts(tmp_path)
    with pytest.raises(ConfigError):
        FileTexts.open("file://elsewhere/x", {})
    monkeypatch.setattr(texts, "_HAS_FTS5", "SELECT 1 WHERE 0")
    with pytest.raises(DriverMissingError, match="FTS5"):
        FileTexts(tmp_path / "other")
