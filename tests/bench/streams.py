"""Events a second through each event log's driver, beside the bare client of the same broker at its own best.

    python tests/bench/streams.py [EVENTS] [SERVER…]

Both send the same keys, headers and bytes in batches, with the same settings for what is durable, and wait until
each is acknowledged. Both read with a connection made for it: the bare client once handing over bytes as it gets
them, and once attributes as text, which a reader of CloudEvents needs and the driver gives. All run in turn on one
broker; medians of five.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS)]

import brokers  # noqa: E402

from antsmem.drivers.cloudevents import headers_of  # noqa: E402
from antsmem.drivers.kafka import KafkaLog  # noqa: E402
from antsmem.drivers.pulsar import PulsarLog  # noqa: E402
from antsmem.memory.roles import EventLog, LogRecord  # noqa: E402

STREAM, BATCH, SIZE, ROUNDS, LEAST = "acme/kevin", 1000, 512, 5, 0.7
Bare = tuple[Callable[..., None], Callable[[int, bool], None]]


def events(count: int) -> list[LogRecord]:
    made = []
    for number in range(count):
        source = "ants://acme/kevin/dev/bench"
        headers = {"specversion": "1.0", "id": f"{number:026d}", "source": source, "sequence": f"{number:016d}"}
        headers |= {"type": "dev.antsmem.memory.appended.v1", "subject": os.urandom(16).hex()}
        headers |= {"partitionkey": STREAM, "time": "2026-11-20T12:00:00.000Z", "prev": os.urandom(32).hex()}
        made.append(LogRecord(STREAM, headers["id"], headers, os.urandom(SIZE)))
    return made


def rate(count: int, action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    return count / (time.perf_counter() - began)


def append_all(log: EventLog, records: list[LogRecord]) -> None:
    for at in range(0, len(records), BATCH):
        log.append(records[at : at + BATCH])


def read_all(opened: Callable[[], EventLog], count: int) -> None:
    log, after, found = opened(), None, 0
    while found < count:
        got = log.read(STREAM, after, min(BATCH, count - found))
        after, found = got[-1][0], found + len(got)
    log.close()


def bare_kafka(port: int, topic: str) -> Bare:
    """The library as its documentation uses it, with the same promises."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    server = {"bootstrap.servers": f"127.0.0.1:{port}"}
    producer = Producer({**server, "acks": "all", "enable.idempotence": True, "linger.ms": 5})

    failed: list[Any] = []

    def done(error: Any, _message: Any) -> None:
        if error is not None:
            failed.append(error)

    def append(messages: list[tuple[bytes, list[tuple[str, str]]]]) -> None:
        for at in range(0, len(messages), BATCH):
            for data, headers in messages[at : at + BATCH]:
                producer.produce(topic, data, STREAM, headers=list(headers), on_delivery=done)
            assert producer.flush(60) == 0 and not failed

    def read(count: int, as_text: bool) -> None:
        consumer = Consumer({**server, "group.id": "bench", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = 0
        given: list[dict[str, str]] = []
        while found < count:
            for message in consumer.consume(BATCH, 1):
                headers: Any = message.headers()
                message.value(), message.key(), message.offset()
                if as_text:
                    given.append({name: value.decode() for name, value in headers})
                found += 1
        consumer.close()

    return append, read


def bare_pulsar(port: int, topic: str) -> Bare:
    import pulsar

    silent = pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null")
    client = pulsar.Client(f"pulsar://127.0.0.1:{port}", logger=silent)
    producer = client.create_producer(
        topic, batching_enabled=True, block_if_queue_full=True, batching_max_publish_delay_ms=5
    )

    failed: list[Any] = []

    def done(result: Any, _place: Any) -> None:
        if result != pulsar.Result.Ok:
            failed.append(result)

    def append(messages: list[tuple[bytes, list[tuple[str, str]]]]) -> None:
        for at in range(0, len(messages), BATCH):
            for data, headers in messages[at : at + BATCH]:
                producer.send_async(data, done, properties=dict(headers), partition_key=STREAM)
            producer.flush()
            assert not failed

    def read(count: int, _as_text: bool) -> None:  # Pulsar's are text
        fresh = pulsar.Client(f"pulsar://127.0.0.1:{port}", logger=silent)
        reader = fresh.create_reader(topic, pulsar.MessageId.earliest)
        for _ in range(count):
            message = reader.read_next(10_000)
            message.properties(), message.data(), message.partition_key(), message.message_id()
        fresh.close()

    return append, read


def compare(name: str, opened: Callable[[], EventLog], bare: Bare, count: int) -> None:
    records, log = events(count), opened()
    messages = [(record.data, headers_of(record)) for record in records]
    log.append(records[:1])
    bare[0](messages[:1])
    sides: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
        "append": (lambda: bare[0](messages), lambda: append_all(log, records)),
        "read": (lambda: bare[1](count, False), lambda: read_all(opened, count)),
        "read, attributes as text": (lambda: bare[1](count, True), lambda: read_all(opened, count)),
    }
    for what, (plain, ours) in sides.items():
        pairs = [(rate(count, plain), rate(count, ours)) for _ in range(ROUNDS)]
        one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        share = statistics.median(pair[1] / pair[0] for pair in pairs)
        verdict = "met" if share >= LEAST else "**not met**"
        print(f"| {name} | {what} | {one:,.0f} | {other:,.0f} | {share:.2f} | ≥ {LEAST} | {verdict} |", flush=True)
    log.close()


def main(count: int, servers: list[str]) -> None:
    print("| log |  | bare client, events/s | driver, events/s | ratio | target |  |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in servers:
        topic = [f"t{uuid.uuid4().hex[:8]}" for _ in range(2)]
        if name == "kafka":
            kafka = brokers.Kafka().start()
            where = [f"kafka://127.0.0.1:{kafka.port}/{each}?tls=no&replication=1&partitions=1" for each in topic]
            for place in where:
                KafkaLog.open(place, {}).create()
            compare(name, partial(KafkaLog.open, where[0], {}), bare_kafka(kafka.port, topic[1]), count)
            kafka.close()
        else:
            pulsar = brokers.Pulsar().start()
            query = f"tls=no&partitions=1&admin_url=http://127.0.0.1:{pulsar.web}"
            where = [f"pulsar://127.0.0.1:{pulsar.port}/public/default/{each}?{query}" for each in topic]
            for place in where:
                PulsarLog.open(place, {}).create()
            bare = bare_pulsar(pulsar.port, f"persistent://public/default/{topic[1]}-partition-0")
            compare(name, partial(PulsarLog.open, where[0], {}), bare, count)
            pulsar.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000, sys.argv[2:] or ["kafka", "pulsar"])
