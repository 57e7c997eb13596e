"""Real caches for the tests: Redis (alone, with two replicas, as a cluster of three and three) and Memcached."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import unquote_to_bytes

from engines import Server, free_port, program


class Redis(Server):
    """One Redis, in memory alone unless `words` say otherwise."""

    name = "redis"

    def command(self) -> list[str]:
        server = program("redis-server", "apt-get install redis-server")
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.dir), "--save", ""]
        return [server, *where, "--daemonize", "no", "--repl-diskless-sync-delay", "0", *self.words]

    def ready(self) -> bool:
        """It may take connections before it has read its data."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(8).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


class RedisReplicas:
    """A primary and two replicas of it."""

    def __init__(self) -> None:
        self.primary = Redis()
        self.replicas: list[Redis] = []

    def start(self) -> Self:
        self.primary.start()
        for _ in range(2):
            self.replicas.append(Redis("--replicaof", f"127.0.0.1 {self.primary.port}").start())
        with connected(self.primary) as client:
            _until(lambda: client.execute_command("WAIT", 2, 100) == 2)
        return self

    def close(self) -> None:
        for server in (self.primary, *self.replicas):
            server.close()


class RedisCluster:
    """Three primaries with a replica each, put together by hand: `redis-cli` would want to be asked."""

    def __init__(self) -> None:
        self.nodes: list[Redis] = []

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Self:
        for _ in range(6):
            words = ["--cluster-enabled", "yes", "--cluster-node-timeout", "15000"]
            words += ["--cluster-announce-ip", "127.0.0.1", "--cluster-port", str(free_port())]
            self.nodes.append(Redis(*words, "--cluster-migration-barrier", "99").start())
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connected(node)) for node in self.nodes]
            for number, client in enumerate(clients[:3]):
                first, last = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            bus = self.nodes[0].words[self.nodes[0].words.index("--cluster-port") + 1]
            for client in clients[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, bus)
            ids = [client.execute_command("CLUSTER", "MYID") for client in clients[:3]]
            for number, client in enumerate(clients[3:]):
                _until(lambda client=client, number=number: _follows(client, ids[number]))
            _until(lambda: all(_whole(client) for client in clients))
        return self

    def close(self) -> None:
        for node in self.nodes:
            node.close()


class Memcached(Server):
    """One Memcached of 32 MB."""

    name = "memcached"

    def command(self) -> list[str]:
        server = program("memcached", "apt-get install memcached")
        # Its own way to change the user would also undo that it dies with the tests.
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig", "KILL"]
        self.dir.chmod(0o755)
        where = ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "32"]
        return [*(user if os.geteuid() == 0 else ()), server, *where, *self.words]

    def held(self) -> Iterator[bytes]:
        """Every key and value in it."""
        from pymemcache.client import Client

        with contextlib.closing(Client(("127.0.0.1", self.port), timeout=30)) as client:
            told = client.raw_command(b"lru_crawler metadump all", b"END\r\n")
            for key in re.findall(rb"key=(\S+)", told):
                yield from (unquote_to_bytes(key), client.get(unquote_to_bytes(key)) or b"")


@contextlib.contextmanager
def connected(server: Redis, *, text: bool = True) -> Any:
    """A bare client of one server."""
    import redis

    client = redis.Redis(port=server.port, decode_responses=text, socket_timeout=30)
    try:
        yield client
    finally:
        client.close()


def held_by(*servers: Redis) -> Iterator[bytes]:
    """Every key and value of `servers`."""
    import redis

    for server in servers:
        with connected(server, text=False) as client:
            for key in client.keys("*"):
                yield key
                with contextlib.suppress(redis.ResponseError):  # a replica in a cluster shows its keys alone
                    yield client.get(key) or b""


def _follows(client: Any, primary: str) -> bool:
    import redis

    try:
        client.execute_command("CLUSTER", "REPLICATE", primary)
    except redis.ResponseError:  # it has not heard of that one yet
        return False
    return True


def _whole(client: Any) -> bool:
    state = client.execute_command("CLUSTER", "INFO")
    if not isinstance(state, dict):
        state = dict(line.split(":", 1) for line in state.split())
    linked = client.info("replication").get("master_link_status", "up") == "up"
    return linked and (state["cluster_state"], state["cluster_known_nodes"]) == ("ok", "6")


def _until(what: Any) -> None:
    give_up = time.monotonic() + 120
    while not what():
        if time.monotonic() > give_up:
            raise RuntimeError("the servers did not come together")
        time.sleep(0.02)
