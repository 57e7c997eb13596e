"""Goal: commands on secrets that run at once lose no change, and the newest escrow holds all of them.

Method: processes that begin together, and one that comes between a change and the escrow that follows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_homes import Home
from secret_homes import escrow, machine, recover, secrets, with_secret

from antsmem.cli.commands import secret as command
from antsmem.cli.context import Context
from antsmem.core import clock
from antsmem.identity.custody import Custody


@pytest.fixture
def agent(home: Home) -> Home:
    return with_secret(home)


def test_only_the_newest_escrows_are_kept(home: Home) -> None:
    for number in range(6):
        home.must("secret", "set", f"name-{number}", stdin=b"x")
    assert len(list(escrow(home).parent.glob("*-secrets-escrow.age"))) == 3


def test_two_commands_at_once_lose_nothing(home: Home) -> None:
    script = "import io, sys; sys.stdin = io.TextIOWrapper(io.BytesIO(b'x'))"
    running = [home.start(script, "secret", "import", str(_pair(home, number))) for number in range(6)]
    codes = []
    for each in running:
        each.communicate()
        codes.append(each.returncode)
    assert set(codes) <= {0, 12}
    assert len(secrets(home)) == codes.count(0)


def meanwhile(home: Home, *words: str) -> Callable[[], None]:
    """For `Home.run`: what another process does between a change and what follows it."""

    def before() -> None:
        first = command.renew_escrow

        def renew(ctx: Context, custody: Custody) -> Path | None:
            command.renew_escrow = first  # type: ignore[attr-defined]
            home.must(*words)
            return first(ctx, custody)

        command.renew_escrow = renew  # type: ignore[attr-defined]

    return before


def test_of_two_changes_at_once_the_escrow_that_is_newest_holds_both(agent: Home) -> None:
    other = meanwhile(agent, "secret", "import", str(_pair(agent, 2)))
    words = ("-C", str(agent.workspace), "secret", "set", "first")
    assert agent.run(*words, stdin=b"of the first", before=other).code == 0
    agent.must("backup")
    ran = recover(machine(agent), agent.repository, "--secrets", str(escrow(agent)), "--accept-stale")
    assert {row["name"]: row["state"] for row in ran.document["secrets"]} == dict.fromkeys(
        ("token", "first", "NAME_2"), "active"
    )


def test_of_two_revocations_at_once_none_is_a_rollback(agent: Home) -> None:
    agent.must("secret", "set", "second", stdin=b"of the second")
    other = meanwhile(agent, "secret", "revoke", "second")
    ran = agent.run("-C", str(agent.workspace), "secret", "revoke", "token", before=other)
    assert ran.code == 0 and "published to default" in ran.out
    assert "row 4, held by default" in agent.must("secret", "verify").out


def test_an_escrow_is_the_newest_whatever_the_clock_said_before(agent: Home) -> None:
    def ahead() -> None:
        real = clock.now_ns
        clock.now_ns = lambda: real() + 10**17  # type: ignore[assignment]

    for number in range(3):
        words = ("-C", str(agent.workspace), "secret", "set", f"ahead-{number}")
        assert agent.run(*words, stdin=b"x", before=ahead).code == 0
    agent.must("secret", "set", "again", stdin=b"in time")
    agent.must("backup")
    ran = recover(machine(agent), agent.repository, "--secrets", str(escrow(agent)), "--accept-stale")
    assert {row["name"]: row["state"] for row in ran.document["secrets"]}["again"] == "active"


def _pair(home: Home, number: int) -> Path:
    path = home.root / f"pair-{number}"
    path.write_text(f"NAME_{number}=value\n")
    return path
