"""Goal: the new machine may be of any kind, and the same is proven on each.

Method: namespaces of this kernel; a real sshd with sessions of another user in another HOME; an engine that plays
docker and notes what it is asked, and a real one where it runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from far_machines import NOBODY, SshShell, fake_docker
from made_homes import Home, Ran
from relays import RelayServer
from running import running

from antsmem.core.errors import AntsmemError
from antsmem.drill.far import require_engine
from antsmem.drill.namespace import require_namespaces


def passed(home: Home, *words: str, path: str = "") -> Ran:
    """A migration test that must pass."""
    more = {"PATH": f"{path}:{os.environ['PATH']}"} if path else {}
    ran = home.run("-C", str(home.workspace), "migrate-test", "--json", *words, more=more)
    assert ran.code == 0, ran.document["proofs"] if ran.out else ran
    assert all(proof["holds"] for proof in ran.document["proofs"])
    return ran


@pytest.fixture
def namespaces() -> None:
    """Namespaces, where they are allowed."""
    try:
        require_namespaces()
    except AntsmemError as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("namespaces")
def test_in_namespaces_it_comes_back_under_another_host_name(home: Home) -> None:
    test = passed(home, "--target", "namespace").document
    assert test["new"]["host name"] == "antsmem-drill" != test["old"]["host name"]


ssh_shell = running(SshShell, "module")


@pytest.mark.server
def test_over_ssh_it_comes_back_as_another_user_in_another_home(home: Home, ssh_shell: SshShell) -> None:
    test = passed(home, "--target", "ssh:127.0.0.1", "--ssh", ssh_shell.ssh).document
    if os.geteuid() == 0:
        assert test["new"]["user"] == f"successor (uid {NOBODY})"
    assert test["new"]["home"].startswith("/tmp/antsmem-drill-")
    assert not Path(test["new"]["home"]).parent.exists(), "nothing is left there"


def test_a_host_that_does_not_answer_is_no_failure_of_the_agent(home: Home) -> None:
    ran = home.must("migrate-test", "--target", "ssh:127.0.0.1", "--ssh", "ssh -F none -p 1", "--json", code=40)
    assert ran.error["error"] == "backend-unreachable"


relay = running(RelayServer, "module")


def test_a_relay_of_somebodys_knows_the_copy_alone(home: Home, relay: RelayServer) -> None:
    test = passed(home, "--relay", relay.url).document
    identity, leaks = (
        next(row for row in test["proofs"] if row["name"] == name) for name in ("identity", "leaks")
    )
    assert "traffic to the relay not seen" in leaks["evidence"]
    held = b"".join(each.read_bytes() for each in relay.folder.rglob("*") if each.is_file())
    assert identity["evidence"].split("…")[0].encode() in held
    assert home.must("identity", "show", "--json").document["scid"].encode() not in held


def test_a_relay_that_does_not_answer_is_no_failure_of_the_agent(home: Home) -> None:
    ran = home.must("migrate-test", "--relay", "http://127.0.0.1:1", "--json", code=40)
    assert ran.error["error"] == "backend-unreachable" and list((home.root / "scratch").iterdir()) == []


def test_a_container_is_started_driven_and_removed(home: Home) -> None:
    calls = fake_docker(home.root / "engine")
    passed(home, "--target", "container:agents/antsmem:1", path=str(calls.parent))
    lines = calls.read_text().splitlines()
    run = next(line for line in lines if line.startswith("run "))
    assert "--rm" in run and "--network host" in run and run.endswith("--entrypoint sleep agents/antsmem:1 3600")
    name = run.split("--name ")[1].split()[0]
    assert lines[-1] == f"rm --force {name}"
    assert all(line.startswith(("version", "run ", f"exec --interactive {name} ", "rm ")) for line in lines)


def test_a_leak_on_the_other_side_is_found(home: Home) -> None:
    calls = fake_docker(home.root / "engine")
    words = (
        "-C",
        str(home.workspace),
        "migrate-test",
        "--target",
        "container:x",
        "--sabotage",
        "leak-key",
        "--json",
    )
    ran = home.run(*words, more={"PATH": f"{calls.parent}:{os.environ['PATH']}"})
    assert ran.code == 50
    assert [proof["name"] for proof in ran.document["proofs"] if not proof["holds"]] == ["leaks"]


def test_in_a_real_container_it_comes_back(home: Home) -> None:
    image = os.environ.get("ANTSMEM_TEST_IMAGE", "")
    try:
        require_engine()
    except AntsmemError as error:
        pytest.skip(str(error))
    if not image:
        pytest.skip("ANTSMEM_TEST_IMAGE names no image that holds antsmem")
    passed(home, "--target", f"container:{image}")


def test_without_an_engine_nothing_is_claimed(home: Home) -> None:
    program = [sys.executable, "-P", "-m", "antsmem", "-C", str(home.workspace), "migrate-test"]
    done = subprocess.run(
        [*program, "--target", "container:x"],
        env=home.environment | {"PATH": ""},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 42 and b"no container engine" in done.stderr
