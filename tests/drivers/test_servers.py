"""Goal: where servers are is read as it was meant, and what can be no server is refused before anything connects.

Method: hosts drawn and written down, read, written as clients want them and read again; hosts that are none.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import ConfigError
from antsmem.drivers.servers import read_url

NAMES = st.from_regex(r"\A[a-z0-9_][a-z0-9_.-]{0,30}\Z") | st.ip_addresses().map(
    lambda address: f"[{address}]" if address.version == 6 else str(address)
)
PORTS = st.none() | st.integers(1, 65535)


@given(st.lists(st.tuples(NAMES, PORTS), min_size=1, max_size=4), st.sampled_from(["", "topic", "a/b"]))
def test_hosts_are_read_as_they_were_written(hosts: list[tuple[str, int | None]], path: str) -> None:
    text = ",".join(name if port is None else f"{name}:{port}" for name, port in hosts)
    found = read_url("kafka", f"kafka://{text}/{path}", 9092)
    assert found.hosts == tuple((name.strip("[]"), port or 9092) for name, port in hosts) and found.path == path
    assert read_url("kafka", f"kafka://{found.joined()}/{path}", 1).hosts == found.hosts


@pytest.mark.parametrize(
    "host",
    ["", "a,", "a:0", "a:65536", "a:1:2", "a:b", "-a", ".a", "[::1", "[::1]1", "[a.b]", "[.1]", "[1.2.3]"],
)
def test_what_can_be_no_server_is_refused(host: str) -> None:
    with pytest.raises(ConfigError):
        read_url("kafka", f"kafka://{host}/topic", 9092)
