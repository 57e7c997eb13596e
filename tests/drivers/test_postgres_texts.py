"""Goal: PostgreSQL's text search is used as meant: by its index, in a language of its own, and with words alone.

Method: the real server. Control: a query that is given to it as it is fails.
"""

from __future__ import annotations

from collections.abc import Callable

import engines
import engines_stores
import psycopg
import pytest
from racing import together

from antsmem.core.errors import ConfigError, NotFoundError, RefusedError
from antsmem.drivers.postgres_texts import PostgresTexts
from antsmem.memory.roles import TextRow

pytestmark = pytest.mark.server
STREAM = "tenant/agent"
Opener = Callable[..., PostgresTexts]


@pytest.fixture
def database(postgres: engines.Server) -> str:
    assert isinstance(postgres, engines_stores.Postgres)
    return postgres.database()


@pytest.fixture
def opened(postgres: engines.Server, database: str, closing: engines.Closing) -> Opener:
    """Indexes in a new database, with no table made."""

    def made(**options: str) -> PostgresTexts:
        url = f"postgres://antsmem@127.0.0.1:{postgres.port}/{database}?tls=no"
        return closing(PostgresTexts.open(url, options))

    return made


def test_each_language_has_a_table_of_its_own(opened: Opener) -> None:
    english, simple, german = opened(), opened(language="simple"), opened(language="german")
    for index in (english, simple, german):
        index.create()
        index.upsert([TextRow(STREAM, "a", 1, "The locks, die Katzen")])
    for index, query, expected in (
        (english, "lock", 1), (english, "the", 0), (simple, "lock", 0), (simple, "the", 1), (german, "Katze", 1),
        (german, "die", 0),
    ):  # fmt: skip
        assert len(index.search(STREAM, query, 9)) == expected, (index._language, query)


def test_a_language_that_is_none_is_refused(opened: Opener) -> None:
    for language in ("", "english'; --", "x" * 50, "English"):
        with pytest.raises(ConfigError):
            opened(language=language)
    index = opened(language="klingon")
    index.create()
    with pytest.raises(RefusedError, match="42704"):
        index.upsert([TextRow(STREAM, "a", 1, "tea")])


def test_a_search_uses_the_index(opened: Opener, postgres: engines.Server, database: str) -> None:
    index = opened()
    with pytest.raises(NotFoundError):
        index.count(STREAM)
    index.create()
    index.upsert([TextRow(STREAM, f"t{number}", 1, f"tea number {number}") for number in range(2000)])
    assert isinstance(postgres, engines_stores.Postgres)
    with psycopg.connect(postgres.conninfo(database), autocommit=True) as connection:
        connection.execute("set enable_seqscan = off")  # a small table is read whole
        asked = "explain select id from antsmem_texts_english where words @@ to_tsquery('english', '''1234''')"
        assert "antsmem_texts_english_words" in str(connection.execute(asked).fetchall())
        with pytest.raises(psycopg.errors.SyntaxError):  # the control
            connection.execute("select to_tsquery('english', 'tea & (')")
    assert [name for name, _ in index.search(STREAM, "1234", 9)] == ["t1234"]


def test_several_clients_make_the_table_at_once(opened: Opener) -> None:
    together([opened().create for _ in range(4)])


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        PostgresTexts.open("postgres://user:secret@host/x", {})
    assert "secret" not in str(caught.value)
