"""Goal: what an event log acknowledged is there after whatever happened, in order, and is applied once.

Method: real brokers, killed, stopped and cut off while events are appended and appended again until they are
acknowledged; a consumer that takes each (source, sequence) once reads them all. Controls: without acknowledgements
by the broker, or with a topic that is not kept, events are lost; without the consumer's memory some come twice.
"""

from __future__ import annotations

import signal
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import brokers
import engines
import pytest
import racing
from confluent_kafka import Producer
from faultproxy import TcpProxy

from antsmem.core.errors import BackendError
from antsmem.drivers.kafka import KafkaLog
from antsmem.drivers.kafka_client import partition_of
from antsmem.drivers.pulsar import PulsarLog
from antsmem.memory.roles import EventLog, LogRecord

STREAM, SOURCE = "acme/kevin", "ants://acme/kevin/dev/a"
BATCH = 20


patiently = partial(racing.patiently, seconds=300.0)  # a busy machine starts a broker slowly


def opener(kind: str, request: pytest.FixtureRequest, port: int = 0, bound: int = 5) -> Callable[[], EventLog]:
    """A new topic, as often as it is opened."""
    name = f"t{uuid.uuid4().hex[:8]}"
    server, closing = request.getfixturevalue(kind), request.getfixturevalue("closing")
    if kind == "kafka":
        where = f"kafka://127.0.0.1:{port or server.port}/{name}?tls=no&replication=1&timeout_seconds={bound}"
        return lambda: closing(KafkaLog.open(where, {}))
    query = f"tls=no&admin_url=http://127.0.0.1:{server.web}&timeout_seconds={bound}"
    url = f"pulsar://127.0.0.1:{server.port}/public/default/{name}?{query}"
    return lambda: closing(PulsarLog.open(url, {}))


def made(kind: str, request: pytest.FixtureRequest, port: int = 0, bound: int = 5) -> EventLog:
    """A new topic that is there."""
    log = opener(kind, request, port, bound)()
    patiently(log.create)
    return log


class Writer(threading.Thread):
    """Appends batches of events, each until it is acknowledged; `acknowledged` counts events."""

    def __init__(self, log: EventLog, batches: int) -> None:
        super().__init__(daemon=True)
        self._log, self._batches = log, batches
        self.acknowledged = 0
        self.start()

    def run(self) -> None:
        for batch in range(self._batches):
            events = [event(batch * BATCH + number) for number in range(BATCH)]
            patiently(partial(self._log.append, events))
            self.acknowledged += BATCH

    def wait_for(self, count: int) -> None:
        give_up = time.monotonic() + 300
        while self.acknowledged < count:
            assert self.is_alive() and time.monotonic() < give_up
            time.sleep(0.002)


def event(sequence: int) -> LogRecord:
    headers = {"id": f"id-{sequence}", "source": SOURCE, "sequence": f"{sequence:016d}"}
    return LogRecord(STREAM, f"id-{sequence}", headers, b"x" * 100)


def everything(log: EventLog) -> list[LogRecord]:
    found: list[LogRecord] = []
    after = None
    while got := patiently(partial(log.read, STREAM, after, 500)):
        found += [item for _, item in got]
        after = got[-1][0]
    return found


def applied(records: list[LogRecord]) -> list[str]:
    """What a consumer applies that remembers what it has seen of each source."""
    seen: set[tuple[str, str]] = set()
    done = []
    for record in records:
        key = record.headers["source"], record.headers["sequence"]
        if key not in seen:
            seen.add(key)
            done.append(record.id)
    return done


def check(log: EventLog, count: int) -> list[LogRecord]:
    found = everything(log)
    assert applied(found) == [f"id-{sequence}" for sequence in range(count)]
    return found


