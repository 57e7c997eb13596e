"""The event logs and caches that have real servers, for the conformance suites."""

from __future__ import annotations

import uuid

import brokers
import cache_servers
import pytest
from roles import OPENERS, SERVERS, Backend, bytes_below, opener

from antsmem.drivers.kafka import KafkaLog
from antsmem.drivers.memcached import MemcachedCache
from antsmem.drivers.pulsar import PulsarLog
from antsmem.drivers.redis import RedisCache


def _kafka(request: pytest.FixtureRequest) -> Backend:
    server: brokers.Kafka = request.getfixturevalue("kafka")
    url = f"kafka://127.0.0.1:{server.port}/t{uuid.uuid4().hex[:8]}?tls=no&replication=1&partitions=2"
    return Backend(opener(request, lambda: KafkaLog.open(url, {})), lambda: bytes_below(server.dir / "logs"))


def _pulsar(request: pytest.FixtureRequest) -> Backend:
    server: brokers.Pulsar = request.getfixturevalue("pulsar")
    where = f"tls=no&admin_url=http://127.0.0.1:{server.web}&partitions=2"
    url = f"pulsar://127.0.0.1:{server.port}/public/default/t{uuid.uuid4().hex[:8]}?{where}"
    held = server.dir / "bookkeeper"
    return Backend(opener(request, lambda: PulsarLog.open(url, {})), lambda: bytes_below(held))


def _redis(request: pytest.FixtureRequest) -> Backend:
    server: cache_servers.Redis = request.getfixturevalue("redis")
    url = f"redis://127.0.0.1:{server.port}?tls=no&prefix={uuid.uuid4().hex[:8]}:"

    return Backend(opener(request, lambda: RedisCache.open(url, {})), lambda: cache_servers.held_by(server))


def _redis_cluster(request: pytest.FixtureRequest) -> Backend:
    server: cache_servers.RedisCluster = request.getfixturevalue("redis_cluster")
    url = f"redis://{server.hosts}?tls=no&cluster=yes&prefix={uuid.uuid4().hex[:8]}:"
    return Backend(opener(request, lambda: RedisCache.open(url, {})), lambda: cache_servers.held_by(*server.nodes))


def _memcached(request: pytest.FixtureRequest) -> Backend:
    server: cache_servers.Memcached = request.getfixturevalue("memcached")
    url = f"memcached://127.0.0.1:{server.port}?tls=no&prefix={uuid.uuid4().hex[:8]}:"
    return Backend(opener(request, lambda: MemcachedCache.open(url, {})), server.held)


OPENERS["log"] |= {"kafka": _kafka, "pulsar": _pulsar}
OPENERS["cache"] |= {"redis": _redis, "redis-cluster": _redis_cluster, "memcached": _memcached}
SERVERS |= {"kafka", "pulsar", "redis", "redis-cluster", "memcached"}
