"""Events a second through each event log's driver, beside the bare client of the same broker at its own best.

    python tests/bench/streams.py [EVENTS] [SERVER…]

Both send the same keys, headers and bytes in batches and wait until the broker has acknowledged them; then both
read them. What is compared ran in turn on the same broker, and the best of three counts.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS)]

import brokers  # noqa: E402

from antsmem.drivers.cloudevents import headers_of  # noqa: E402
from antsmem.drivers.kafka import KafkaLog  # noqa: E402
from antsmem.drivers.pulsar import PulsarLog  # noqa: E402
from antsmem.memory.roles import EventLog, LogRecord  # noqa: E402

STREAM, BATCH, SIZE, ROUNDS, LEAST = "acme/kevin", 1000, 512, 3, 0.7


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


def read_all(log: EventLog, count: int) -> None:
    after, found = None, 0
    while found < count:
        got = log.read(STREAM, after, min(BATCH, count - found))
        after, found = got[-1][0], found + len(got)


def bare_kafka(port: int, topic: str) -> tuple[Callable[..., None], Callable[[int], None]]:
    """The library as its documentation uses it, with the same promises."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    server = {"bootstrap.servers": f"127.0.0.1:{port}"}
    producer = Producer({**server, "acks": "all", "enable.idempotence": True, "linger.ms": 5})

    def append(messages: list[tuple[bytes, list[tuple[str, str]]]]) -> None:
        for at in range(0, len(messages), BATCH):
            for data, headers in messages[at : at + BATCH]:
                producer.produce(topic, data, STREAM, headers=headers)
            assert producer.flush(60) == 0

    def read(count: int) -> None:
        consumer = Consumer({**server, "group.id": "bench", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, 0, 0)])
        found = 0
        while found < count:
            for message in consumer.consume(BATCH, 1):
                message.headers(), message.value(), message.key()
                found += 1
        consumer.close()

    return append, read


def bare_pulsar(port: int, topic: str) -> tuple[Callable[..., None], Callable[[int], None]]:
    import pulsar

    silent = pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null")
    client = pulsar.Client(f"pulsar://127.0.0.1:{port}", logger=silent)
    producer = client.create_producer(
        topic, batching_enabled=True, block_if_queue_full=True, batching_max_publish_delay_ms=5
    )

    def append(messages: list[tuple[bytes, list[tuple[str, str]]]]) -> None:
        for at in range(0, len(messages), BATCH):
            for data, headers in messages[at : at + BATCH]:
                producer.send_async(data, None, properties=dict(headers), partition_key=STREAM)
            producer.flush()

    def read(count: int) -> None:
        reader = client.create_reader(topic, pulsar.MessageId.earliest)
        for _ in range(count):
            message = reader.read_next(10_000)
            message.properties(), message.data(), message.partition_key()
        reader.close()

    return append, read


def compare(name: str, log: EventLog, bare: tuple[Callable[..., None], Callable[[int], None]], count: int) -> None:
    records = events(count)
    messages = [(record.data, headers_of(record)) for record in records]
    log.append(records[:1])
    bare[0](messages[:1])
    best = {"append": [0.0, 0.0], "read": [0.0, 0.0]}
    for _ in range(ROUNDS):
        sides = rate(count, lambda: bare[0](messages)), rate(count, lambda: append_all(log, records))
        best["append"] = [max(pair) for pair in zip(best["append"], sides, strict=True)]
    for _ in range(ROUNDS):
        sides = rate(count, lambda: bare[1](count)), rate(count, lambda: read_all(log, count))
        best["read"] = [max(pair) for pair in zip(best["read"], sides, strict=True)]
    for what, (plain, ours) in best.items():
        verdict = "met" if ours >= LEAST * plain else "**not met**"
        figures = f"{plain:,.0f} | {ours:,.0f} | {ours / plain:.2f}"
        print(f"| {name} | {what} | {figures} | ≥ {LEAST} | {verdict} |", flush=True)
    log.close()


def main(count: int, servers: list[str]) -> None:
    print("| log |  | bare client, events/s | driver, events/s | ratio | target |  |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in servers:
        topic = [f"t{uuid.uuid4().hex[:8]}" for _ in range(2)]
        if name == "kafka":
            kafka = brokers.Kafka().start()
            places = [f"kafka://127.0.0.1:{kafka.port}/{each}?tls=no&replication=1&partitions=1" for each in topic]
            logs: list[EventLog] = [KafkaLog.open(place, {}) for place in places]
            for log in logs:
                log.create()
            compare(name, logs[0], bare_kafka(kafka.port, topic[1]), count)
            kafka.close()
        else:
            pulsar = brokers.Pulsar().start()
            query = f"tls=no&partitions=1&admin_url=http://127.0.0.1:{pulsar.web}"
            where = [f"pulsar://127.0.0.1:{pulsar.port}/public/default/{each}?{query}" for each in topic]
            logs = [PulsarLog.open(place, {}) for place in where]
            for log in logs:
                log.create()
            bare = bare_pulsar(pulsar.port, f"persistent://public/default/{topic[1]}-partition-0")
            compare(name, logs[0], bare, count)
            pulsar.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, sys.argv[2:] or ["kafka", "pulsar"])
