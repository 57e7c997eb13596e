"""Goal: no server gets what it could read unless the operator said that it may.

Method: the commands in a home directory, at addresses where nobody listens: what is refused is not even asked.
Control: with the operator's word the same server is asked.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from made_homes import Home

SERVERS = (
    ("vectors", "milvus://127.0.0.1:1/x?tls=no"),
    ("vectors", "postgres://u@127.0.0.1:1/x?tls=no"),
    ("text", "postgres://u@127.0.0.1:1/x?tls=no"),
)
QUICK = ("--option", "timeout_seconds=0.1")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.init()
    return made


def configured(home: Home) -> dict[str, list[str]]:
    rows = home.must("backend", "list", "--json").document["backends"]
    return {row["role"]: row["options"] for row in rows}


@pytest.mark.parametrize(("role", "url"), SERVERS)
def test_a_server_that_could_read_is_refused_without_the_operators_word(home: Home, role: str, url: str) -> None:
    refused = home.must("backend", "add", role, url, *QUICK, "--json", code=2)
    assert "--trusted-tenant" in refused.error["hint"] and configured(home) == {}
    home.must("backend", "add", role, url, *QUICK, "--trusted-tenant")
    assert configured(home) == {role: ["timeout_seconds", "trusted_tenant"]}
    asked = home.must("backend", "test", "--json", code=40).document["backends"][0]["error"]
    assert "does not answer" in asked


@pytest.mark.parametrize("word", ["no", "perhaps"])
def test_any_other_word_in_the_file_counts_as_none(home: Home, word: str) -> None:
    role, url = SERVERS[1]
    home.must("backend", "add", role, url, *QUICK, "--trusted-tenant")
    (path,) = (path for path in home.home.rglob("*.yaml") if url in path.read_text())
    path.write_text(path.read_text().replace('trusted_tenant: "yes"', f'trusted_tenant: "{word}"'))
    found = home.must("backend", "test", "--json", code=40).document["backends"][0]
    assert "could read" in found["error"] and found["steps"] == {}


def test_a_test_says_what_helps_where_a_library_is_missing(home: Home) -> None:
    def missing() -> None:
        sys.modules["antsmem.drivers.redis"] = None  # type: ignore[assignment]

    home.must("backend", "add", "cache", "redis://127.0.0.1:1", *QUICK)
    ran = home.run("-C", str(home.workspace), "backend", "test", before=missing)
    assert ran.code == 42 and ran.out.endswith("is not installed\n  → pip install 'antsmem[redis]'\n"), ran
    ran = home.run("-C", str(home.workspace), "backend", "test", "--json", before=missing)
    assert ran.document["backends"][0]["hint"] == "pip install 'antsmem[redis]'"


def test_a_profile_leaves_such_a_role_out_and_says_so(home: Home) -> None:
    said = home.must("backend", "add", "milvus-kafka-redis", "127.0.0.1").err
    for role in ("vectors", "text"):
        assert f"`{role}` is left out" in said and role not in configured(home)
    home.must("backend", "add", "milvus-kafka-redis", "127.0.0.1", "--trusted-tenant")
    assert configured(home)["vectors"] == ["trusted_tenant"] and configured(home)["log"] == []


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("durable", "postgres://u:{}@127.0.0.1/x"),
        ("durable", "postgres://u:a/{}@127.0.0.1/x"),
        ("durable", "postgres://u@127.0.0.1/x?tls=no&password={}"),
        ("durable", "dynamodb://antsmem?secret_access_key={}"),
        ("milvus-kafka-redis", "u:{}@127.0.0.1"),
    ],
)
def test_a_password_in_a_url_is_neither_kept_nor_shown(home: Home, name: str, place: str) -> None:
    refused = home.must("backend", "add", name, place.format("hunter" + "2"), code=2)
    assert "hunter2" not in refused.err + refused.out and configured(home) == {}


def test_the_word_means_nothing_for_what_no_server_reads(home: Home) -> None:
    home.must("backend", "add", "log", "kafka://127.0.0.1:9092/x", "--trusted-tenant", code=2)
