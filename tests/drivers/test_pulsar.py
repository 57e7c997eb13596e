"""Goal: Pulsar is used as its users expect, and nothing is lost by how it is set up.

Method: a real broker, looked at with a bare client of its library, and by HTTP, behind the driver's back.
"""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import brokers
import engines
import pytest

from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    NotFoundError,
    RefusedError,
    RollbackError,
    UsageError,
)
from antsmem.drivers.pulsar import PulsarLog, event_in, partition_of
from antsmem.memory.roles import LogRecord

STREAM = "acme/kevin"


def place(server: brokers.Pulsar, folder: str = "public/default") -> str:
    query = f"tls=no&partitions=3&timeout_seconds=60&admin_url=http://127.0.0.1:{server.web}"
    return f"pulsar://127.0.0.1:{server.port}/{folder}/t{uuid.uuid4().hex[:8]}?{query}"


def topic_of(url: str) -> str:
    """The topic, as Pulsar names it."""
    return "persistent://" + url.partition("?")[0].partition("://")[2].partition("/")[2]


def record(number: int, stream: str = STREAM, data: bytes = b"x") -> LogRecord:
    headers = {"id": f"id-{number}", "source": "ants://acme/kevin/dev/a", "datacontenttype": "application/jose"}
    return LogRecord(stream, f"id-{number}", headers, data)


def topics(server: brokers.Pulsar) -> str:
    """Every topic of the default namespace, partitioned or not, as Pulsar tells it."""
    below = f"http://127.0.0.1:{server.web}/admin/v2/persistent/public/default"
    found = [urllib.request.urlopen(below + more, timeout=30).read().decode() for more in ("", "/partitioned")]
    return "\n".join(found)


@pytest.fixture
def bare(pulsar: brokers.Pulsar) -> Iterator[Any]:
    import pulsar as sdk

    silent = sdk.FileLogger(sdk.LoggerLevel.Error, "/dev/null")
    client = sdk.Client(f"pulsar://127.0.0.1:{pulsar.port}", logger=silent, operation_timeout_seconds=60)
    yield client
    client.close()


