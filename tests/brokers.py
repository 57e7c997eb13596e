"""Real message brokers for the tests: Kafka (one node, or three) and Pulsar standalone, on the JVM.

Their jars come from Maven Central (tests/jars, `make servers`) and lie under `.servers/`. Kafka has no ZooKeeper:
each node is broker and controller. Both keep what they acknowledged when they are killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from certificates import Authority
from engines import Server, UnavailableError, free_port, program

_SERVERS = Path(__file__).parents[1] / ".servers"
_JVM = ["-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
_LOG4J = """log4j.rootLogger=WARN, o
log4j.appender.o=org.apache.log4j.ConsoleAppender
log4j.appender.o.layout=org.apache.log4j.PatternLayout
log4j.appender.o.layout.ConversionPattern=%d %p %m (%c)%n
"""


def _java(libs: str, heap: str, *words: str) -> list[str]:
    """The words that start a Java program whose jars are in `.servers/LIBS`."""
    jars = _SERVERS / libs
    if not jars.is_dir():
        raise UnavailableError(f"`.servers/{libs}` is not there: make servers")
    java = program("java", "apt-get install openjdk-17-jre-headless")
    return [java, *_JVM, heap, "-cp", f"{jars}/*", *words]


class Kafka(Server):
    """One node of Kafka, alone unless `voters` names the controllers of all (`1@127.0.0.1:PORT,…`).

    Besides `port` it listens on `back_port`, for a proxy that stands at `proxy_port` as it tells its clients; on
    `tls_port` for clients with a certificate of `authority`; on `login_port` for the user `ants` with `password`.
    """

    name = "kafka"
    ready_seconds = 300.0
    cluster_id = "AAAAAAAAAAAAAAAAAAAAAQ"

    def __init__(self, node: int = 1, voters: str = "") -> None:
        super().__init__()
        self.node = node
        self._voters = voters
        self._controller = int(voters.split(",")[node - 1].rpartition(":")[2]) if voters else free_port()

    def prepare(self) -> None:
        (self.dir / "log4j.properties").write_text(_LOG4J)
        (self.dir / "logs").mkdir()
        # What Kafka's own tool writes to format a directory, at the cost of a Java program.
        self.back_port, self.proxy_port, self.tls_port, self.login_port = (free_port() for _ in range(4))
        self.password = os.urandom(8).hex()
        self.authority = Authority(self.dir)
        self._keys = self.authority.certify("broker")
        (self.dir / "broker.pem").write_text("".join(file.read_text() for file in reversed(self._keys)))
        told = {"version": 1, "cluster.id": self.cluster_id, "node.id": self.node}
        (self.dir / "logs" / "meta.properties").write_text("".join(f"{k}={v}\n" for k, v in told.items()))

    def command(self) -> list[str]:
        copies = len(self._voters.split(","))
        doors = {"PLAIN": self.port, "BACK": self.back_port, "TLS": self.tls_port, "LOGIN": self.login_port}
        told = doors | {"BACK": self.proxy_port}
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        lines = [
            "process.roles=broker,controller",
            f"node.id={self.node}",
            f"controller.quorum.voters={self._voters or f'1@127.0.0.1:{self._controller}'}",
            f"listeners={_listeners(doors | {'CONTROLLER': self._controller})}",
            f"advertised.listeners={_listeners(told)}",
            "controller.listener.names=CONTROLLER",
            "inter.broker.listener.name=PLAIN",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,BACK:PLAINTEXT,TLS:SSL,"
            "LOGIN:SASL_PLAINTEXT",
            "listener.name.tls.ssl.client.auth=required",
            "listener.name.tls.ssl.keystore.type=PEM",
            f"listener.name.tls.ssl.keystore.location={self.dir}/broker.pem",
            "listener.name.tls.ssl.truststore.type=PEM",
            f"listener.name.tls.ssl.truststore.location={self.authority.file}",
            "listener.name.login.sasl.enabled.mechanisms=PLAIN",
            f'listener.name.login.plain.sasl.jaas.config={login} required user_ants="{self.password}";',
            f"log.dirs={self.dir}/logs",
            f"offsets.topic.replication.factor={copies}",
            f"transaction.state.log.replication.factor={copies}",
            "transaction.state.log.min.isr=1",
            "log.index.size.max.bytes=65536",  # else 20 MB a partition, to be read by who searches all it keeps
            "num.network.threads=2",
            "num.io.threads=2",
            # A node that is gone is noticed a little sooner than after Kafka's usual nine seconds.
            "broker.session.timeout.ms=5000",
            "broker.heartbeat.interval.ms=1000",
        ]
        (self.dir / "server.properties").write_text("\n".join(lines) + "\n")
        where = [f"-Dlog4j.configuration=file:{self.dir}/log4j.properties", f"-Dkafka.logs.dir={self.dir}"]
        return _java("kafka", "-Xmx384m", *where, "kafka.Kafka", f"{self.dir}/server.properties")

    def ready(self) -> bool:
        """A member of three is ready when the other two are: `KafkaCluster` asks."""
        if self._voters:
            return True
        return super().ready() and brokers_of(f"127.0.0.1:{self.port}") == 1


def _listeners(doors: dict[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in doors.items())


class KafkaCluster:
    """Three nodes; every topic may have three copies."""

    def __init__(self) -> None:
        voters = ",".join(f"{node}@127.0.0.1:{free_port()}" for node in (1, 2, 3))
        self.nodes = [Kafka(node, voters) for node in (1, 2, 3)]

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        for node in self.nodes:
            node.start()
        give_up = time.monotonic() + 240
        while brokers_of(self.hosts) < len(self.nodes):
            if time.monotonic() > give_up:
                told = self.nodes[0].log()[-2000:]
                self.close()
                raise RuntimeError("three brokers did not find each other:\n" + told)
        return self

    def close(self) -> None:
        for node in self.nodes:
            node.close()


def brokers_of(hosts: str) -> int:
    """How many brokers a Kafka cluster says that it has; 0: it does not answer."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    silent = logging.getLogger("tests.kafka")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False
    client = AdminClient({"bootstrap.servers": hosts, "reconnect.backoff.ms": 20, "logger": silent})
    with contextlib.suppress(KafkaException):
        return len(client.list_topics(timeout=5).brokers)
    return 0


