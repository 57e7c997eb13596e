"""Goal: `antsmem secret resolve` serves OpenClaw, and the provider `exec` is served by it.

Method: requests on standard input; then one agent's `exec` provider with another agent's `secret resolve` as its
program, which is what OpenClaw does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from made_homes import TRACE, Home
from made_secrets import configure, lock, plant

SECRET = "".join(["Zk7Qw2", "Lx9Rt4", "-Vb8Nm1", "Hs6Jd3"])
ANTSMEM = Path(sys.executable).parent / "antsmem"


def request(*ids: str) -> bytes:
    return json.dumps({"protocolVersion": 1, "provider": "antsmem", "ids": ids}).encode()


def test_a_request_is_answered_on_standard_output_alone(home: Home) -> None:
    plant(home, db=SECRET.encode(), account=json.dumps({"password": SECRET}).encode())
    plant(home, "revoked", old=SECRET.encode())
    ran = home.run("-C", "agent", "secret", "resolve", stdin=request("db", "account:password", "old", "nothing"))
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document["values"] == {"db": SECRET, "account:password": SECRET}
    assert set(document["errors"]) == {"old", "nothing"} and SECRET not in json.dumps(document["errors"])


@pytest.mark.parametrize("given", [b"", b"{}", b"\xff", b"x" * 1_000_000])
def test_what_is_no_request_is_a_wrong_call(home: Home, given: bytes) -> None:
    ran = home.run("-C", "agent", "secret", "resolve", stdin=given)
    assert ran.code == 2 and ran.out == "" and TRACE not in ran.err


def test_on_a_locked_host_each_id_says_so(home: Home) -> None:
    plant(home, db=SECRET.encode())
    lock(home)
    ran = home.run("-C", "agent", "secret", "resolve", stdin=request("db"))
    assert ran.code == 0 and "nothing gave the host's key" in json.loads(ran.out)["errors"]["db"]["message"]


def test_the_provider_exec_is_served_by_resolve(home: Home, tmp_path: Path) -> None:
    plant(home, db=SECRET.encode())
    served = f"{ANTSMEM} -C {home.workspace} secret resolve"
    configure(home, f'providers:\n  other:\n    kind: exec\n    command: "{served}"\n    environment: "HOME"\n')
    check = 'test "$DB" = "$0" && echo "$DB"'
    words = ["exec", "--env", "DB=secret://other/db", "--", "sh", "-c", check, SECRET]
    ran = home.run("-C", "agent", *words)
    assert (ran.code, ran.out) == (0, "[secret:db]\n")
    assert home.run("-C", "agent", "exec", "--env", "DB=secret://other/x", "--", "true").code == 10
