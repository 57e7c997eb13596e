"""Events in a Pulsar topic, by the library `pulsar-client`: CloudEvents' attributes are properties.

Messages are keyed by their stream. The topic is partitioned, and a stream lies whole in the partition that Pulsar
for Java chooses for its key. A position is the id of a message there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, Self

from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
    RollbackError,
    UsageError,
)
from antsmem.core.retry import timeout_seconds
from antsmem.drivers.cloudevents import event_with, headers_of
from antsmem.drivers.pulsar_admin import PulsarAdmin
from antsmem.drivers.servers import (
    TLS_OPTIONS,
    Servers,
    Tls,
    check_secrecy,
    read_tls,
    read_url,
    split_url,
    whole_number,
)
from antsmem.memory.inspection import Inspection
from antsmem.memory.roles import LogRecord

_OPTIONS: Final = (*TLS_OPTIONS, "admin_url", "partitions", "timeout_seconds", "token")
_match_topic = re.compile(r"[\w=:.-]{1,128}/[\w=:.-]{1,128}/[\w=:.-]{1,128}", re.ASCII).fullmatch
_match_position = re.compile("([0-9]{1,18}):([0-9]{1,18}):(-1|[0-9]{1,9})").fullmatch
_REFUSALS: Final = {
    *("AuthenticationError", "AuthorizationError", "ErrorGettingAuthenticationData", "NotAllowedError"),
    *("MessageTooBig", "InvalidTopicName", "InvalidConfiguration", "TopicTerminated", "UnsupportedVersionError"),
    *("ProducerBlockedQuotaExceededError", "ProducerBlockedQuotaExceededException", "OperationNotSupported"),
}
_KEPT: Final = {"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}
_PAGE: Final = 1000
_HINT: Final = "see `antsmem backend test`"


class PulsarLog:
    """One topic. Everything connects when it is first used."""

    def __init__(self, servers: Servers, tls: Tls | None, options: Mapping[str, str]) -> None:
        self._url, self._servers, self._tls = servers.url, servers, tls
        self._token = options.get("token", "")
        host, port = servers.hosts[0][0], 8080 if tls is None else 8443
        default = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
        self._admin = PulsarAdmin(options.get("admin_url", default), tls, self._token, timeout_seconds(options))
        self._bound = timeout_seconds(options)
        self._partitions = whole_number(options, "partitions", 8, 1, 10_000)
        self._topic = f"persistent://{servers.path}"
        self._client: Any = None
        self._producers: dict[int, Any] = {}
        self._reader: Any = None
        self._at: tuple[int, str | None] | None = None
        """Partition and position behind which the reader goes on."""

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The topic at `pulsar://host[:6650|:6651][,host…]/TENANT/NAMESPACE/TOPIC`. Options: `tls` and its files,
        `token`; `partitions` that the topic has (8); `admin_url` of the HTTP interface, for `create` and
        `inspect` (the first host's, port 8443, or 8080 with `tls=no`); `timeout_seconds`."""
        url, options = split_url("pulsar", url, options, _OPTIONS)
        tls = read_tls(options)
        servers = read_url("pulsar", url, 6650 if tls is None else 6651)
        if not _match_topic(servers.path):
            raise ConfigError(f"`{url}` names no topic", hint="write it as pulsar://host/TENANT/NAMESPACE/TOPIC")
        if "key_password" in options:
            raise ConfigError("Pulsar's library takes no `key_password`", hint="give a key without one")
        if "token" in options:
            check_secrecy(servers, tls, "token")
        try:
            import pulsar  # noqa: F401
        except ImportError:
            raise DriverMissingError.library("pulsar-client", "pulsar") from None
        return cls(servers, tls, options)

    def create(self) -> None:
        """Make the partitioned topic. Nothing in it expires, which Pulsar would do to all that no subscription
        waits for, and what a producer sends again is stored once."""
        place = f"persistent/{self._servers.path}"
        self._admin.ask("PUT", f"{place}/partitions", self._partitions)
        self._check()
        if self._policies() == (_KEPT, True):
            return
        self._admin.ask("POST", f"{place}/retention", _KEPT)
        self._admin.ask("POST", f"{place}/deduplicationEnabled", True)
        give_up = time.monotonic() + self._bound
        while self._policies() != (_KEPT, True):  # they come into force a little later
            if time.monotonic() > give_up:
                raise BackendError(f"`{self._url}` did not take the topic's policies in time", hint=_HINT)
            time.sleep(0.05)

    def append(self, records: Sequence[LogRecord]) -> None:
        """Durable when it returns. What the library sends again is not stored twice; what the caller appends again
        is."""
        import pulsar

        failed: list[str] = []
        count = 0

        def done(result: Any, _place: Any) -> None:
            nonlocal count
            count += 1
            if result != pulsar.Result.Ok:
                failed.append(result.name)

        used: dict[int, Any] = {}
        give_up = time.monotonic() + self._bound + 5
        try:
            for record in records:
                partition = partition_of(record.stream, self._partitions)
                if partition not in used:
                    used[partition] = self._producer(partition)
                properties = dict(headers_of(record))
                used[partition].send_async(record.data, done, properties, record.stream)
                if failed:
                    break
            for producer in used.values():
                producer.flush()
            while not failed and count < len(records) and time.monotonic() < give_up:
                time.sleep(0.0005)  # the library's thread tells it a moment later
        except pulsar.exceptions.PulsarException as error:
            self._forget()
            raise self._trouble(failed[0] if failed else type(error).__name__) from error
        if failed or count < len(records):
            self._forget()
            raise self._trouble(failed[0] if failed else "Timeout")

    def read(self, stream: str, after: str | None, limit: int) -> list[tuple[str, LogRecord]]:
        """See `EventLog.read`. `RollbackError` if the message at the position is not there any more."""
        partition = partition_of(stream, self._partitions)
        if self._at != (partition, after):
            self._go_to(partition, after)
        return self._collected(stream, limit, 0.0)

    def tail(self, stream: str, after: str | None, timeout_seconds: float) -> list[tuple[str, LogRecord]]:
        """See `EventLog.tail`; up to a thousand records."""
        partition = partition_of(stream, self._partitions)
        if self._at != (partition, after):
            self._go_to(partition, after)
        return self._collected(stream, _PAGE, timeout_seconds)

    def inspect(self) -> Inspection:
        """The policies that decide what survives, as the HTTP interface tells them."""
        self._check()
        kept, deduplicated = self._policies()
        facts = {"partitions": str(self._partitions), "deduplication": "yes" if deduplicated else "no"}
        facts["retention"] = "unlimited" if kept == _KEPT else "limited"
        warnings = []
        if kept != _KEPT:
            warnings.append("the topic deletes old events: `antsmem backend init` sets its retention")
        if deduplicated is not True:
            warnings.append("what is sent again after a lost answer is stored twice: switch deduplication on")
        return Inspection(facts, tuple(warnings))

    def close(self) -> None:
        """End the connection. What `append` has not acknowledged is dropped."""
        self._forget()

    def _connected(self) -> Any:
        if self._client is None:
            import pulsar

            scheme = "pulsar" if self._tls is None else "pulsar+ssl"
            proof, secured = None, {}
            if self._tls is not None:
                secured = {"tls_trust_certs_file_path": self._tls.ca_file or None, "tls_validate_hostname": True}
                if self._tls.cert_file:
                    proof = pulsar.AuthenticationTLS(self._tls.cert_file, self._tls.key_file)
            if self._token:
                proof = pulsar.AuthenticationToken(self._token)
            self._client = pulsar.Client(
                f"{scheme}://{self._servers.joined()}",
                authentication=proof,
                operation_timeout_seconds=max(1, int(self._bound)),
                connection_timeout_ms=max(500, int(self._bound * 500)),
                logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"),
                **secured,
            )
        return self._client

    def _policies(self) -> tuple[object, object]:
        place = f"persistent/{self._servers.path}"
        return self._admin.ask("GET", f"{place}/retention"), self._admin.ask(
            "GET", f"{place}/deduplicationEnabled"
        )

    def _check(self) -> None:
        """Whether the topic is there with as many partitions as configured: a producer would make one without, and
        streams are looked for where the number of partitions puts them."""
        import pulsar

        try:
            names = self._connected().get_topic_partitions(self._topic)
        except pulsar.exceptions.PulsarException as error:
            self._forget()
            raise self._trouble(type(error).__name__) from error
        there = sum(name.startswith(f"{self._topic}-partition-") for name in names)
        if there == 0:
            raise NotFoundError(
                f"there is no partitioned topic `{self._servers.path}` at `{self._url}`",
                hint="antsmem backend init",
            )
        if there != self._partitions:
            raise RefusedError(
                f"topic `{self._servers.path}` has {there} partitions, the options say {self._partitions}",
                hint=f"if it always had as many, set the option `partitions={there}`",
            )

    def _producer(self, partition: int) -> Any:
        if partition not in self._producers:
            if not self._producers:
                self._check()
            self._producers[partition] = self._connected().create_producer(
                f"{self._topic}-partition-{partition}",
                send_timeout_millis=int(self._bound * 1000),
                max_pending_messages=10_000,
                block_if_queue_full=True,
                batching_enabled=True,
                batching_max_messages=1000,
                batching_max_allowed_size_in_bytes=1 << 20,
                batching_max_publish_delay_ms=5,
            )
        return self._producers[partition]

    def _go_to(self, partition: int, after: str | None) -> None:
        """Let the reader go on behind `after`, whose message must be there."""
        import pulsar

        self._end_reader()
        self._check()
        start, name = pulsar.MessageId.earliest, f"{self._topic}-partition-{partition}"
        if after is not None:
            start = _message_id(partition, after)
        try:
            self._reader = self._connected().create_reader(
                name, start, receiver_queue_size=_PAGE, start_message_id_inclusive=True
            )
            if after is not None:
                found = self._next(self._bound) if self._reader.has_message_available() else None
                if found is None or _position(found.message_id()) != after:
                    self._end_reader()
                    raise RollbackError(
                        f"`{self._url}` has no event at the position asked for: it lost events, or was made anew",
                        hint="`antsmem backend rebuild` brings them back from a device",
                    )
        except pulsar.exceptions.PulsarException as error:
            self._forget()
            raise self._trouble(type(error).__name__) from error
        self._at = (partition, after)

    def _collected(self, stream: str, limit: int, wait_seconds: float) -> list[tuple[str, LogRecord]]:
        """What follows, up to `limit` or the end; at the end the first record is waited for."""
        import pulsar

        assert self._at is not None
        found: list[tuple[str, LogRecord]] = []
        give_up, bound_ms = time.monotonic() + wait_seconds, max(1, int(self._bound * 1000))
        try:
            while len(found) < limit:
                if self._reader.has_message_available():
                    message = self._reader.read_next(bound_ms)
                elif found or (left := give_up - time.monotonic()) <= 0:
                    return found
                elif (message := self._next(left)) is None:
                    if not self._reader.is_connected():
                        raise pulsar.exceptions.NotConnected
                    return found
                position = _position(message.message_id())
                self._at = (self._at[0], position)
                if (event := event_in(message, stream)) is not None:
                    found.append((position, event))
        except pulsar.exceptions.PulsarException as error:
            self._forget()
            raise self._trouble(type(error).__name__) from error
        return found

    def _next(self, wait_seconds: float) -> Any:
        """The next message; None if none comes in time."""
        import pulsar

        try:
            return self._reader.read_next(max(1, int(wait_seconds * 1000)))
        except pulsar.exceptions.Timeout:
            return None

    def _end_reader(self) -> None:
        import pulsar

        if self._reader is not None:
            with suppress(pulsar.exceptions.PulsarException):
                self._reader.close()
        self._reader = self._at = None

    def _forget(self) -> None:
        """End the connection at once: what is still queued would follow what the caller appends again."""
        if self._client is not None:
            self._client.shutdown()
        self._client = self._reader = self._at = None
        self._producers = {}

    def _trouble(self, name: str) -> AntsmemError:
        """Our error for Pulsar's result `name`, which is a constant."""
        if name == "TopicNotFound":
            return NotFoundError(
                f"there is no topic `{self._servers.path}` at `{self._url}`", hint="antsmem backend init"
            )
        if name in _REFUSALS:
            return RefusedError(f"`{self._url}` refused: {name}", hint=_HINT)
        return BackendError(f"`{self._url}` does not answer: {name}", hint=_HINT)


