"""Goal: Kafka is used as its users expect, and nothing is lost by how it is set up.

Method: a real broker, looked at with a bare client of its library behind the driver's back.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import brokers
import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from antsmem.core.errors import ConfigError, NotFoundError, RefusedError, RollbackError, UsageError
from antsmem.drivers.kafka import KafkaLog, topic_settings
from antsmem.drivers.kafka_client import partition_of
from antsmem.memory.roles import LogRecord

STREAM = "acme/kevin"
TOPIC = Path(__file__).parents[2] / "templates" / "backends" / "kafka" / "topic.yaml"


def place(server: brokers.Kafka) -> str:
    return f"kafka://127.0.0.1:{server.port}/t{uuid.uuid4().hex[:8]}?tls=no&replication=1&partitions=3"


def record(number: int, stream: str = STREAM, data: bytes = b"x") -> LogRecord:
    headers = {"id": f"id-{number}", "source": "ants://acme/kevin/dev/a", "datacontenttype": "application/jose"}
    return LogRecord(stream, f"id-{number}", headers, data)


def bare(server: brokers.Kafka) -> dict[str, Any]:
    return {"bootstrap.servers": f"127.0.0.1:{server.port}"}


@pytest.mark.parametrize(
    ("text", "hashed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("abc", 479470107),
    ],
)
def test_a_key_goes_where_kafkas_own_tests_say(text: str, hashed: int) -> None:
    """The values are those of `UtilsTest.testMurmur2` in Kafka."""
    for count in (1, 7, 100):
        assert partition_of(text.encode(), count) == (hashed & 0x7FFFFFFF) % count


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("kafka://host", {}),
        ("kafka:///topic", {}),
        ("kafka://host:0/topic", {}),
        ("kafka://host:99999/topic", {}),
        ("kafka://host/a topic", {}),
        ("kafka://host/..", {}),
        ("kafka://ho st/topic", {}),
        ("pulsar://host/topic", {}),
        ("kafka://host/topic", {"acks": "0"}),
        ("kafka://host/topic?partitions=0", {}),
        ("kafka://host/topic?password=x", {}),
        ("kafka://host/topic", {"replication": "2", "min_insync": "3"}),
        ("kafka://host/topic", {"tls": "no", "ca_file": "/x"}),
        ("kafka://host/topic", {"ca_file": "/does/not/exist"}),
        ("kafka://host/topic", {"cert_file": __file__}),
        ("kafka://host/topic", {"username": "u"}),
        ("kafka://host/topic", {"sasl": "PLAIN"}),
        ("kafka://host/topic", {"username": "u", "password": "p", "sasl": "OAUTHBEARER"}),
        ("kafka://host/topic", {"username": "u", "password": "p", "sasl": "PLAIN", "tls": "no"}),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_connects(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        KafkaLog.open(url, options)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    word = uuid.uuid4().hex
    with pytest.raises(ConfigError) as refused:
        KafkaLog.open(f"kafka://user:{word}@host/topic", {})
    assert word not in str(refused.value) + refused.value.hint


def test_the_topic_template_says_what_create_does() -> None:
    spec = yaml.safe_load(TOPIC.read_text())["spec"]
    assert (spec["partitions"], spec["replicas"]) == (8, 3)
    told = {name: str(value).lower() for name, value in spec["config"].items()}
    assert told == topic_settings(2)


@pytest.mark.server
def test_only_create_makes_a_topic(kafka: brokers.Kafka) -> None:
    """The broker itself would make one at the first message."""
    url = place(kafka)
    log = KafkaLog.open(url, {})
    for use in (lambda: log.append([record(1)]), lambda: log.read(STREAM, None, 1)):
        with pytest.raises(NotFoundError):
            use()
    assert url.partition("?")[0].rpartition("/")[2] not in AdminClient(bare(kafka)).list_topics().topics
    log.create()
    log.append([record(1)])
    log.close()


@pytest.mark.server
def test_another_number_of_partitions_than_configured_is_refused(kafka: brokers.Kafka) -> None:
    url = place(kafka)
    KafkaLog.open(url, {}).create()
    other = KafkaLog.open(url.replace("partitions=3", "partitions=4"), {})
    for use in (other.create, lambda: other.append([record(1)]), lambda: other.read(STREAM, None, 1)):
        with pytest.raises(RefusedError, match="3 partitions"):
            use()
    other.close()


@pytest.mark.server
def test_a_message_is_a_cloud_event_in_binary_mode(kafka: brokers.Kafka) -> None:
    url = place(kafka)
    log = KafkaLog.open(url, {})
    log.create()
    log.append([record(1), record(2, data=b"")])
    log.close()
    found = everything(kafka, url)
    assert [(each.key(), each.value()) for each in found] == [(STREAM.encode(), b"x"), (STREAM.encode(), b"")]
    assert dict(found[0].headers()) == {
        "ce_id": b"id-1",
        "ce_source": b"ants://acme/kevin/dev/a",
        "content-type": b"application/jose",
    }


@pytest.mark.server
def test_another_programs_events_are_read_and_what_is_none_is_passed_over(kafka: brokers.Kafka) -> None:
    url = place(kafka)
    log = KafkaLog.open(url, {})
    log.create()
    producer = Producer(bare(kafka) | {"partitioner": "murmur2"})  # as Java's
    topic = url.partition("?")[0].rpartition("/")[2]
    for number in range(20):
        producer.produce(topic, b"y", f"acme/{number}", headers=[("ce_id", str(number))])
    producer.produce(topic, None, STREAM, headers=[("ce_id", "a tombstone")])
    producer.produce(topic, b"no event", STREAM)
    producer.produce(topic, b"no text", STREAM, headers=[("ce_id", b"\xff")])
    producer.produce(topic, b"y", STREAM, headers=[("ce_id", "this")])
    assert producer.flush(30) == 0
    for number in range(20):
        assert [each.id for _, each in log.read(f"acme/{number}", None, 10)] == [str(number)]
    assert [each.id for _, each in log.read(STREAM, None, 10)] == ["this"]
    log.close()


@pytest.mark.server
def test_a_position_that_the_topic_cannot_have_given_is_told(kafka: brokers.Kafka) -> None:
    url = place(kafka)
    log = KafkaLog.open(url, {})
    log.create()
    log.append([record(number) for number in range(5)])
    with pytest.raises(RollbackError):
        log.read(STREAM, "1000", 1)
    with pytest.raises(UsageError):
        log.read(STREAM, "-1", 1)
    topic = url.partition("?")[0].rpartition("/")[2]
    gone = TopicPartition(topic, partition_of(STREAM.encode(), 3), 3)
    admin = AdminClient(bare(kafka))
    for deleted in admin.delete_records([gone]).values():
        deleted.result(60)
    fresh = KafkaLog.open(url, {})
    assert [position for position, _ in fresh.read(STREAM, "2", 9)] == ["3", "4"]
    with pytest.raises(NotFoundError):
        fresh.read(STREAM, "0", 1)
    for read in (fresh.read, fresh.tail):  # who knows no position begins with the first there is
        assert [position for position, _ in read(STREAM, None, 9)] == ["3", "4"]
    log.close()
    fresh.close()


@pytest.mark.server
def test_what_is_too_large_is_refused_and_the_rest_goes_on(kafka: brokers.Kafka) -> None:
    log = KafkaLog.open(place(kafka), {})
    log.create()
    with pytest.raises(RefusedError, match="MSG_SIZE_TOO_LARGE"):
        log.append([record(1, data=bytes(2 << 20))])
    log.append([record(2)])
    assert [each.id for _, each in log.read(STREAM, None, 10)] == ["id-2"]
    log.close()


@pytest.mark.server
def test_an_inspection_warns_of_what_could_lose_events(kafka: brokers.Kafka) -> None:
    url = place(kafka)
    log = KafkaLog.open(url, {})
    log.create()
    told = log.inspect()
    assert told.facts["min.insync.replicas"] == told.facts["replication"] == "1"
    assert told.facts["retention.ms"] == told.facts["retention.bytes"] == "-1"
    assert len(told.warnings) == 1 and "min.insync.replicas" in told.warnings[0]
    log.close()


@pytest.mark.server
def test_certificates_are_checked_by_both_sides(kafka: brokers.Kafka, tmp_path: Any) -> None:
    url = place(kafka)
    KafkaLog.open(url, {}).create()
    secured = url.replace(f":{kafka.port}/", f":{kafka.tls_port}/").replace("tls=no&", "")
    certificate, key = kafka.authority.certify("client")
    trust = {"ca_file": str(kafka.authority.file)}
    proof = {"cert_file": str(certificate), "key_file": str(key)}
    log = KafkaLog.open(secured, {**trust, **proof})
    log.append([record(1)])
    assert [each.id for _, each in log.read(STREAM, None, 10)] == ["id-1"]
    log.close()
    stranger = brokers.Authority(tmp_path)
    for options in ({}, trust, proof, {**proof, "ca_file": str(stranger.file)}):
        log = KafkaLog.open(secured, options)
        with pytest.raises(RefusedError):
            log.append([record(2)])
        log.close()


@pytest.mark.server
def test_a_login_is_needed_where_the_broker_asks_for_one(kafka: brokers.Kafka) -> None:
    url = place(kafka)
    KafkaLog.open(url, {}).create()
    asking = url.replace(f":{kafka.port}/", f":{kafka.login_port}/")
    login = {"username": "ants", "sasl": "PLAIN"}
    log = KafkaLog.open(asking, {**login, "password": kafka.password})
    log.append([record(1)])
    log.close()
    log = KafkaLog.open(asking, {**login, "password": uuid.uuid4().hex})
    with pytest.raises(RefusedError, match="AUTHENTICATION"):
        log.append([record(2)])
    log.close()


def everything(server: brokers.Kafka, url: str) -> list[Any]:
    """All messages of a topic, as a bare consumer gets them."""
    consumer = Consumer(bare(server) | {"group.id": "looks", "enable.partition.eof": True})
    topic = url.partition("?")[0].rpartition("/")[2]
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(3)])
    found, ended = [], 0
    while ended < 3:
        message = consumer.poll(30)
        assert message is not None
        if message.error():
            ended += 1
        else:
            found.append(message)
    consumer.close()
    return found
