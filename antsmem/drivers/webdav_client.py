"""The HTTP side of the `webdav` driver: requests, what their answers mean, and listings read with suspicion."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit
from xml.parsers import expat

from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
)
from antsmem.core.retry import retried

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Body: TypeAlias = bytes | Iterator[bytes]

_DONE: Final = {200, 201, 204, 206, 207}
_TRANSIENT: Final = {408, 423, 425, 429, 500, 502, 503, 504}
_PROPFIND: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<getcontentlength/><getlastmodified/><resourcetype/></prop></propfind>"
)


class Member(NamedTuple):
    """What a listing tells of one member of a collection. Times are whole seconds."""

    name: str
    size_bytes: int
    modified_ns: int
    is_folder: bool


class WebdavClient:
    """Requests below one collection. `url` is for messages, `base` is where requests go."""

    def __init__(self, url: str, base: str, options: Mapping[str, str], timeout_seconds: float) -> None:
        try:
            import httpx
        except ImportError:
            raise DriverMissingError.library("httpx", "webdav") from None
        self.url = url
        self._base = base
        self._bound = timeout_seconds
        self._lost = (httpx.TransportError, httpx.DecodingError, httpx.StreamError)
        self._http = httpx.Client(
            auth=(options["username"], options["password"]) if "username" in options else None,
            timeout=timeout_seconds / 2,
            verify=_trust(options.get("ca_file")),
            headers={"Accept-Encoding": "identity"},
        )

    def run(self, action: Callable[[], T]) -> T:
        """What `action` returns, tried again while the server does not answer."""
        return retried(action, self._bound)

    def send(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        passes: Collection[int] = (),
    ) -> httpx.Response:
        """The answer to one request, whole. A status that means failure is raised unless it is in `passes`."""
        with self.stream(method, path, body, headers, passes) as answer, self._told(method, path):
            answer.read()
        return answer

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        passes: Collection[int] = (),
    ) -> Iterator[httpx.Response]:
        """Like `send`, its body not read yet."""
        request = self._http.build_request(method, self.address(path), content=body, headers=headers)
        with self._told(method, path):
            answer = self._http.send(request, stream=True)
        try:
            if answer.status_code not in _DONE and answer.status_code not in passes:
                raise self._failure(method, path, answer.status_code)
            yield answer
        finally:
            answer.close()

    def chunks(self, answer: httpx.Response, path: str, size_bytes: int) -> Iterator[bytes]:
        """The body of a streamed answer in pieces of at most `size_bytes`."""
        pieces = answer.iter_raw(size_bytes)
        while True:
            with self._told("GET", path):
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    def members(self, path: str) -> list[Member] | None:
        """What is directly in the collection at `path`, itself left out; None if there is none."""
        found = self._properties(path.rstrip("/") + "/", depth="1")
        own = unquote(urlsplit(self.address(path)).path).strip("/")
        return None if found is None else [member for whole, member in found if whole != own]

    def member(self, path: str) -> Member | None:
        """What is at `path`; None if nothing is. (HEAD would do, but Apache's does not tell of an empty file.)"""
        found = self._properties(path, depth="0")
        return found[0][1] if found else None

    def _properties(self, path: str, depth: str) -> list[tuple[str, Member]] | None:
        """The path on the server and the properties of what is at `path`, with `depth` 1 also of what is in it."""
        head = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        answer = self.send("PROPFIND", path, _PROPFIND, head, passes={404})
        if answer.status_code == 404:
            return None
        if answer.status_code != 207:
            raise BackendError(f"what answers at `{self.url}` is no WebDAV server")
        try:
            responses = _read_multistatus(answer.content)
            places = [unquote(urlsplit(href).path).strip("/") for href, _ in responses]
        except (expat.ExpatError, ValueError) as error:
            raise BackendError(f"`{self.url}` sent a listing that cannot be read") from error
        return [
            (place, _member(place.rpartition("/")[2], properties))
            for place, (_, properties) in zip(places, responses, strict=True)
        ]

    def address(self, path: str) -> str:
        """The URL of `path`, for a `Destination`."""
        return self._base + quote(path)

    def make_base(self) -> None:
        """Make the collection at `base` and those above it; one that is there answers 405 and stays as it is."""
        parts = urlsplit(self._base)
        names = parts.path.strip("/").split("/")
        status = 405
        for count in range(1, len(names) + 1):
            url = f"{parts.scheme}://{parts.netloc}/{'/'.join(names[:count])}"
            with self._told("MKCOL", "/"):
                status = self._http.request("MKCOL", url).status_code
        if status not in {*_DONE, 405}:
            raise self._failure("MKCOL", "/", status)

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def _failure(self, method: str, path: str, status: int) -> AntsmemError:
        what = f"`{self.url}` answered {status} to {method} of `{path.strip('/')}`"
        if status in _TRANSIENT:
            return BackendError(what)
        if status == 404:
            return NotFoundError(f"`{self.url}` holds no `{path.strip('/') or '.'}`")
        if status in {401, 403}:
            return RefusedError(what, hint="set the options `username` and `password`")
        if status in {413, 507}:
            return RefusedError(f"{what}: it is full")
        return RefusedError(what)

    @contextmanager
    def _told(self, method: str, path: str) -> Iterator[None]:
        """Turn errors of httpx into ours, told by their kind: a message may hold more than is fit to be shown."""
        try:
            yield
        except self._lost as error:
            kind = type(error).__name__
            what = f"`{self.url}` does not answer to {method} of `{path.strip('/')}`: {kind}"
            raise BackendError(what) from error


def _trust(ca_file: str | None) -> Any:
    """The certificates to believe: httpx's own list, or those in `ca_file`."""
    if ca_file is None:
        return True
    import ssl

    try:
        return ssl.create_default_context(cafile=os.path.expanduser(ca_file))
    except OSError as error:
        raise ConfigError(f"cannot read the certificates in `{ca_file}`") from error


def _read_multistatus(document: bytes) -> list[tuple[str, dict[str, str]]]:
    """The href and the found properties (local name → text; `collection` if it is one) of each response.

    Entities are refused, so a listing cannot grow beyond what was sent or read files.
    """
    responses: list[tuple[str, dict[str, str]]] = []
    href: list[str] = []
    status: list[str] = []
    pending: dict[str, str] = {}
    found: dict[str, str] = {}
    text: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("entities are not allowed")

    def start(tag: str, _: object) -> None:
        text.clear()
        if tag == "DAV: response":
            href.clear()
            found.clear()
        elif tag == "DAV: propstat":
            pending.clear()
            status.clear()

    def end(tag: str) -> None:
        space, _, local = tag.rpartition(" ")
        value = "".join(text).strip()
        text.clear()
        if space != "DAV:":
            return
        if local == "href":
            href.append(value)
        elif local == "status":
            status.append(value)
        elif local in {"getcontentlength", "getlastmodified", "collection"}:
            pending[local] = value
        elif local == "propstat" and " 200" in "".join(status):
            found.update(pending)
        elif local == "response" and href:
            responses.append((href[0], dict(found)))

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.Parse(document, True)
    return responses


def _member(name: str, properties: Mapping[str, str]) -> Member:
    size = properties.get("getcontentlength", "")
    return Member(
        name,
        int(size) if size.isdecimal() else 0,
        moment_ns(properties.get("getlastmodified", "")),
        "collection" in properties,
    )


def moment_ns(text: str) -> int:
    """An HTTP date as nanoseconds since 1970, 0 if it is none."""
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except ValueError:
        return 0
