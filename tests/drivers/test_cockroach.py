"""Goal: the driver does what CockroachDB asks of its clients: the whole transaction again after 40001, at a
statement as at COMMIT, and a look at what became of a commit without an answer.

Method: PostgreSQL, in which triggers refuse the first commits with CockroachDB's code and words. This is the
protocol and not CockroachDB. Control: without the retries the same commit fails.
"""

from __future__ import annotations

from collections.abc import Callable

import engines
import engines_stores
import psycopg
import pytest
from counting import STREAM, count_together, look, record

from antsmem.core.errors import ConflictError
from antsmem.drivers import cockroach, postgres
from antsmem.drivers.cockroach import CockroachStore
from antsmem.drivers.postgres_link import SerializationError
from antsmem.memory.roles import Change

pytestmark = pytest.mark.server
Refusing = Callable[[int, str], Callable[..., CockroachStore]]

# A sequence counts what was tried, for it is not taken back with the transaction.
_REFUSE = """
create sequence tries;
create function refuse() returns trigger language plpgsql as $$ begin
  if nextval('tries') <= %d then
    raise exception using errcode = '%s', message = 'restart transaction: TransactionRetryWithProtoRefreshError:'
      ' TransactionRetryError: retry txn (RETRY_SERIALIZABLE)';
  end if; return null; end $$;
"""
_TRIGGERS = {
    "statement": "create trigger refuse after insert on antsmem_outbox"
    " for each statement execute function refuse()",
    "commit": "create constraint trigger refuse after insert on antsmem_commits deferrable initially deferred"
    " for each row execute function refuse()",
}


@pytest.fixture
def refusing(postgres: engines.Server, request: pytest.FixtureRequest) -> Refusing:
    """Stores in a new database that refuses the first `times` tries at a `place`."""
    assert isinstance(postgres, engines_stores.Postgres)
    database = postgres.database()

    def opened(**options: str) -> CockroachStore:
        store = CockroachStore.open(f"cockroach://antsmem@127.0.0.1:{postgres.port}/{database}?tls=no", options)
        request.addfinalizer(store.close)
        return store

    def prepared(times: int, place: str, state: str = "40001") -> Callable[..., CockroachStore]:
        opened().create()
        with psycopg.connect(postgres.conninfo(database), autocommit=True) as connection:
            connection.execute(_REFUSE % (times, state))
            connection.execute(_TRIGGERS[place])
        return opened

    return prepared


@pytest.mark.parametrize("place", _TRIGGERS)
@pytest.mark.parametrize("state", ["40001", "40003"])
def test_a_commit_refused_again_and_again_is_applied_once(refusing: Refusing, place: str, state: str) -> None:
    store = refusing(6, place, state)()  # type: ignore[call-arg]
    assert store.commit(STREAM, [Change("a", b"1", 0)], [record(), record()]) == 2
    assert store.sequence(STREAM) == len(store.pending(STREAM, 9)) == 2


@pytest.mark.parametrize("place", _TRIGGERS)
def test_a_storm_over_many_writers_loses_nothing(refusing: Refusing, place: str) -> None:
    opened = refusing(30, place)
    look(opened(), count_together(lambda: opened(timeout_seconds="100"), 3, 5))


def test_a_storm_that_does_not_end_is_left_in_time(refusing: Refusing) -> None:
    store = refusing(1_000_000, "commit")(timeout_seconds="2")
    with pytest.raises(ConflictError):
        store.commit(STREAM, [], [record()])
    assert (store.sequence(STREAM), store.pending(STREAM, 9)) == (0, [])


@pytest.mark.parametrize("place", _TRIGGERS)
def test_control_tried_once_the_same_commit_fails(refusing: Refusing, place: str) -> None:
    store = refusing(1, place)()
    with pytest.raises(SerializationError):
        store._link.once(lambda connection: postgres._transact(connection, STREAM, [], [record()], b"token"))


def test_nothing_is_used_that_cockroachdb_does_not_have() -> None:
    text = "".join(str(value) for module in (postgres, cockroach) for value in vars(module).values()).lower()
    for word in ("advisory", "listen", "notify", "create extension", "plpgsql", 'collate "c"'):
        assert word not in text.replace("no advisory locks, no listen, no extension", "")
