"""One class a driver: where its conformance tests keep a repository, and how they look behind its back."""

from __future__ import annotations

import functools
import getpass
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import engines
from botocore.loaders import JSONFileLoader

from antsmem.backup.store import Store
from antsmem.core.disk import is_temp, temp_name
from antsmem.core.errors import BackendError
from antsmem.drivers.file import FileStore
from antsmem.drivers.s3 import S3Store
from antsmem.drivers.sftp import SftpStore
from antsmem.drivers.webdav import WebdavStore

# Each client parses megabytes of JSON that are the same for all of them: once a session is enough here.
_load_file = functools.cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda self, path: _load_file(path)  # type: ignore[method-assign]


class Place:
    """A repository's place. Stores opened by `open` are closed with it."""

    scheme = ""
    replaces_in_one_step = True
    """Whether a reader always finds an object that is being replaced."""
    new_is_atomic = True
    drops_at_once = True
    """Whether a server that is cut off forgets what it was getting before it hears the next request."""
    has_folders = True

    def __init__(self) -> None:
        self._stores: list[Store] = []
        self.secrets: list[str] = []
        self.server: engines.Server | None = None

    def open(self, *, port: int | None = None, made: bool = True, **options: str) -> Store:
        """A store at the place, through `port` of a proxy if given; `made`: with a repository.json."""
        store = self.connect(port, options)
        self._stores.append(store)
        if made and store.stat("repository.json") is None:
            store.put("repository.json", [b"{}"])
        return store

    def hasty(self, port: int | None = None) -> Store:
        """A store that gives up as soon as this machine can bear: in a time in which it does reach its server."""
        for seconds in ("0.2", "0.6", "2", "6"):
            with suppress(BackendError):
                return self.open(port=port, timeout_seconds=seconds)
        return self.open(port=port, timeout_seconds="20")

    def connect(self, port: int | None, options: dict[str, str]) -> Store:
        raise NotImplementedError

    def plant_leftover(self, name: str) -> None:
        """Leave what a killed run leaves when it was writing `name`."""
        raise NotImplementedError

    def leftovers(self) -> int:
        """How much of that there is."""
        raise NotImplementedError

    def seed(self, names: list[str], data: bytes) -> None:
        """Make many objects fast."""
        raise NotImplementedError

    def close(self) -> None:
        for store in self._stores:
            store.close()


class _Tree(Place):
    """A place whose objects the tests can see as files below `root`."""

    root: Path

    def plant_leftover(self, name: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / temp_name(path.name)).write_bytes(b"half of it")

    def leftovers(self) -> int:
        return sum(is_temp(name) for _, _, names in os.walk(self.root) for name in names)

    def seed(self, names: list[str], data: bytes) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class FilePlace(_Tree):
    scheme = "file"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.root = folder / "repository"

    def connect(self, port: int | None, options: dict[str, str]) -> Store:
        options.pop("timeout_seconds", None)
        return FileStore.open(f"file://{self.root}", options)


class SftpPlace(_Tree):
    scheme = "sftp"

    def __init__(self, server: engines.Sshd) -> None:
        super().__init__()
        self.server = server
        self.root = server.root / uuid.uuid4().hex[:8]
        self.secrets = [uuid.uuid4().hex]

    def connect(self, port: int | None, options: dict[str, str]) -> Store:
        assert isinstance(self.server, engines.Sshd)
        port = port or self.server.port
        self.server.know_port(port)
        url = f"sftp://{getpass.getuser()}@127.0.0.1:{port}{self.root}"
        files = {"key_file": str(self.server.key_file), "known_hosts": str(self.server.known_hosts)}
        return SftpStore.open(url, {**files, "password": self.secrets[0], **options})


class S3Place(Place):
    scheme = "s3"
    has_folders = False

    def __init__(self, server: engines.Moto) -> None:
        super().__init__()
        self.server = server
        self.bucket = f"bucket-{uuid.uuid4().hex[:8]}"
        self.secrets = [uuid.uuid4().hex, uuid.uuid4().hex]
        self._api = _admin(server)
        self._api.create_bucket(Bucket=self.bucket)

    def connect(self, port: int | None, options: dict[str, str]) -> Any:
        assert self.server is not None
        url = f"s3://{self.bucket}/some/prefix?endpoint=http://127.0.0.1:{port or self.server.port}"
        keys = {"access_key_id": self.secrets[0], "secret_access_key": self.secrets[1]}
        return S3Store.open(url, {**keys, **options})

    def plant_leftover(self, name: str) -> None:
        begun = self._api.create_multipart_upload(Bucket=self.bucket, Key=f"some/prefix/{name}")
        key = {"Bucket": self.bucket, "Key": f"some/prefix/{name}", "UploadId": begun["UploadId"]}
        self._api.upload_part(**key, PartNumber=1, Body=b"half of it")

    def held(self) -> Iterator[bytes]:
        """Every object in the bucket, names included."""
        for item in self._api.list_objects_v2(Bucket=self.bucket).get("Contents", ()):
            yield item["Key"].encode()
            yield self._api.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()

    def leftovers(self) -> int:
        return len(self._api.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()))

    def seed(self, names: list[str], data: bytes) -> None:
        assert self.server is not None
        for name in names:  # moto asks for no signature, and boto3 would take four times as long
            http = HTTPConnection("127.0.0.1", self.server.port)
            http.request("PUT", f"/{self.bucket}/some/prefix/{name}", data)
            assert http.getresponse().status == 200
            http.close()


@functools.cache
def _admin(server: engines.Moto) -> Any:
    keys = {"aws_access_key_id": "admin", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}", **keys)


class WebdavPlace(_Tree):
    scheme = "webdav"
    replaces_in_one_step = False
    drops_at_once = False

    def __init__(self, server: engines.Rclone) -> None:
        super().__init__()
        self.server = server
        self.root = server.root / uuid.uuid4().hex[:8]
        self.secrets = [server.password]

    # Through the server: rclone remembers folders, and would not see a file made behind its back for minutes.

    def plant_leftover(self, name: str) -> None:
        folder, slash, last = name.rpartition("/")
        store = self.connect(None, {})
        store._client.send("PUT", f"/{folder}{slash}{temp_name(last)}", b"half of it")
        store.close()

    def seed(self, names: list[str], data: bytes) -> None:
        store = self.connect(None, {})
        store._client.send("MKCOL", "/packs")
        for name in names:
            store._client.send("PUT", "/" + name, data)
        store.close()

    def connect(self, port: int | None, options: dict[str, str]) -> Any:
        assert isinstance(self.server, engines.Rclone)
        url = f"webdav://127.0.0.1:{port or self.server.port}/{self.root.name}"
        login = {"tls": "no", "username": "u", "password": self.server.password}
        return WebdavStore.open(url, {**login, **options})
