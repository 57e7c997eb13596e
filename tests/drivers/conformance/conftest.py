"""Every test that takes `place` runs once for each driver, against its real server; `remote` leaves out `file`."""

from __future__ import annotations

import engines
import pytest
import store_backends  # noqa: F401 - puts its drivers into the suites
import stream_backends  # noqa: F401
from faultproxy import HttpProxy, TcpProxy
from places import FilePlace, Place, S3Place, SftpPlace, WebdavPlace

REMOTE = [pytest.param(kind, marks=pytest.mark.server) for kind in ("sftp", "s3", "webdav")]


def _place(request: pytest.FixtureRequest) -> Place:
    match request.param:
        case "file":
            return FilePlace(request.getfixturevalue("tmp_path"))
        case "sftp":
            return SftpPlace(request.getfixturevalue("sshd"))
        case "s3":
            return S3Place(request.getfixturevalue("moto"))
        case "webdav":
            return WebdavPlace(request.getfixturevalue("rclone"))
    raise AssertionError(request.param)


@pytest.fixture(params=["file", *REMOTE])
def place(request: pytest.FixtureRequest, closing: engines.Closing) -> Place:
    return closing(_place(request))


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest, closing: engines.Closing) -> Place:
    """A place behind a network."""
    return closing(_place(request))


@pytest.fixture
def tcp(remote: Place, closing: engines.Closing) -> TcpProxy:
    """On the way to `remote`."""
    assert remote.server is not None
    return closing(TcpProxy(remote.server.port))


@pytest.fixture(params=REMOTE[1:])
def web(request: pytest.FixtureRequest, closing: engines.Closing) -> Place:
    """A place that is reached by HTTP."""
    return closing(_place(request))


@pytest.fixture
def liar(web: Place, closing: engines.Closing) -> HttpProxy:
    """On the way to `web`."""
    assert web.server is not None
    return closing(HttpProxy(web.server.port))