def event_in(message: Any, stream: str) -> LogRecord | None:
    """The event of `stream` that a message is; None if it is another's, or none."""
    try:
        if message.partition_key() != stream:
            return None
        return event_with(stream, message.properties(), message.data())
    except UnicodeDecodeError:  # Pulsar takes any bytes for text
        return None


def _position(message_id: Any) -> str:
    return f"{message_id.ledger_id()}:{message_id.entry_id()}:{message_id.batch_index()}"


def _message_id(partition: int, position: str) -> Any:
    """The id that a position stands for."""
    import pulsar

    match = _match_position(position)
    if match is None:
        raise UsageError(f"`{position[:40]}` is no position in a Pulsar topic")
    return pulsar.MessageId(partition, *map(int, match.groups()))


@lru_cache(1024)
def partition_of(key: str, count: int) -> int:
    """Where Pulsar's Java client puts a message with this key among `count` partitions: the hash code of Java's
    `String` (31 times the one before, plus the UTF-16 unit), its sign bit cleared, modulo `count`."""
    found = 0
    units = key.encode("utf-16-be")
    for at in range(0, len(units), 2):
        found = (31 * found + int.from_bytes(units[at : at + 2], "big")) & 0xFFFFFFFF
    return (found & 0x7FFFFFFF) % count
