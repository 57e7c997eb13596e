"""Real servers for the whole session, each started when the first test asks for it.

One that is not installed skips its tests with the line that installs it; with ANTSMEM_REQUIRE_SERVERS=1 it fails
them, so a machine that is meant to test everything does. With several processes (`-n 2`) the tests of a file stay
in one of them, and what the suites counted is added up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import brokers
import cache_servers
import engines
import engines_stores
import pytest
import tallies
from hypothesis import settings
from seeds import SEED

LONGEST = {
    "test_canaries.py", "test_cut_off.py", "test_disk_errors.py", "test_every_death.py", "test_fuzz.py",
    "test_kevin.py", "test_kills.py", "test_log_faults.py", "test_merge_machine.py", "test_migration_test.py",
    "test_profiles.py", "test_random_kills.py", "test_sessions.py", "test_simulation.py", "test_targets.py",
}  # fmt: skip
"""Files of tests that take more than half a minute."""
EXAMPLES = 3000 if os.environ.get("ANTSMEM_SOAK") == "1" else 100
settings.register_profile("antsmem", deadline=None, max_examples=EXAMPLES)  # no property fails for being slow
settings.load_profile("antsmem")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


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


@pytest.fixture
def closing(request: pytest.FixtureRequest) -> engines.Closing:
    """Gives back what it is given, and closes it when the test has ended."""

    def later(made: Any) -> Any:
        request.addfinalizer(made.close)
        return made

    return later


def _running(make: Callable[[], engines.Startable]) -> Any:
    """A fixture: what `make` gives, started, and closed at the end of the session."""

    @pytest.fixture(scope="session")
    def server() -> Iterator[engines.Startable]:
        server = engines.started(make())
        yield server
        server.close()

    return server


consul = _running(engines_stores.Consul)
etcd = _running(engines_stores.Etcd)
gnome_keyring = _running(engines.GnomeKeyring)
kafka = _running(brokers.Kafka)
kafka_cluster = _running(brokers.KafkaCluster)
memcached = _running(cache_servers.Memcached)
milvus = _running(engines_stores.Milvus)
moto = _running(engines.Moto)
pgvector = _running(engines_stores.Pgvector)
postgres = _running(engines_stores.Postgres)
pulsar = _running(brokers.Pulsar)
rclone = _running(engines.Rclone)
redis = _running(cache_servers.Redis)
redis_cluster = _running(cache_servers.RedisCluster)
sshd = _running(engines.Sshd)
tpm = _running(engines.Tpm)
vault_kv = _running(engines.VaultKv)
