"""A text index in PostgreSQL by its own full-text search: words by their stems, with a GIN index.

Texts are not encrypted there: only an agent whose tenant may see them uses this. What is kept are the words with
their places, from which a text can be read again, and not the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, LiteralString, Self

from antsmem.core.errors import ConfigError
from antsmem.drivers.postgres_link import Address
from antsmem.drivers.postgres_table import PostgresTable
from antsmem.memory.indexing import check_text, newest
from antsmem.memory.roles import TextRow
from antsmem.memory.words import asked_words, words

if TYPE_CHECKING:
    from psycopg import sql

_TABLE: Final = (
    "create table if not exists {table} (stream text not null, id bytea not null, version bigint not null,"
    " words tsvector not null, primary key (stream, id))"
)
_INDEX: Final = "create index if not exists {index} on {table} using gin (words)"
_PUT: Final = (
    "insert into {table} (stream, id, version, words)"
    " select stream, id, version, to_tsvector({language}, words)"
    " from unnest(%s::text[], %s::bytea[], %s::bigint[], %s::text[]) as new (stream, id, version, words)"
    " on conflict (stream, id) do update set version = excluded.version, words = excluded.words"
    " where {table}.version <= excluded.version"
)
_SEARCH: Final = (
    "select id, ts_rank(words, asked) as score from {table}, to_tsquery({language}, %s) as asked"
    " where words @@ asked and stream = %s order by score desc, id limit %s"
)
_TOGETHER: Final = 200  # rows of a statement
_match_language = re.compile(r"[a-z_]{1,40}").fullmatch


class PostgresTexts(PostgresTable):
    """A table antsmem_texts_LANGUAGE. One connection, made with the first call."""

    def __init__(self, address: Address, language: str) -> None:
        super().__init__(address)
        self._language = language

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The index at `postgres://user@host:port/database`; see `Address.parse`. Option `language`: one of the
        server's text search configurations, such as `english` or `simple` (no stems). Does not connect yet."""
        language = options.get("language", "english")
        if not _match_language(language):
            raise ConfigError("option `language` is one of the server's, such as `english` or `simple`")
        rest = {name: value for name, value in options.items() if name != "language"}
        return cls(Address.parse(url, rest, "postgres", 5432), language)

    def create(self) -> None:
        """Make the table and its index if they are missing."""
        self._link.run(lambda connection: self._make(connection, _TABLE, _INDEX))

    def upsert(self, rows: Sequence[TextRow]) -> None:
        """Put `rows`, see `TextIndex.upsert`."""
        for row in rows:
            check_text(row)
        kept = list(newest(rows).values())
        for start in range(0, len(kept), _TOGETHER):
            part = kept[start : start + _TOGETHER]
            told = [(row.stream, row.id.encode(), row.version, " ".join(words(row.text))) for row in part]
            self._run(_PUT, tuple(map(list, zip(*told, strict=True))))

    def search(self, stream: str, query: str, count: int) -> list[tuple[str, float]]:
        """What fits best, see `TextIndex.search`; the score is that of `ts_rank`."""
        # letters and digits only: nothing in the quotes can end them
        asked = " | ".join(f"'{word}'" for word in asked_words(query))
        if not asked:
            return []
        found = self._select(_SEARCH, (asked, stream, max(0, count)))
        return [(name.decode(), float(score)) for name, score in found]

    def _query(self, query: LiteralString) -> sql.Composed:
        from psycopg import sql

        table = f"antsmem_texts_{self._language}"
        return sql.SQL(query).format(
            table=sql.Identifier(table),
            index=sql.Identifier(f"{table}_words"),
            language=sql.Literal(self._language),
        )