_PULSAR = """clusterName=standalone
bindAddress=127.0.0.1
advertisedAddress=127.0.0.1
metadataStoreUrl=
configurationMetadataStoreUrl=
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
loadManagerClassName=org.apache.pulsar.broker.loadbalance.NoopLoadManager
loadBalancerEnabled=false
webSocketServiceEnabled=false
statusFilePath=status.html
ledgerStorageClass=org.apache.bookkeeper.bookie.storage.ldb.DbLedgerStorage
nettyMaxFrameSizeBytes=5253120
dbStorage_writeCacheMaxSizeMb=16
dbStorage_readAheadCacheMaxSizeMb=16
dbStorage_rocksDB_blockCacheSize=8388608
journalSyncData=true
journalMaxGroupWaitMSec=1
allowLoopback=true
diskUsageThreshold=0.99
diskUsageWarnThreshold=0.99
httpServerEnabled=false
gcWaitTime=300000
numIOThreads=2
numHttpServerThreads=8
"""
_OPENED = (
    *("java.io", "java.util.zip", "java.nio", "java.lang", "sun.net", "jdk.internal.misc"),
    "jdk.internal.platform",
)


class Pulsar(Server):
    """Pulsar's broker, its bookkeeper and its metadata in one process; `web` is the port of its HTTP interface."""

    name = "pulsar"
    ready_seconds = 300.0

    def prepare(self) -> None:
        self.web = free_port()
        self._bookie = free_port()

    def command(self) -> list[str]:
        ports = f"brokerServicePort={self.port}\nwebServicePort={self.web}\n"
        (self.dir / "standalone.conf").write_text(_PULSAR + ports + "".join(f"{w}\n" for w in self.words))
        kept = "org.apache.pulsar.metadata.bookkeeper.PulsarMetadata"
        return _java(
            "pulsar",
            "-Xmx512m",
            "-XX:MaxDirectMemorySize=512m",
            *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED),
            "--add-opens=java.management/sun.management=ALL-UNNAMED",
            "-Dio.netty.tryReflectionSetAccessible=true",
            "-Djava.net.preferIPv4Stack=true",
            f"-Dbookkeeper.metadata.bookie.drivers={kept}BookieDriver",
            f"-Dbookkeeper.metadata.client.drivers={kept}ClientDriver",
            "org.apache.pulsar.PulsarStandaloneStarter",
            *("--config", f"{self.dir}/standalone.conf"),
            *("--metadata-dir", f"{self.dir}/metadata", "--bookkeeper-dir", f"{self.dir}/bookkeeper"),
            *("--bookkeeper-port", str(self._bookie), "--no-functions-worker", "--no-stream-storage"),
        )

    def ready(self) -> bool:
        """Its default namespace is the last thing that it makes."""
        url = f"http://127.0.0.1:{self.web}/admin/v2/namespaces/public"
        with urllib.request.urlopen(url, timeout=2) as answer:
            return b"public/default" in answer.read()
