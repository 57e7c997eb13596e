"""One connection to a database that speaks PostgreSQL's protocol, bounded in time, its errors ours."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from antsmem.backup.store import check_options, yes_or_no
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
)
from antsmem.core.record import record
from antsmem.core.retry import retried, timeout_seconds

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

_PLAIN: Final = ("ca_file", "cert_file", "key_file", "timeout_seconds", "tls")
_match_host = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?").fullmatch
_PASSING: Final = ("08", "53", "57", "58", "40003", "25006", "55P03", "XX000")
"""SQLSTATEs that may pass (PostgreSQL manual, appendix A): connection, resources, operator's doing, system,
COMMIT's outcome unknown, read-only for now, lock not had in time, and what CockroachDB calls internal."""
_NO_TABLE: Final = "42P01"
# A server that will not talk to us says so before there is an SQLSTATE to read: only its words are left.
_will_not = re.compile(
    r"authentication failed|no pg_hba\.conf entry|does not exist|does not support SSL|certificate|not permitted"
    r"|no password supplied|permission denied|is not currently accepting|SSL error: .{0,40}alert"
).search


@record
class Address:
    """Where a database is. `url` is for messages; `settings` are libpq's connection parameters."""

    url: str
    settings: Mapping[str, str]
    timeout_seconds: float

    @classmethod
    def parse(cls, url: str, options: Mapping[str, str], scheme: str, port: int) -> Self:
        """`scheme://[user@]host[:port][,host…]/database?…`; settings that are no secrets may stand in the URL. The
        connection is by TLS with the server's name checked, unless `tls=no`."""
        check_options(scheme, options, (*_PLAIN, "password"))
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        user, _, places = parts.netloc.rpartition("@")
        hosts = [_match_host(place) for place in places.split(",")]
        database = unquote(parts.path).strip("/")
        if ":" in user or parts.fragment or not database or not all(hosts):
            raise ConfigError(
                f"a `{scheme}` URL is `{scheme}://user@host:port/database`", hint="set `password` as an option"
            )
        asked = dict(parse_qsl(parts.query))
        check_options(scheme, asked, _PLAIN)
        chosen = {**asked, **options}
        bound = timeout_seconds(chosen)
        settings = {
            "host": ",".join(found[1].strip("[]") for found in hosts if found),
            "port": ",".join(found[2] or str(port) for found in hosts if found),
            "dbname": database,
            "application_name": "antsmem",
            **_limits(bound),
            **_trust(chosen),
        }
        if user:
            settings["user"] = unquote(user)
        if "password" in options:
            settings["password"] = options["password"]
        if len(hosts) > 1:
            settings["target_session_attrs"] = "read-write"
        return cls(f"{scheme}://{places}/{database}", settings, bound)


def _limits(bound: float) -> dict[str, str]:
    """What keeps either side from waiting for ever: the server ends statements, and transactions whose client went
    away with a row locked; the kernel gives up a peer that acknowledges nothing."""
    ms = int(bound * 1000)
    return {
        "connect_timeout": str(max(2, int(bound / 2))),  # libpq's smallest
        "options": f"-c statement_timeout={ms} -c idle_in_transaction_session_timeout={ms}",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": str(ms),
    }


def _trust(options: Mapping[str, str]) -> dict[str, str]:
    if ("cert_file" in options) != ("key_file" in options):
        raise ConfigError("options `cert_file` and `key_file` go together")
    if not yes_or_no(options, "tls", default=True):
        return {"sslmode": "disable", "gssencmode": "disable"}
    trust = {"sslmode": "verify-full", "sslrootcert": options.get("ca_file", "system"), "gssencmode": "disable"}
    if "cert_file" in options:
        trust |= {"sslcert": options["cert_file"], "sslkey": options["key_file"]}
    return {name: os.path.expanduser(value) for name, value in trust.items()}


class Link:
    """The connection. Not for several threads at a time."""

    def __init__(self, address: Address, extra: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise DriverMissingError.library("psycopg", extra) from None
        logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it would tell, our errors tell
        self._sdk = psycopg
        self._address = address
        self._open: psycopg.Connection[Any] | None = None

    @property
    def url(self) -> str:
        """Where it goes, fit for messages."""
        return self._address.url

    @property
    def timeout_seconds(self) -> float:
        """How long to try."""
        return self._address.timeout_seconds

    def run(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What `action` returns, tried again while the database does not answer."""
        return retried(lambda: self.once(action), self.timeout_seconds)

    def once(self, action: Callable[[psycopg.Connection[Any]], T]) -> T:
        """What `action` returns, with the errors of psycopg as ours; `SerializationError` where the database wants
        the whole transaction again."""
        try:
            return action(self._connection())
        except self._sdk.Error as error:
            raise self._ours(error) from error
        finally:
            self._keep_if_quiet()

    def close(self) -> None:
        """End the connection."""
        if self._open is not None:
            with suppress(self._sdk.Error):
                self._open.close()
        self._open = None

    def _connection(self) -> psycopg.Connection[Any]:
        if self._open is None or self._open.closed:
            info = self._sdk.conninfo.make_conninfo(**self._address.settings)
            # no prepared statements: psycopg takes one for made that a refused pipeline never made (26000)
            bounded = _bounded(self.timeout_seconds)
            self._open = bounded.connect(info, autocommit=True, prepare_threshold=None)
        return self._open

    def _keep_if_quiet(self) -> None:
        """A transaction left open is taken back. A connection that broke, or on which an answer is still to come,
        is not used again."""
        there, status = self._open, self._sdk.pq.TransactionStatus
        if there is None or there.closed:
            return
        with suppress(self._sdk.Error):
            if there.pgconn.transaction_status in {status.INTRANS, status.INERROR}:
                there.execute("rollback")
        if there.pgconn.transaction_status != status.IDLE or there.pgconn.pipeline_status:
            self.close()

    def _ours(self, error: psycopg.Error) -> AntsmemError:
        state = error.sqlstate
        if isinstance(error, self._sdk.errors.SerializationFailure | self._sdk.errors.DeadlockDetected):
            return SerializationError(f"`{self.url}` is busy: others write to the same stream")
        if state is None:
            # what libpq itself found: no connection, or one that broke
            if not _will_not(str(error)):
                return BackendError(f"`{self.url}` does not answer: {type(error).__name__}")
            return RefusedError(
                f"`{self.url}` refused the connection",
                hint="look at its user, password, database and certificates",
            )
        if state == _NO_TABLE:
            return NotFoundError(f"`{self.url}` has none of our tables", hint="make them: `antsmem backend init`")
        if state.startswith(_PASSING):
            return BackendError(f"`{self.url}` cannot answer now: SQLSTATE {state}")
        return RefusedError(f"`{self.url}` refused: SQLSTATE {state}")


class SerializationError(BackendError):
    """The database wants the whole transaction again: SQLSTATE 40001 or 40P01."""


def _bounded(bound: float) -> type[psycopg.Connection[Any]]:
    """A connection that waits for no answer longer than `bound` seconds: a server that hangs keeps its side of TCP
    alive, so only the client's own clock ends the wait."""
    import psycopg

    class Bounded(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            return super().wait(gen, interval, bound if timeout is None else timeout)

    return Bounded
