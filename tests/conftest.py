"""Real servers for the whole session, each started when the first test asks for it.

One that is not installed skips its tests with the line that installs it; with ANTSMEM_REQUIRE_SERVERS=1 it fails
them, so a machine that is meant to test everything does. With several processes (`-n 2`) the tests of a file stay
in one of them, and what the suites counted is added up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import brokers
import cache_servers
import engines
import engines_stores
import pytest
import tallies
from hypothesis import HealthCheck, settings
from seeds import SEED

LONGEST = {
    "test_canaries.py", "test_cut_off.py", "test_disk_errors.py", "test_every_death.py", "test_fuzz.py",
    "test_kevin.py", "test_kills.py", "test_log_faults.py", "test_merge_machine.py", "test_migration_test.py",
    "test_profiles.py", "test_random_kills.py", "test_sessions.py", "test_simulation.py", "test_targets.py",
}  # fmt: skip
"""Files of tests that take more than half a minute."""
EXAMPLES = 3000 if os.environ.get("ANTSMEM_SOAK") == "1" else 100
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
# No property fails for being slow, or for how much had to be drawn.
settings.register_profile("antsmem", deadline=None, max_examples=EXAMPLES, suppress_health_check=SLOW)
settings.load_profile("antsmem")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_runtest_setup() -> None:
    """A test begins and ends on one day, and in one week, month and year: none begins right before midnight."""
    left = 86_400 - time.time() % 86_400
    if left < 30:
        time.sleep(left)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tallies"] = tallies.sent()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    tallies.received(getattr(node, "workeroutput", {}).get("tallies", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"drawn by ANTSMEM_TEST_SEED={SEED}")
    for line in tallies.lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def moto() -> Iterator[engines.Server]:
    server = engines.started(engines.Moto())
    yield server
    server.close()


@pytest.fixture(scope="session")
def sshd() -> Iterator[engines.Server]:
    server = engines.started(engines.Sshd())
    yield server
    server.close()


@pytest.fixture(scope="session")
def vault_kv() -> Iterator[engines.Server]:
    server = engines.started(engines.VaultKv())
    yield server
    server.close()


@pytest.fixture(scope="session")
def gnome_keyring() -> Iterator[engines.Server]:
    server = engines.started(engines.GnomeKeyring())
    yield server
    server.close()


@pytest.fixture(scope="session")
def tpm() -> Iterator[engines.Server]:
    server = engines.started(engines.Tpm())
    yield server
    server.close()


@pytest.fixture(scope="session")
def rclone() -> Iterator[engines.Server]:
    server = engines.started(engines.Rclone())
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[engines.Server]:
    server = engines.started(engines_stores.Postgres())
    yield server
    server.close()


@pytest.fixture(scope="session")
def pgvector() -> Iterator[engines.Server]:
    server = engines.started(engines_stores.Pgvector())
    yield server
    server.close()


@pytest.fixture(scope="session")
def etcd() -> Iterator[engines.Server]:
    server = engines.started(engines_stores.Etcd())
    yield server
    server.close()


@pytest.fixture(scope="session")
def consul() -> Iterator[engines.Server]:
    server = engines.started(engines_stores.Consul())
    yield server
    server.close()


@pytest.fixture(scope="session")
def milvus() -> Iterator[engines.Server]:
    server = engines.started(engines_stores.Milvus())
    yield server
    server.close()


@pytest.fixture(scope="session")
def kafka() -> Iterator[engines.Server]:
    server = engines.started(brokers.Kafka())
    yield server
    server.close()


@pytest.fixture(scope="session")
def pulsar() -> Iterator[engines.Server]:
    server = engines.started(brokers.Pulsar())
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis() -> Iterator[engines.Server]:
    server = engines.started(cache_servers.Redis())
    yield server
    server.close()


@pytest.fixture(scope="session")
def memcached() -> Iterator[engines.Server]:
    server = engines.started(cache_servers.Memcached())
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[cache_servers.RedisCluster]:
    server = engines.started(cache_servers.RedisCluster())
    yield server
    server.close()


@pytest.fixture(scope="session")
def kafka_cluster() -> Iterator[brokers.KafkaCluster]:
    server = engines.started(brokers.KafkaCluster())
    yield server
    server.close()
