"""Goal: one secret on paper is enough to open everything and to say which host speaks for the agent.

Method: kits as text, to and fro; control keys against the HKDF of `cryptography`; a log recovered several times,
and with the wrong kit; the `age` program reads a kit as it is.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from made_agents import FRIDAY_NS, age_decrypt

from antsmem.core.age import X25519Identity, seal
from antsmem.core.errors import UsageError
from antsmem.identity.document import op_keys_of
from antsmem.identity.extend import commit, create_log
from antsmem.identity.log import IdentityLog, parse_log
from antsmem.identity.multikey import key_hash
from antsmem.identity.recovery import RecoveryKit, check_agent_name, recover_host
from antsmem.identity.signing import SigningKey

LAPTOP = SigningKey.generate()


def kit_and_log() -> tuple[RecoveryKit, IdentityLog]:
    kit = RecoveryKit(X25519Identity.generate(), "kevin", "Qm", "2026-11-20T15:23:31.000Z")
    return kit, create_log(commit(kit.control_hash(0)), {"laptop": LAPTOP.public}, FRIDAY_NS)


def test_a_kit_is_read_as_it_was_written() -> None:
    kit, _ = kit_and_log()
    assert RecoveryKit.parse(kit.text()) == kit


def test_a_kit_of_nothing_but_the_secret_is_read() -> None:
    kit, _ = kit_and_log()
    for text in (kit.identity.secret(), f"\r\n{kit.identity.secret()}\r\n"):
        assert RecoveryKit.parse(text) == RecoveryKit(kit.identity)


def test_a_kit_says_whose_it_is_and_shows_its_secret_once() -> None:
    kit, _ = kit_and_log()
    text = kit.text()
    assert "# agent: kevin\n# identity: Qm\n" in text
    assert text.count(kit.identity.secret()) == 1
    assert all(line.startswith("#") for line in text.splitlines()[:-1])
    assert kit.identity.secret() not in f"{kit!r} {kit}"


@pytest.mark.parametrize("copies", [0, 2])
def test_text_without_exactly_one_secret_is_no_kit(copies: int) -> None:
    text = "# agent: kevin\n" + "".join(X25519Identity.generate().secret() + "\n" for _ in range(copies))
    with pytest.raises(UsageError):
        RecoveryKit.parse(text)


def test_an_error_about_a_kit_does_not_show_it() -> None:
    kit, _ = kit_and_log()
    secret = kit.identity.secret()
    for text in (secret[:-1], secret + "X", f"{secret} {secret}", secret + "\nrubbish", secret + "#" * 20000):
        with pytest.raises(UsageError) as caught:
            RecoveryKit.parse(text)
        assert secret[20:40] not in str(caught.value)


def test_the_age_program_opens_with_a_kit_what_is_sealed_to_it(tmp_path: Path) -> None:
    kit, _ = kit_and_log()
    (tmp_path / "kit").write_text(kit.text())
    (tmp_path / "sealed.age").write_bytes(b"".join(seal([b"what was lost"], [kit.identity.recipient])))
    assert age_decrypt(tmp_path / "kit", tmp_path / "sealed.age") == b"what was lost"


def test_control_keys_are_derived_as_documented() -> None:
    kit, _ = kit_and_log()
    for generation in (0, 1, 12):
        info = f"antsmem/recovery-control/1/{generation}".encode()
        seed = HKDF(SHA256(), 32, None, info).derive(kit.identity.secret().encode())
        assert kit.control_key(generation) == SigningKey(seed)
        assert kit.control_hash(generation) == key_hash(SigningKey(seed).public)


def test_a_kit_adds_a_host_again_and_again_with_a_fresh_key_each_time() -> None:
    kit, log = kit_and_log()
    for number in range(3):
        recovered = recover_host(log, kit, f"host-{number}", SigningKey.generate().public, FRIDAY_NS)
        assert kit.generation(log) == number
        assert recovered.commitment.recovery_hash == kit.control_hash(number + 1)
        assert set(recovered.commitment.hashes) == set(recovered.log.next_key_hashes)
        log = parse_log(recovered.log.text)
    assert set(op_keys_of(log.document)) == {"laptop", "host-0", "host-1", "host-2"}
    assert log.version == 4


def test_a_kit_replaces_the_key_of_a_host_of_the_same_name() -> None:
    kit, log = kit_and_log()
    new = SigningKey.generate().public
    log = recover_host(log, kit, "laptop", new, FRIDAY_NS).log
    assert op_keys_of(log.document) == {"laptop": new}
    assert log.op_key(LAPTOP.public).until == 2
    assert not log.op_key(new).revoked


def test_a_kit_retires_the_hosts_that_it_is_told_to() -> None:
    kit, log = kit_and_log()
    new = SigningKey.generate().public
    log = recover_host(log, kit, "desktop", new, FRIDAY_NS, retire=["laptop"]).log
    assert op_keys_of(log.document) == {"desktop": new}
    with pytest.raises(UsageError, match="no op key"):
        recover_host(log, kit, "third", LAPTOP.public, FRIDAY_NS, retire=["laptop"])


def test_the_kit_of_another_agent_may_change_nothing() -> None:
    _, log = kit_and_log()
    with pytest.raises(UsageError, match="may not change identity"):
        recover_host(log, kit_and_log()[0], "desktop", LAPTOP.public, FRIDAY_NS)


@pytest.mark.parametrize("agent", ["", " kevin", "kevin\n", "a\nAGE", "a\x1b[2J", "x" * 101])
def test_a_name_that_could_break_a_comment_or_a_terminal_is_refused(agent: str) -> None:
    with pytest.raises(UsageError, match="printable"):
        check_agent_name(agent)
    check_agent_name("Kévin – 2号")