@pytest.mark.server
@pytest.mark.parametrize("kind", ["kafka", "pulsar"])
def test_a_broker_killed_while_events_are_appended_keeps_those_it_acknowledged(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(kind)
    opened = opener(kind, request)
    log = opened()
    patiently(log.create)
    reader = opened()
    writer = Writer(log, 30)
    writer.wait_for(5 * BATCH)
    position = patiently(lambda: reader.read(STREAM, None, 50))[-1]
    server.kill()
    with pytest.raises(BackendError):
        reader.read(STREAM, None, 1)
    server.restart()
    writer.join(400)
    assert writer.acknowledged == 30 * BATCH
    check(reader, 30 * BATCH)
    following = patiently(lambda: reader.read(STREAM, position[0], 1))[0][1]
    assert following.id == f"id-{int(position[1].id[3:]) + 1}"


@pytest.mark.server
@pytest.mark.parametrize("kind", ["kafka", "pulsar"])
def test_a_broker_that_hangs_is_an_error_in_time_and_then_goes_on(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(kind)
    log = made(kind, request, bound=2)  # a broker that is away for longer has to be let in again
    patiently(lambda: log.append([event(0)]))
    server.suspend()
    began = time.monotonic()
    try:
        with pytest.raises(BackendError):
            log.append([event(1)])
        took = time.monotonic() - began
    finally:
        server.signal(signal.SIGCONT)
    assert took < 60
    patiently(lambda: log.append([event(1), event(2)]))
    check(log, 3)


@pytest.mark.server
def test_a_connection_that_is_cut_reset_and_slow_loses_and_doubles_nothing(
    kafka: brokers.Kafka, request: pytest.FixtureRequest, closing: engines.Closing
) -> None:
    proxy = closing(TcpProxy(kafka.back_port, kafka.proxy_port))
    log = made("kafka", request, kafka.proxy_port)
    writer = Writer(log, 60)
    for round_ in range(6):
        writer.wait_for(round_ * 8 * BATCH)
        proxy.cut_after = {"up" if round_ % 2 else "down": 1500 * round_}
        proxy.cuts = 1
        proxy.reset()
        proxy.delay_seconds = 0.005 * (round_ % 3)
        proxy.slice_bytes = 700
    writer.wait_for(50 * BATCH)
    proxy.heal()
    writer.join(400)
    check(log, 60 * BATCH)


@pytest.mark.server
def test_an_event_appended_again_after_a_lost_answer_comes_twice_and_is_applied_once(
    kafka: brokers.Kafka, request: pytest.FixtureRequest, closing: engines.Closing
) -> None:
    """The control of `applied`: the log itself does hold some of them twice."""
    proxy = closing(TcpProxy(kafka.back_port, kafka.proxy_port))
    log = made("kafka", request, kafka.proxy_port)
    patiently(lambda: log.append([event(0)]))
    proxy.hold = {"down"}
    with pytest.raises(BackendError):
        log.append([event(1)])
    proxy.reset()
    proxy.heal()
    patiently(lambda: log.append([event(1), event(2)]))
    found = check(log, 3)
    assert [record.id for record in found].count("id-1") >= 2


@pytest.mark.server
def test_without_acknowledgements_events_are_lost_with_the_broker(
    kafka: brokers.Kafka, request: pytest.FixtureRequest
) -> None:
    """The control of `acks=all`: the same broker, killed the same way."""
    log = made("kafka", request)
    patiently(lambda: log.append([event(0)]))
    after = patiently(lambda: log.read(STREAM, None, 100))[-1][0]
    careless = Producer({"bootstrap.servers": f"127.0.0.1:{kafka.port}", "acks": "0"})
    topic = log._client.topic  # type: ignore[attr-defined]
    place = partition_of(STREAM.encode(), 8)
    failed: list[Any] = []

    def send(number: int) -> None:
        headers = [("ce_id", f"careless {number}")]
        careless.produce(topic, b"x", STREAM, place, lambda error, _: failed.append(error), headers=headers)

    send(1)
    assert careless.flush(60) == 0
    found = patiently(lambda: log.tail(STREAM, after, 120))
    assert [record.id for _, record in found] == ["careless 1"]
    kafka.suspend()
    for number in range(2, 50):
        send(number)
    assert careless.flush(60) == 0 and not any(failed)  # "delivered"
    kafka.kill()
    kafka.restart()
    found = patiently(lambda: log.read(STREAM, None, 100))
    assert list(dict.fromkeys(record.id for _, record in found)) == ["id-0", "careless 1"]


@pytest.mark.server
def test_a_topic_that_is_not_persistent_loses_events_with_the_broker(pulsar: brokers.Pulsar) -> None:
    """The control of what `create` makes in Pulsar."""
    import pulsar as sdk

    silent = sdk.FileLogger(sdk.LoggerLevel.Error, "/dev/null")
    name = f"non-persistent://public/default/t{uuid.uuid4().hex[:8]}"
    client = sdk.Client(f"pulsar://127.0.0.1:{pulsar.port}", logger=silent, operation_timeout_seconds=60)
    client.create_producer(name).send(b"acknowledged")
    reader = client.create_reader(name, sdk.MessageId.earliest)
    with pytest.raises(sdk.exceptions.Timeout):
        reader.read_next(500)
    client.close()


@pytest.mark.server
def test_three_brokers_lose_one_without_losing_an_event(
    kafka_cluster: brokers.KafkaCluster, closing: engines.Closing
) -> None:
    name = f"t{uuid.uuid4().hex[:8]}"
    url = f"kafka://{kafka_cluster.hosts}/{name}?tls=no&partitions=1&timeout_seconds=20"
    log = closing(KafkaLog.open(url, {}))
    patiently(log.create)
    told = log.inspect()
    assert (told.facts["replication"], told.facts["min.insync.replicas"], told.warnings) == ("3", "2", ())
    writer = Writer(log, 40)
    writer.wait_for(5 * BATCH)
    leader = log._client.topic_at(log._new_producer()).partitions[0].leader
    lost = [node for node in kafka_cluster.nodes if node.node == leader]
    lost[0].kill()
    writer.join(400)
    assert writer.acknowledged == 40 * BATCH
    check(log, 40 * BATCH)
    lost += [node for node in kafka_cluster.nodes if node.node != leader][:1]
    lost[1].kill()
    hasty = closing(KafkaLog.open(url.replace("timeout_seconds=20", "timeout_seconds=2"), {}))
    with pytest.raises(BackendError):  # one copy is too few to acknowledge
        hasty.append([event(40 * BATCH)])
    for node in lost:
        node.restart()
    patiently(lambda: log.append([event(40 * BATCH)]))
    check(log, 40 * BATCH + 1)
