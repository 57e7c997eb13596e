"""Every text index finds texts by their words, whatever a person types. Method: one suite for each driver."""

from __future__ import annotations

import random

import pytest
from roles import Backend, backend, drivers

from antsmem.core.errors import UsageError
from antsmem.memory.roles import TextIndex, TextRow

STREAM = "tenant/agent"
SYNTAX = "\"'()*:^-+~<>&|!\\{}[]%_$;,.\0\t\n aAtTéß茶🫖\ud800"
QUERIES = (
    *(
        '"',
        "'",
        '""',
        "tea AND",
        "NOT tea",
        "tea NEAR(",
        "kept:tea",
        "{kept} : tea",
        "tea*",
        "-tea",
        "(((",
        "^",
        "*",
    ),
    *("\\", "\0", "", "' | 'x", "tea') ; drop table antsmem_texts_english; --", "tea:* & !cake", "<->", "%s", "_"),
    *("\ud800", "🫖", "\u0301", "or", "or or or", "NEAR AND OR NOT", "$1", "tea\ncake", "٣", "ﷺ", "İ"),
    *("x" * 100_000, " ".join(f"w{number}" for number in range(5000)), "the and of"),
)


@pytest.fixture(params=drivers("text"))
def made(request: pytest.FixtureRequest) -> Backend:
    return backend("text", request)


@pytest.fixture
def index(made: Backend, request: pytest.FixtureRequest) -> TextIndex:
    opened: TextIndex = made.open()
    opened.create()
    opened.create()
    request.addfinalizer(opened.close)
    return opened


def put(index: TextIndex, **texts: str) -> None:
    index.upsert([TextRow(STREAM, name, 1, text) for name, text in texts.items()])


def found(index: TextIndex, query: str, count: int = 9) -> list[str]:
    return [name for name, _ in index.search(STREAM, query, count)]


def test_the_best_comes_first_and_a_write_is_seen_at_once(index: TextIndex) -> None:
    assert found(index, "tea") == [] and index.count(STREAM) == 0
    put(index, a="Kim drinks tea with milk.", b="Tea, tea and tea again", c="The locker has a new lock", d="milk")
    assert index.count(STREAM) == 4
    assert found(index, "tea")[0] == "b" and set(found(index, "tea")) == {"a", "b"}
    assert found(index, "tea milk", 1) == ["a"]
    scores = [score for _, score in index.search(STREAM, "tea milk", 9)]
    assert scores == sorted(scores, reverse=True) and len(scores) == 3
    assert found(index, "tea", 0) == []


def test_words_are_found_by_stem_in_any_case_and_without_accents(index: TextIndex) -> None:
    put(index, a="She was RUNNING to the café", b="Ångström", c="snake_case and kebab-case, kim@example.com")
    for query in ("run", "runs", "Running", "CAFÉ", "cafe", "cafe\u0301"):
        assert found(index, query) == ["a"], query
    assert found(index, "angstrom") == ["b"]
    for query in ("snake", "kebab", "Kim", "example", "kim@example.com"):
        assert found(index, query) == ["c"], query


def test_what_is_written_without_spaces_is_found_by_its_characters(index: TextIndex) -> None:
    put(index, a="彼女は毎朝お茶を飲みます", b="他喜欢咖啡", c="Она любит чай", d="커피를 좋아해요")
    assert found(index, "お茶")[0] == "a" and found(index, "咖啡") == ["b"]
    assert found(index, "чай") == ["c"] and found(index, "커피를") == ["d"]


def test_common_words_are_not_looked_for(index: TextIndex) -> None:
    put(index, a="the cat and the hat", b="what is there")
    assert found(index, "the") == [] and found(index, "what is the hat") == ["a"]


def test_what_a_person_types_is_no_syntax(index: TextIndex) -> None:
    put(index, a="a cup of tea", b="cake and coffee")
    for query in QUERIES:
        assert set(found(index, query)) <= {"a", "b"}, query
        assert found(index, f"{query[:50]} tea")[0] == "a", query
    assert index.count(STREAM) == 2


def test_no_text_and_no_query_is_an_error(index: TextIndex) -> None:
    dice = random.Random(11)
    drawn = ["".join(dice.choices(SYNTAX, k=dice.randrange(40))) for _ in range(150)]
    index.upsert([TextRow(STREAM, f"t{number}", 1, text) for number, text in enumerate(drawn)])
    assert index.count(STREAM) == len(drawn)
    names = {f"t{number}" for number in range(len(drawn))}
    for query in drawn:
        assert set(found(index, query, 200)) <= names
    index.upsert([TextRow(STREAM, "long", 1, "a1 " * 80_000), TextRow(STREAM, "word", 1, "x" * 200_000)])
    assert found(index, "x" * 200_000) == ["word"]
    with pytest.raises(UsageError):
        index.upsert([TextRow(STREAM, "longer", 1, "x" * 300_000)])


def test_a_newer_text_replaces_and_an_older_one_does_not(index: TextIndex) -> None:
    index.upsert([TextRow(STREAM, "a", 2, "tea"), TextRow(STREAM, "a", 1, "coffee")])
    index.upsert([TextRow(STREAM, "a", 1, "coffee")])
    assert found(index, "tea") == ["a"] and found(index, "coffee") == []
    index.upsert([TextRow(STREAM, "a", 3, "coffee")])
    assert found(index, "tea") == [] and found(index, "coffee") == ["a"]
    assert index.count(STREAM) == 1


def test_what_is_deleted_or_of_another_stream_is_not_found(index: TextIndex) -> None:
    put(index, a="tea", b="tea", c="tea")
    index.upsert([TextRow("tenant/other", "a", 1, "tea")])
    index.delete(STREAM, ["a", "none"])
    assert found(index, "tea") == ["b", "c"]
    index.drop(STREAM)
    assert (index.count(STREAM), index.count("tenant/other")) == (0, 1)
    assert found(index, "tea") == [] and index.search("tenant/other", "tea", 9)[0][0] == "a"


def test_two_connections_see_each_other(made: Backend) -> None:
    one, other = made.open(), made.open()
    one.create()
    put(one, a="tea")
    assert found(other, "tea") == ["a"]
    other.delete(STREAM, ["a"])
    assert found(one, "tea") == []
    for each in (one, other):
        each.close()
