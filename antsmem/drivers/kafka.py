"""Events in a Kafka topic, by the library `confluent-kafka`: CloudEvents in binary mode, keyed by their stream.

A stream lies whole in one partition, the one that Java's default partitioner chooses for its key, so producers in
other languages put it there too. A position is an offset in that partition.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from antsmem.core.errors import AntsmemError, ConfigError, NotFoundError, RefusedError, RollbackError, UsageError
from antsmem.drivers.cloudevents import event_of, headers_of
from antsmem.drivers.kafka_client import KafkaClient, partition_of
from antsmem.drivers.servers import TLS_OPTIONS, read_url, split_url, whole_number
from antsmem.memory.inspection import Inspection
from antsmem.memory.roles import LogRecord

_OPTIONS: Final = (
    *TLS_OPTIONS,
    "min_insync",
    "partitions",
    "password",
    "replication",
    "sasl",
    "timeout_seconds",
    "username",
)
_match_topic = re.compile(r"[A-Za-z0-9._-]{1,249}").fullmatch
_REBUILD: Final = "`antsmem backend rebuild` brings them back from a device"
_PAGE: Final = 1000
_STEP_SECONDS: Final = 0.5
_TOLD: Final = ("cleanup.policy", "min.insync.replicas", "retention.bytes", "retention.ms")


class KafkaLog:
    """One topic. Everything connects when it is first used."""

    def __init__(self, client: KafkaClient, partitions: int, copies: tuple[int, int]) -> None:
        self._client = client
        self._partitions = partitions
        self._copies = copies
        self._checked = False
        self._producer: Any = None
        self._consumer: Any = None
        self._at: tuple[int, int] | None = None
        """Partition and offset from which the consumer goes on; None: it must be told."""
        self._ended = False
        """Whether it has said already that nothing follows there."""

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The topic at `kafka://host[:9092][,host…]/TOPIC`. Options: `tls` and its files; `username`, `password`
        and `sasl`; `partitions` that the topic has (8), `replication` (3) and `min_insync` (one less) with which
        `create` makes it; `timeout_seconds`."""
        url, options = split_url("kafka", url, options, _OPTIONS)
        servers = read_url("kafka", url, 9092)
        if not _match_topic(servers.path) or servers.path in {".", ".."}:
            raise ConfigError(f"`{url}` names no topic", hint="write it as kafka://host:9092/TOPIC")
        copies = whole_number(options, "replication", 3, 1, 99)
        insync = whole_number(options, "min_insync", max(1, copies - 1), 1, copies)
        partitions = whole_number(options, "partitions", 8, 1, 100_000)
        return cls(KafkaClient(servers, servers.path, options), partitions, (copies, insync))

    def create(self) -> None:
        """Make the topic: nothing in it expires, and no copy that lags behind may become the leader."""
        from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

        copies, insync = self._copies
        admin = self._client.made(AdminClient)
        wanted = NewTopic(self._client.topic, self._partitions, copies, config=topic_settings(insync))
        try:
            made = admin.create_topics([wanted], operation_timeout=self._client.bound)
            made[self._client.topic].result(self._client.bound)
        except self._client.sdk.KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                admin.poll(0.2)
                raise self._client.raised(error) from error
        except TimeoutError as error:
            admin.poll(0.2)
            raise self._client.trouble("_TIMED_OUT") from error
        give_up = time.monotonic() + self._client.bound
        while True:  # every broker hears of a new topic in its own time
            try:
                found = self._client.topic_at(admin)
                if all(each.leader >= 0 for each in found.partitions.values()):
                    self._check(found)
                    return
            except NotFoundError:
                if time.monotonic() > give_up:
                    raise
            if time.monotonic() > give_up:
                raise self._client.trouble("LEADER_NOT_AVAILABLE")
            time.sleep(0.02)

    def append(self, records: Sequence[LogRecord]) -> None:
        """Durable when it returns: in all copies that are in sync, of which there must be `min.insync.replicas`.
        What the library sends again is not stored twice; what the caller appends again is."""
        if not records:
            return
        if self._producer is None:
            self._producer = self._new_producer()
        producer, topic, count = self._producer, self._client.topic, self._partitions
        failed: list[str] = []

        def done(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(str(error.name()))

        try:
            for record in records:
                key = record.stream.encode()
                message = (topic, record.data, key, partition_of(key, count), done)
                while not self._queued(message, headers_of(record)):
                    producer.poll(0.05)
                if failed:
                    break
            left = producer.flush(self._client.bound + 5)
        except self._client.sdk.KafkaException as error:
            self._give_up_producing()
            raise self._client.raised(error) from error
        if failed or left:
            self._give_up_producing()
            raise self._client.trouble(failed[0] if failed else "_TIMED_OUT")

    def read(self, stream: str, after: str | None, limit: int) -> list[tuple[str, LogRecord]]:
        """See `EventLog.read`. `RollbackError` for a position behind the end; `NotFoundError` if what follows the
        position has been deleted."""
        partition, offset = self._place(stream, after)
        if self._at == (partition, offset) and not self._ended:
            return self._collected(stream, limit, None)
        start, end = self._bounds(partition, offset)
        if start >= end:
            return []
        self._go_to(partition, start)
        return self._collected(stream, limit, None)

    def tail(self, stream: str, after: str | None, timeout_seconds: float) -> list[tuple[str, LogRecord]]:
        """See `EventLog.tail`; up to a thousand records."""
        partition, offset = self._place(stream, after)
        if self._at != (partition, offset):
            start, _ = self._bounds(partition, offset)
            self._go_to(partition, start)
        return self._collected(stream, _PAGE, timeout_seconds)

    def inspect(self) -> Inspection:
        """The topic's copies and the settings that decide what survives."""
        from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

        admin = self._client.made(AdminClient)
        found = self._client.topic_at(admin)
        resource = ConfigResource(ConfigResource.Type.TOPIC, self._client.topic)
        try:
            asked = admin.describe_configs([resource], request_timeout=self._client.bound)
            settings = asked[resource].result(self._client.bound)
        except self._client.sdk.KafkaException as error:
            raise self._client.raised(error) from error
        except TimeoutError as error:
            raise self._client.trouble("_TIMED_OUT") from error
        copies = min(len(each.replicas) for each in found.partitions.values())
        in_sync = min(len(each.isrs) for each in found.partitions.values())
        facts = {name: str(settings[name].value) for name in _TOLD if name in settings}
        facts |= {"partitions": str(len(found.partitions)), "replication": str(copies), "in sync": str(in_sync)}
        return Inspection(facts, tuple(_warnings(facts, in_sync)))

    def close(self) -> None:
        """End both connections. What `append` has not acknowledged is dropped."""
        self._give_up_producing()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _queued(self, message: tuple[str, bytes, bytes, int, Any], headers: list[tuple[str, str]]) -> bool:
        topic, data, key, partition, done = message
        try:
            self._producer.produce(topic, data, key, partition, done, headers=headers)
        except BufferError:  # the queue is full: what is on its way makes room
            return False
        return True

    def _new_producer(self) -> Any:
        made = self._client.made(
            self._client.sdk.Producer,
            acks="all",
            enable_idempotence=True,
            delivery_timeout_ms=int(self._client.bound * 1000),
            linger_ms=5,
        )
        if not self._checked:
            self._check(self._client.topic_at(made))
        return made

    def _give_up_producing(self) -> None:
        """Drop what is queued: sent later, it would follow what the caller appends again."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.flush(0)
            self._producer = None
            self._checked = False

    def _check(self, topic: Any) -> None:
        """Streams are looked for where the number of partitions puts them: it must be the one configured."""
        there = len(topic.partitions)
        if there != self._partitions:
            raise RefusedError(
                f"topic `{self._client.topic}` has {there} partitions, the options say {self._partitions}",
                hint=f"if it always had as many, set the option `partitions={there}`",
            )
        self._checked = True

    def _place(self, stream: str, after: str | None) -> tuple[int, int]:
        """Partition of `stream` and the first offset wanted; -1: the first there is."""
        if after is not None and not re.fullmatch("[0-9]{1,18}", after):
            raise UsageError(f"`{after[:40]}` is no position in a Kafka topic")
        return partition_of(stream.encode(), self._partitions), -1 if after is None else int(after) + 1

    def _bounds(self, partition: int, offset: int) -> tuple[int, int]:
        """From where to read, and where the partition ends now, if what follows `offset` can be there."""
        sdk = self._client.sdk
        if self._consumer is None:
            self._consumer = self._client.made(
                sdk.Consumer,
                group_id="antsmem",
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="error",
                fetch_message_max_bytes=4 << 20,
                queued_max_messages_kbytes=16384,
                # Filled to that, the library would wait a second before it fetches on.
                fetch_queue_backoff_ms=20,
                # Another question waits until a fetch that finds nothing has returned.
                fetch_wait_max_ms=100,
                check_crcs=True,
            )
        place = sdk.TopicPartition(self._client.topic, partition)
        try:
            if not self._checked:
                self._check(self._client.topic_at(self._consumer))
            first, end = self._consumer.get_watermark_offsets(place, timeout=self._client.bound)
        except sdk.KafkaException as error:
            self._at, self._checked = None, False
            self._consumer.poll(0.2)
            raise self._client.raised(error) from error
        if offset > end:
            raise RollbackError(
                f"`{self._client.url}` ends before the position asked for: it lost events, or was made anew",
                hint=_REBUILD,
            )
        if 0 <= offset < first:
            raise NotFoundError(
                f"`{self._client.url}` deleted events behind the position asked for", hint=_REBUILD
            )
        return int(max(offset, first)), int(end)

    def _go_to(self, partition: int, offset: int) -> None:
        """Let the consumer go on from `offset`."""
        sdk = self._client.sdk
        self._at = None
        try:
            self._consumer.assign([sdk.TopicPartition(self._client.topic, partition, offset)])
        except sdk.KafkaException as error:
            raise self._client.raised(error) from error
        self._at, self._ended = (partition, offset), False

    def _collected(self, stream: str, limit: int, wait_seconds: float | None) -> list[tuple[str, LogRecord]]:
        """What follows, up to `limit` or the end. With `wait_seconds` the end is waited at for the first record;
        without, a broker that says nothing for too long is an error."""
        key = stream.encode()
        found: list[tuple[str, LogRecord]] = []
        bound = self._client.bound if wait_seconds is None else wait_seconds
        give_up = time.monotonic() + bound
        while len(found) < limit:
            left = give_up - time.monotonic()
            messages = self._next(min(_PAGE, limit - len(found)), max(0.0, min(left, _STEP_SECONDS)))
            for message in messages:
                if (error := message.error()) is not None:
                    self._ended = error.name() == "_PARTITION_EOF"
                    if not self._ended:
                        self._at, self._checked = None, False
                        raise self._lost(str(error.name()))
                elif message.key() == key:
                    event = event_of(stream, message.headers() or (), message.value())
                    if event is not None:
                        found.append((str(message.offset()), event))
            if last := next((each for each in reversed(messages) if each.error() is None), None):
                self._at = (last.partition(), last.offset() + 1)
                self._ended = messages[-1] is not last
            if self._ended and (found or wait_seconds is None):
                return found
            if not messages and left <= 0:
                if not found and (wait_seconds is None or self._client.causes):
                    self._at = None
                    raise self._client.trouble("_TIMED_OUT")
                return found
            if messages:
                self._client.causes.clear()
        return found

    def _next(self, count: int, wait_seconds: float) -> list[Any]:
        """The next messages that are here; if none is, the first to come."""
        found = self._consumer.consume(count, 0)
        if not found and (message := self._consumer.poll(wait_seconds)) is not None:
            return [message]
        return list(found)

    def _lost(self, name: str) -> AntsmemError:
        if name in {"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"}:
            return RollbackError(f"`{self._client.url}` has no event at the position asked for", hint=_REBUILD)
        return self._client.trouble(name)


def topic_settings(min_insync: int) -> dict[str, str]:
    """What a topic of events needs to be told, as Kafka names it."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": str(min_insync),
        "unclean.leader.election.enable": "false",
    }


def _warnings(facts: Mapping[str, str], in_sync: int) -> list[str]:
    found = []
    if facts.get("min.insync.replicas") == "1":
        found.append("`min.insync.replicas` is 1: an acknowledged event may be on one broker's disk alone")
    elif in_sync < int(facts.get("min.insync.replicas", "1")):
        found.append("fewer copies are in sync than `min.insync.replicas` asks for: nothing can be appended now")
    if facts.get("retention.ms") != "-1" or facts.get("retention.bytes") != "-1":
        found.append("the topic deletes old events: set `retention.ms` and `retention.bytes` to -1")
    if facts.get("cleanup.policy") != "delete":
        found.append("`cleanup.policy` is not `delete`: compaction keeps one event of each stream")
    return found
