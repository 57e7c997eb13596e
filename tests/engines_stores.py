"""Real servers of the durable stores, vector indexes and directories; `engines.py` says how a server is run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from engines import Server, UnavailableError, free_port, program

POSTGRES_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
SERVERS = Path(__file__).parents[1] / ".servers"


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

    @staticmethod
    def _bin(name: str) -> str:
        for folder in reversed(POSTGRES_BIN):
            if (folder / name).exists():
                return str(folder / name)
        return program(name, "apt-get install postgresql-15")
