"""The members of a cluster that answer by HTTP and JSON: asked one after the other, until one answers.

For the drivers of directories, whose answers are small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from antsmem.core.canonical import loads
from antsmem.core.errors import AntsmemError, BackendError, DriverMissingError, IntegrityError
from antsmem.core.retry import retried, timeout_seconds
from antsmem.drivers.servers import Servers, Tls

T = TypeVar("T")

_ANSWER_BYTES: Final = 1 << 20


class Members:
    """A cluster of `scheme`, shown as `url`. The options `timeout_seconds` bounds what goes through `run`."""

    def __init__(
        self, scheme: str, servers: Servers, prefix: str, tls: Tls | None, options: Mapping[str, str]
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise DriverMissingError.library("httpx", scheme) from None
        places = servers.joined().split(",")
        self.url = f"{scheme}://{servers.joined()}/{prefix}"
        self._scheme = scheme
        self._bound = timeout_seconds(options)
        self._lost = (httpx.TransportError, httpx.DecodingError, httpx.StreamError)
        self._places = [f"{'http' if tls is None else 'https'}://{place}" for place in places]
        trust = True if tls is None else tls.context()
        self._http = httpx.Client(timeout=self._bound / (2 * len(places)), verify=trust)

    def run(self, action: Callable[[], T]) -> T:
        """What `action` returns, tried again while no member answers."""
        return retried(action, self._bound)

    def ask(self, ask_at: Callable[[str], T]) -> T:
        """What `ask_at` returns, called with a member (`https://host:port`) that can answer; the one that did is
        asked first the next time."""
        failure: AntsmemError = BackendError(f"`{self.url}` does not answer")
        for place in list(self._places):
            try:
                return ask_at(place)
            except BackendError as error:
                failure = error
                self._places.remove(place)
                self._places.append(place)
        raise failure

    def send(self, method: str, address: str, **what: Any) -> tuple[int, bytes]:
        """Status and body of the answer to one request; `what` as httpx takes it. `BackendError`: none came."""
        try:
            answer = self._http.request(method, address, **what)
        except self._lost as error:
            raise BackendError(f"`{self.url}` does not answer: {type(error).__name__}") from error
        return answer.status_code, answer.content

    def read(self, body: bytes) -> Any:
        """The JSON in `body`. `BackendError`: somebody else answers there."""
        try:
            return loads(body, _ANSWER_BYTES)
        except IntegrityError as error:
            raise self.stranger() from error

    def stranger(self) -> BackendError:
        """For an answer that cannot be one of `scheme`."""
        return BackendError(f"what answers at `{self.url}` is no {self._scheme}")

    def close(self) -> None:
        """End the connections."""
        self._http.close()
