"""librdkafka behind the `kafka` driver: its settings, its errors turned into ours, and where a key belongs."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    DriverMissingError,
    NotFoundError,
    RefusedError,
)
from antsmem.core.retry import timeout_seconds
from antsmem.drivers.servers import Servers, check_secrecy, read_tls

HINT: Final = "see `antsmem backend test`"
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_HEARSAY_SECONDS: Final = (0.1, 0.3, 0.6, 0.0)
_STEP_SECONDS: Final = 2.0
_REFUSALS: Final = {
    *("SASL_AUTHENTICATION_FAILED", "_AUTHENTICATION", "ILLEGAL_SASL_STATE", "UNSUPPORTED_SASL_MECHANISM", "_SSL"),
    *("TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"),
    *("MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD"),
    *("POLICY_VIOLATION", "INVALID_CONFIG", "INVALID_PARTITIONS", "INVALID_REPLICATION_FACTOR", "TOPIC_EXCEPTION"),
    *("UNSUPPORTED_VERSION", "_UNSUPPORTED_FEATURE", "_INVALID_ARG"),
}
_HINTS: Final = {
    "_SSL": "see the options `ca_file`, if the authority is your own, and `cert_file`, if the brokers want one",
    "SASL_AUTHENTICATION_FAILED": "see the options `username`, `password` and `sasl`",
    "_AUTHENTICATION": "see the options `username`, `password` and `sasl`",
    "INVALID_REPLICATION_FACTOR": "there are fewer brokers: set the option `replication`",
    "MSG_SIZE_TOO_LARGE": "raise `max.message.bytes` of the topic",
}


class KafkaClient:
    """What producer, consumer and admin client of one topic share. `causes` collects what went wrong in the
    background since it was last emptied."""

    def __init__(self, servers: Servers, topic: str, options: Mapping[str, str]) -> None:
        try:
            import confluent_kafka
        except ImportError:
            raise DriverMissingError.library("confluent-kafka", "kafka") from None
        self.sdk: Any = confluent_kafka
        self.url = servers.url
        self.topic = topic
        self.bound = timeout_seconds(options)
        self.causes: list[str] = []
        silent = logging.getLogger("antsmem.kafka")
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        self._settings: dict[str, Any] = {
            "bootstrap.servers": servers.joined(),
            "client.id": "antsmem",
            "allow.auto.create.topics": False,
            "socket.timeout.ms": max(1000, int(self.bound * 1000)),
            "socket.connection.setup.timeout.ms": max(1000, int(self.bound * 500)),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            "error_cb": self._note,
            "logger": silent,
            **_security(servers, options),
        }

    def made(self, kind: Any, **settings: Any) -> Any:
        """A producer, consumer or admin client with our settings and these (`_` for `.`)."""
        more = {name.replace("_", "."): value for name, value in settings.items()}
        try:
            return kind({**self._settings, **more})
        except (self.sdk.KafkaException, ValueError) as error:
            raise ConfigError("librdkafka cannot work with these options", hint=HINT) from error

    def _note(self, error: Any) -> None:
        if len(self.causes) < 100:
            # A server that wants a certificate and got none hangs up: the library says so in words alone.
            refused = error.name() == "_TRANSPORT" and "SSL routines" in error.str()
            self.causes.append("_SSL" if refused else str(error.name()))

    def trouble(self, name: str) -> AntsmemError:
        """Our error for librdkafka's error `name`, or for what lies behind it. These names are constants."""
        cause = next((cause for cause in reversed(self.causes) if cause in _REFUSALS), name)
        self.causes.clear()
        if cause == "UNKNOWN_TOPIC_OR_PART":
            return NotFoundError(f"there is no topic `{self.topic}` at `{self.url}`", hint="antsmem backend init")
        if cause in _REFUSALS:
            return RefusedError(f"`{self.url}` refused: {cause}", hint=_HINTS.get(cause, HINT))
        return BackendError(f"`{self.url}` does not answer: {cause}", hint=HINT)

    def raised(self, error: BaseException) -> AntsmemError:
        """Our error for a `KafkaException`."""
        return self.trouble(str(error.args[0].name()) if error.args else "error")

    def topic_at(self, client: Any) -> Any:
        """The topic's metadata as `client` gets it. `NotFoundError` if there is no such topic: each broker hears
        of a new one in its own time, so it is asked for more than once."""
        for wait_seconds in _HEARSAY_SECONDS:
            found = self._metadata(client).topics[self.topic]
            if found.error is None:
                return found
            if found.error.name() != "UNKNOWN_TOPIC_OR_PART":
                break
            time.sleep(wait_seconds)
        raise self.trouble(str(found.error.name()))

    def _metadata(self, client: Any) -> Any:
        """Asked for in short steps: a broker that refuses says so in the background, and the library tries on."""
        give_up = time.monotonic() + self.bound
        while True:
            try:
                return client.list_topics(self.topic, timeout=min(self.bound, _STEP_SECONDS))
            except self.sdk.KafkaException as error:
                client.poll(0.05)  # tells `_note` what happened
                if time.monotonic() >= give_up or not _REFUSALS.isdisjoint(self.causes):
                    raise self.raised(error) from error


def _security(servers: Servers, options: Mapping[str, str]) -> dict[str, str]:
    tls = read_tls(options)
    found = {}
    if tls is not None:
        named = {
            "ssl.ca.location": tls.ca_file,
            "ssl.certificate.location": tls.cert_file,
            "ssl.key.location": tls.key_file,
            "ssl.key.password": tls.key_password,
        }
        found = {name: value for name, value in named.items() if value}
    if ("username" in options) != ("password" in options):
        raise ConfigError("options `username` and `password` go together")
    protocol = "PLAINTEXT" if tls is None else "SSL"
    if "username" in options:
        protocol = "SASL_" + protocol
        mechanism = options.get("sasl", "SCRAM-SHA-512")
        if mechanism not in _MECHANISMS:
            raise ConfigError(f"option `sasl` must be one of {', '.join(_MECHANISMS)}")
        if mechanism == "PLAIN":
            check_secrecy(servers, tls, "password")
        found |= {
            "sasl.mechanism": mechanism,
            "sasl.username": options["username"],
            "sasl.password": options["password"],
        }
    elif "sasl" in options:
        raise ConfigError("option `sasl` needs `username` and `password`")
    return {"security.protocol": protocol, **found}


@lru_cache(1024)
def partition_of(key: bytes, count: int) -> int:
    """Where Java's default partitioner puts a message with this key among `count` partitions: MurmurHash2
    (A. Appleby, 2008; 32 bits, seed 0x9747b28c), its sign bit cleared, modulo `count`."""
    mask, factor = 0xFFFFFFFF, 0x5BD1E995
    found = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * factor & mask
        word = (word ^ (word >> 24)) * factor & mask
        found = (found * factor & mask) ^ word
    if rest := key[whole:]:
        found = (found ^ int.from_bytes(rest, "little")) * factor & mask
    found = (found ^ (found >> 13)) * factor & mask
    found ^= found >> 15
    return (found & 0x7FFFFFFF) % count
