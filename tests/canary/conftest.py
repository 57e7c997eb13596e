"""One watched process for all commands, and the world that they are run in."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import engines
import pytest
from engines import required
from memory import quick_directory, remove
from planted import plant
from relays import RelayServer
from watching import Watched


class Refusing(BaseHTTPRequestHandler):
    """Answers 401 to whatever it is asked."""

    def handle_one_request(self) -> None:
        while self.rfile.readline() not in {b"\r\n", b"\n", b""}:
            pass
        self.wfile.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        self.close_connection = True


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with quick_directory(tmp_path_factory) as root:
        yield root


@pytest.fixture(scope="session")
def watched(place: Path) -> Iterator[Watched]:
    with required():
        found = Watched(place)
    yield found
    found.close()


@pytest.fixture(scope="session")
def model(place: Path) -> Path:
    plant(place / "model")
    return place / "model"


@pytest.fixture
def root(place: Path) -> Iterator[Path]:
    """Where a world may be made."""
    found = Path(tempfile.mkdtemp(dir=place)) / "world"
    yield found
    remove(found.parent)


@pytest.fixture(scope="session")
def webdav() -> Iterator[str]:
    """The address of a server that wants another password."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"webdav://127.0.0.1:{server.server_address[1]}/x"
        server.shutdown()


@pytest.fixture(scope="session")
def relay(place: Path) -> Iterator[str]:
    """The address of a relay; where worlds are made, a file says it too."""
    server = engines.started(RelayServer())
    (place / "relay").write_text(f"{server.url}\n{server.folder}")
    yield server.url
    server.close()