@pytest.mark.parametrize(
    ("text", "hashed"), [("", 0), ("abc", 96354), ("hello", 99162322), ("\U0001f41c", 1772415)]
)
def test_a_key_goes_where_javas_string_says(text: str, hashed: int) -> None:
    for count in (1, 7, 100):
        assert partition_of(text, count) == hashed % count


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("pulsar://host", {}),
        ("pulsar://host/topic", {}),
        ("pulsar://host/tenant/topic", {}),
        ("pulsar://host/a/b/c/d", {}),
        ("pulsar://host/a/b/a topic", {}),
        ("pulsar://host:0/a/b/c", {}),
        ("pulsar:///a/b/c", {}),
        ("kafka://host/a/b/c", {}),
        ("pulsar://host/a/b/c", {"acks": "0"}),
        ("pulsar://host/a/b/c?partitions=0", {}),
        ("pulsar://host/a/b/c?token=x", {}),
        ("pulsar://host/a/b/c", {"tls": "no", "ca_file": "/x"}),
        ("pulsar://host/a/b/c", {"ca_file": "/does/not/exist"}),
        ("pulsar://host/a/b/c", {"cert_file": __file__}),
        ("pulsar://host/a/b/c", {"cert_file": __file__, "key_file": __file__, "key_password": "x"}),
        ("pulsar://host/a/b/c", {"token": "x", "tls": "no"}),
        ("pulsar://host/a/b/c", {"token": "x", "admin_url": "http://host:8080"}),
        ("pulsar://host/a/b/c", {"admin_url": "ftp://host"}),
        ("pulsar://host/a/b/c", {"admin_url": "https://user:word@host"}),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_connects(url: str, options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        PulsarLog.open(url, options)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    word = uuid.uuid4().hex
    for url in (f"pulsar://user:{word}@host/a/b/c", f"pulsar://host/a/b/c?token={word}"):
        with pytest.raises(ConfigError) as refused:
            PulsarLog.open(url, {})
        assert word not in str(refused.value) + refused.value.hint


@pytest.mark.server
def test_only_create_makes_a_topic(pulsar: brokers.Pulsar) -> None:
    """The broker itself would make one, of one partition, for the first producer."""
    url = place(pulsar)
    log = PulsarLog.open(url, {})
    uses = (lambda: log.append([record(1)]), lambda: log.read(STREAM, None, 1), log.inspect)
    for use in (*uses, lambda: log.tail(STREAM, None, 0.1)):
        with pytest.raises(NotFoundError):
            use()
    assert topic_of(url) not in topics(pulsar)
    log.create()
    log.create()
    log.append([record(1)])
    assert topic_of(url) in topics(pulsar)
    log.close()


@pytest.mark.server
def test_control_the_broker_does_make_a_topic_for_a_bare_producer(pulsar: brokers.Pulsar, bare: Any) -> None:
    url = place(pulsar)
    bare.create_producer(topic_of(url)).send(b"x")
    assert topic_of(url) in topics(pulsar)
    with pytest.raises(NotFoundError, match="no partitioned topic"):
        PulsarLog.open(url, {}).append([record(1)])


@pytest.mark.server
def test_another_number_of_partitions_than_configured_is_refused(pulsar: brokers.Pulsar) -> None:
    url = place(pulsar)
    PulsarLog.open(url, {}).create()
    other = PulsarLog.open(url.replace("partitions=3", "partitions=4"), {})
    for use in (other.create, lambda: other.append([record(1)]), lambda: other.read(STREAM, None, 1)):
        with pytest.raises(RefusedError, match="3 partitions"):
            use()
    other.close()


@pytest.mark.server
@pytest.mark.parametrize("folder", ["nobody/default", "public/nothing"])
def test_a_tenant_or_namespace_that_is_not_there_is_told_and_not_made(pulsar: brokers.Pulsar, folder: str) -> None:
    log = PulsarLog.open(place(pulsar, folder), {})
    for use in (log.create, lambda: log.append([record(1)]), lambda: log.read(STREAM, None, 1), log.inspect):
        with pytest.raises(AntsmemError) as told:
            use()
        assert isinstance(told.value, NotFoundError | RefusedError)
    log.close()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{pulsar.web}/admin/v2/namespaces/{folder}", timeout=30)


@pytest.mark.server
def test_a_message_is_a_cloud_event_with_its_attributes_as_properties(pulsar: brokers.Pulsar, bare: Any) -> None:
    import pulsar as sdk

    url = place(pulsar)
    log = PulsarLog.open(url, {})
    log.create()
    log.append([record(1), record(2, data=b"")])
    log.close()
    reader = bare.create_reader(f"{topic_of(url)}-partition-{partition_of(STREAM, 3)}", sdk.MessageId.earliest)
    found = [reader.read_next(30_000) for _ in range(2)]
    assert [(each.partition_key(), each.data()) for each in found] == [(STREAM, b"x"), (STREAM, b"")]
    told = {"ce_id": "id-1", "ce_source": "ants://acme/kevin/dev/a", "content-type": "application/jose"}
    assert found[0].properties() == told


@pytest.mark.server
def test_what_is_no_event_is_passed_over(pulsar: brokers.Pulsar, bare: Any) -> None:
    url = place(pulsar)
    log = PulsarLog.open(url, {})
    log.create()
    producer = bare.create_producer(f"{topic_of(url)}-partition-{partition_of(STREAM, 3)}")
    producer.send(b"no event", partition_key=STREAM)
    producer.send(b"another's", partition_key="acme/other", properties={"ce_id": "other"})
    producer.send(b"y", partition_key=STREAM, properties={"ce_id": "this"})
    assert [each.id for _, each in log.read(STREAM, None, 10)] == ["this"]
    log.close()


@pytest.mark.parametrize(("key", "name"), [(b"\xff", b"this"), (STREAM.encode(), b"\xff")])
def test_what_a_stranger_wrote_as_text_and_is_none_is_passed_over(key: bytes, name: bytes) -> None:
    """The library raises where Python has no text for it."""
    from _pulsar import MessageBuilder

    made = MessageBuilder().content(b"x").property("ce_id", b"this").partition_key(STREAM.encode()).build()
    event = event_in(made, STREAM)
    assert event is not None and event.id == "this", "the control"
    assert (
        event_in(MessageBuilder().content(b"x").property("ce_id", name).partition_key(key).build(), STREAM) is None
    )


@pytest.mark.server
def test_a_position_that_the_topic_cannot_have_given_is_told(pulsar: brokers.Pulsar) -> None:
    log = PulsarLog.open(place(pulsar), {})
    log.create()
    log.append([record(number) for number in range(3)])
    last = log.read(STREAM, None, 9)[-1][0]
    assert log.read(STREAM, last, 9) == []
    for never in ("999999:0:-1", "999999:5:3"):
        with pytest.raises(RollbackError):
            log.read(STREAM, never, 1)
    for nonsense in ("", "7", "a:b:c", "-1:-1:-1"):
        with pytest.raises(UsageError):
            log.read(STREAM, nonsense, 1)
    assert [each.id for _, each in log.read(STREAM, None, 9)] == ["id-0", "id-1", "id-2"]
    log.close()


@pytest.mark.server
def test_what_is_too_large_is_refused_and_the_rest_goes_on(pulsar: brokers.Pulsar) -> None:
    log = PulsarLog.open(place(pulsar), {})
    log.create()
    with pytest.raises(RefusedError, match="MessageTooBig"):
        log.append([record(1, data=bytes(6 << 20))])
    log.append([record(2)])
    assert [each.id for _, each in log.read(STREAM, None, 10)] == ["id-2"]
    log.close()


@pytest.mark.server
def test_an_inspection_warns_of_what_could_lose_or_double_events(pulsar: brokers.Pulsar) -> None:
    url = place(pulsar)
    log = PulsarLog.open(url, {})
    below = f"http://127.0.0.1:{pulsar.web}/admin/v2/persistent/{topic_of(url).partition('://')[2]}/partitions"
    made = urllib.request.Request(
        below, json.dumps(3).encode(), {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(made, timeout=30).close()  # by hand, without policies
    told = log.inspect()
    assert (told.facts["retention"], told.facts["deduplication"], len(told.warnings)) == ("limited", "no", 2)
    log.create()
    told = log.inspect()
    assert (told.facts["retention"], told.facts["deduplication"], told.warnings) == ("unlimited", "yes", ())
    log.close()


def test_a_broker_that_is_not_there_is_an_error_in_time() -> None:
    gone = engines.free_port()
    query = f"tls=no&timeout_seconds=1&admin_url=http://127.0.0.1:{engines.free_port()}"
    log = PulsarLog.open(f"pulsar://127.0.0.1:{gone}/public/default/topic?{query}", {})
    began = time.monotonic()
    uses = (log.create, lambda: log.append([record(1)]), lambda: log.read(STREAM, None, 1), log.inspect)
    for use in uses:
        with pytest.raises(BackendError) as told:
            use()
        assert told.value.transient
    assert time.monotonic() - began < 60
    log.close()
