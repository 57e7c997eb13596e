"""Real servers for the tests, as plain child processes on loopback: no service manager, no containers.

A class says how to start one server and when it answers. Data lies in a directory of its own under /tmp (socket
paths must be short); ports are below the ephemeral range, so no client socket takes one first; a server dies with
the process that started it, also when that is killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Protocol, Self, TypeVar


class UnavailableError(Exception):
    """The program of a server is not installed; the message says how to get it."""


def program(name: str, install: str) -> str:
    """The path of `name`; `UnavailableError` with the line that installs it."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=places)
    if found is None:
        raise UnavailableError(f"`{name}` is not installed: {install}")
    return found


_GIVEN: set[int] = set()


def free_port() -> int:
    """A port on loopback that nobody listens on, and that no other test is given: each process that shares the
    tests has ports of its own, so one that is used later, or by nobody, is still free then."""
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
    while True:
        port = 20000 + 1250 * share + random.SystemRandom().randrange(1249)  # and the next one: see Tpm
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            if port not in _GIVEN:
                _GIVEN.update((port, port + 1))
                return port


class Startable(Protocol):
    """A server, or several that belong together."""

    def start(self) -> Self: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=Startable)


def started(server: S) -> S:
    """`server`, running. Not installed, it skips the test; with ANTSMEM_REQUIRE_SERVERS=1 it fails it."""
    import pytest

    try:
        return server.start()
    except UnavailableError as error:
        server.close()
        if os.environ.get("ANTSMEM_REQUIRE_SERVERS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


class Server:
    """One server process, with `words` added to its command. A subclass says the command and when it is ready;
    `prepare` runs once before."""

    name = "server"
    ready_seconds = 90.0

    def __init__(self, *words: str) -> None:
        self.words = words
        self.dir = Path(tempfile.mkdtemp(prefix=f"antsmem-{self.name}-", dir="/tmp"))
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make what the command needs in `self.dir`."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        with contextlib.closing(socket.socket()) as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def start(self) -> Self:
        """Start it and wait until it answers. A port that somebody took meanwhile is changed."""
        self.prepare()
        for _ in range(3):
            self.port = free_port()
            if self._start_once():
                return self
        raise RuntimeError(f"{self.name} did not come up:\n{self.log()[-2000:]}")

    def log(self) -> str:
        """What it wrote to its standard output and error."""
        return (self.dir / "log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def suspend(self) -> None:
        """Stop it as SIGSTOP does, and wait until it has: its threads may run on for a moment."""
        assert self._process is not None
        self.signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def kill(self) -> None:
        """End it without any warning."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGKILL)
            self._process.wait(60)

    def restart(self) -> None:
        """Start again after `kill`, on the same port with the same data."""
        if not self._start_once():
            raise RuntimeError(f"{self.name} did not come back:\n{self.log()[-2000:]}")

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _start_once(self) -> bool:
        argv = self.command()
        setpriv = shutil.which("setpriv")
        if setpriv:  # Linux: die with the tests
            argv = [setpriv, "--pdeathsig", "KILL", *argv]
        with (self.dir / "log").open("ab") as log:
            self._process = subprocess.Popen(
                argv, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        give_up = time.monotonic() + self.ready_seconds
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(OSError):
                if self.ready():
                    return True
            time.sleep(0.01)
        self.kill()
        return False


_MOTO = """
import io, sys, threading
from moto.backends import get_backend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

for service in ("dynamodb", "dynamodbstreams", "s3", "secretsmanager"):
    get_backend(service)  # else loaded, for seconds, while the first one who asks for it waits
application = DomainDispatcherApplication(create_backend_app)
turn = threading.Lock()

def one_at_a_time(environ, start_response):
    # moto looks at a condition and writes in two steps, which S3 does in one
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    with turn:
        return list(application(environ, start_response))

run_simple("127.0.0.1", int(sys.argv[1]), one_at_a_time, threaded=True)
"""


class Moto(Server):
    """S3 as moto imitates it. It takes any credentials."""

    name = "moto"

    def prepare(self) -> None:
        try:
            import moto.server  # noqa: F401
        except ImportError:
            raise UnavailableError("`moto` is not installed: pip install 'moto[server,s3]'") from None

    def command(self) -> list[str]:
        return [sys.executable, "-c", _MOTO, str(self.port)]

    def ready(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=1).close()
        except urllib.error.HTTPError:
            return True
        return True


class Sshd(Server):
    """OpenSSH's server for SFTP alone; `root` is a directory in it, `key_file` logs in, `known_hosts` knows it.
    `words` go to `internal-sftp`."""

    name = "sshd"

    def prepare(self) -> None:
        keygen = program("ssh-keygen", "apt-get install openssh-client")
        self.dir.chmod(0o755)
        self.root = self.dir / "root"
        self.root.mkdir()
        self.key_file = self.dir / "id"
        for key in (self.dir / "host", self.key_file):
            subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        shutil.copy(self.dir / "id.pub", self.dir / "authorized")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        sshd = program("sshd", "apt-get install openssh-server")
        lines = {
            "Port": self.port,
            "ListenAddress": "127.0.0.1",
            "HostKey": self.dir / "host",
            "AuthorizedKeysFile": self.dir / "authorized",
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "Subsystem": "sftp internal-sftp",
            "ForceCommand": " ".join(["internal-sftp", *self.words, "-d", str(self.root)]),
            "MaxStartups": 100,
        }
        (self.dir / "config").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))
        self.know_port(self.port)
        return [sshd, "-D", "-e", "-f", str(self.dir / "config")]

    def kill(self) -> None:
        """End it and the sessions, which are no children in its process group any more."""
        if self._process is not None and self._process.poll() is None:
            for session in descendants(self._process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(session, signal.SIGKILL)
        super().kill()

    def know_port(self, port: int) -> None:
        """Make this server's key known for `port` of this host, where a proxy may listen."""
        kind, key, *_ = (self.dir / "host.pub").read_text().split()
        self.known_hosts = self.dir / "known_hosts"
        with self.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{port} {kind} {key}\n")


def descendants(pid: int) -> list[int]:
    """The processes that `pid` and they started, as `ps` shows them."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in table.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found[1:]


class Rclone(Server):
    """WebDAV as rclone serves it, with a user `u` and a password made for the run; `root` is its folder."""

    name = "rclone"

    def prepare(self) -> None:
        self.root = self.dir / "root"
        self.root.mkdir()
        self.password = os.urandom(8).hex()

    def command(self) -> list[str]:
        rclone = program("rclone", "apt-get install rclone")
        where = [str(self.root), "--addr", f"127.0.0.1:{self.port}"]
        login = ["--user", "u", "--pass", self.password]
        return [rclone, "--config", "/dev/null", "serve", "webdav", *where, *login, *self.words]


class VaultKv(Server):
    """Vault's key/value engine behind a small HTTP door (tests/vaultkv). It knows one `token`."""

    name = "vault-kv"

    def prepare(self) -> None:
        self.token = os.urandom(12).hex()

    def command(self) -> list[str]:
        engine = Path(__file__).parents[1] / ".servers" / "vault-kv"
        if not engine.exists():
            raise UnavailableError("`.servers/vault-kv` is not built: make servers")
        return ["env", f"KV_TOKEN={self.token}", str(engine), str(self.port)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class GnomeKeyring(Server):
    """GNOME's keyring, unlocked, on a message bus of its own at `address`."""

    name = "keyring"

    @property
    def address(self) -> str:
        return f"unix:path={self.dir}/bus"

    def command(self) -> list[str]:
        bus = program("dbus-daemon", "apt-get install dbus")
        daemon = program("gnome-keyring-daemon", "apt-get install gnome-keyring")
        serve = f"{bus} --session --nofork --nopidfile --address={self.address} &"
        serve += " until [ -S bus ]; do sleep 0.02; done"
        keep = f"printf password | {daemon} --unlock --foreground --components=secrets --control-directory=control"
        home = f"HOME={self.dir} XDG_DATA_HOME={self.dir} DBUS_SESSION_BUS_ADDRESS={self.address}"
        return ["sh", "-c", f"{serve}; export {home}; {keep}; wait"]

    def ready(self) -> bool:
        from jeepney import DBusAddress, new_method_call
        from jeepney.io.blocking import open_dbus_connection

        where = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        with contextlib.suppress(OSError), open_dbus_connection(bus=self.address) as connection:
            question = new_method_call(where, "NameHasOwner", "s", ("org.freedesktop.secrets",))
            return bool(connection.send_and_get_reply(question, timeout=1).body[0])
        return False


class Tpm(Server):
    """A TPM 2.0 in software. `sealed_by_systemd` seals and unseals with it as systemd does for a service."""

    name = "swtpm"

    def prepare(self) -> None:
        (self.dir / "state").mkdir()
        self.systemd_creds = program("systemd-creds", "apt-get install systemd")

    def command(self) -> list[str]:
        swtpm = program("swtpm", "apt-get install swtpm libtss2-tcti-swtpm0")
        where = f"type=tcp,bindaddr=127.0.0.1,port={self.port}"
        control = f"type=tcp,bindaddr=127.0.0.1,port={self.port + 1}"
        state = f"dir={self.dir}/state"
        flags = "not-need-init,startup-clear"
        return [
            swtpm,
            "socket",
            "--tpm2",
            "--tpmstate",
            state,
            "--server",
            where,
            "--ctrl",
            control,
            "--flags",
            flags,
        ]

    def ready(self) -> bool:
        """Only the control port may be tried: the other one serves a single connection."""
        with contextlib.closing(socket.socket()) as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", self.port + 1)) == 0

    def unsealed(self, name: str, value: bytes, folder: Path) -> None:
        """Put `value` into `folder` as the credential `name`, sealed to the TPM and opened again."""
        self.kill()  # nobody manages its sessions, and it has three: a new one each time
        shutil.rmtree(self.dir / "state")
        (self.dir / "state").mkdir()
        self.restart()
        device = f"--tpm2-device=swtpm:host=127.0.0.1,port={self.port}"
        words = [self.systemd_creds, device, f"--name={name}"]
        seal = [*words, "encrypt", "--with-key=tpm2", "-", "-"]
        sealed = subprocess.run(seal, input=value, capture_output=True, check=True).stdout
        assert value not in sealed
        opened = subprocess.run(
            [*words, "decrypt", "-", "-"], input=sealed, capture_output=True, check=True
        ).stdout
        (folder / name).touch(0o400)
        (folder / name).write_bytes(opened)
        (folder / name).chmod(0o400)
