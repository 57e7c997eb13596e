"""Goal: the host's key is taken from the first source that has it, and never from where others could read it.

Method: every kind of source with a real key and with what can go wrong; key files of each mode, owner and kind, in
places that travel. Control: the same key file with nothing wrong answers.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.age import ScryptRecipient, X25519Identity, seal
from antsmem.core.errors import CannotUnlockError, UsageError
from antsmem.identity.unlock import (
    KeySource,
    command_source,
    credential_source,
    descriptor_source,
    file_source,
    keyring_source,
    passphrase_source,
    refuse_exposed,
    unlock,
)

KEY = X25519Identity.generate()
TEXT = f"# a comment\n{KEY.secret()}\n"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "host.key"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def refused(source: KeySource) -> str:
    """Why `source` does not answer; the key is never in it."""
    with pytest.raises(CannotUnlockError) as caught:
        unlock([source])
    assert KEY.secret()[16:40] not in str(caught.value)
    assert source.name in str(caught.value)
    return str(caught.value)


def test_the_first_source_that_answers_is_used_and_the_others_are_named(key_file: Path) -> None:
    sources = [
        credential_source(key_file.parent / "credentials"),
        file_source(key_file, ()),
        KeySource("never", lambda: pytest.fail("asked although another had answered")),
    ]
    found = unlock(sources)
    assert found.identity == KEY
    assert found.source == f"key file `{key_file}`"
    (reason,) = found.passed_over
    assert reason.startswith("systemd credential")
    assert "no such file" in reason


def test_all_that_was_tried_is_listed_with_its_reason(tmp_path: Path) -> None:
    sources = [
        file_source(tmp_path / "missing.key", ()),
        command_source(["false"]),
        KeySource("paper", lambda: "nothing"),
    ]
    with pytest.raises(CannotUnlockError) as caught:
        unlock(sources)
    message = str(caught.value)
    for part in ("missing.key", "no such file", "command `false`", "ended with status 1", "paper"):
        assert part in message
    assert "\n" not in message
    assert "antsmem" in caught.value.hint


def test_without_a_source_the_error_says_so() -> None:
    with pytest.raises(CannotUnlockError, match="no key source is configured"):
        unlock([])


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_of_ours_alone_answers(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert unlock([file_source(key_file, ())]).identity == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_a_key_file_that_others_can_reach_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    assert f"mode {mode:04o}" in refused(file_source(key_file, ()))


def test_a_symlink_to_a_key_file_is_refused(key_file: Path) -> None:
    link = key_file.with_name("link.key")
    link.symlink_to(key_file)
    assert "is a symlink" in refused(file_source(link, ()))
    assert "is a symlink" in refused(credential_source(link.parent, link.name))


def test_what_is_not_a_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in refused(file_source(tmp_path / "pipe", ()))
    (tmp_path / "directory").mkdir(mode=0o700)
    assert "not a regular file" in refused(file_source(tmp_path / "directory", ()))


def test_a_key_file_of_another_user_is_refused(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = file_source(key_file, ())
    real = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: real + 1)
    assert "belongs to another user" in refused(source)


def test_a_key_file_in_a_workspace_is_refused(key_file: Path, tmp_path: Path) -> None:
    assert "which is backed up" in refused(file_source(key_file, [tmp_path]))
    (tmp_path / "other").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path)
    assert "which is backed up" in refused(file_source(key_file, [tmp_path / "alias"]))
    assert unlock([file_source(key_file, [tmp_path / "other"])]).identity == KEY


@pytest.mark.parametrize("mark", [".git", ".hg", ".stfolder"])
def test_a_key_file_in_a_directory_that_is_carried_elsewhere_is_refused(tmp_path: Path, mark: str) -> None:
    (tmp_path / mark).mkdir()
    place = tmp_path / "deep" / "down"
    place.mkdir(parents=True)
    with pytest.raises(UsageError, match="carried elsewhere"):
        refuse_exposed(place / "host.key", ())


def test_a_key_file_seen_through_a_symlinked_directory_is_judged_by_where_it_is(tmp_path: Path) -> None:
    workspace, config = tmp_path / "workspace", tmp_path / "config"
    workspace.mkdir()
    config.symlink_to(workspace)
    with pytest.raises(UsageError, match="backed up"):
        refuse_exposed(config / "host.key", [workspace])


def test_a_systemd_credential_answers(tmp_path: Path) -> None:
    path = tmp_path / "antsmem.key"
    path.write_text(TEXT)
    for mode in (0o400, 0o440):  # with an access list for the service's user, the group bits are the list's mask
        path.chmod(mode)
        assert unlock([credential_source(tmp_path)]).identity == KEY
    path.chmod(0o444)
    assert "others could reach" in refused(credential_source(tmp_path))


def test_a_command_that_prints_the_key_answers() -> None:
    command = command_source([sys.executable, "-c", f"print({TEXT!r})"])
    assert unlock([command]).identity == KEY


def test_a_command_that_fails_is_passed_over_without_its_output() -> None:
    script = f"import sys; print({TEXT!r}); print({TEXT!r}, file=sys.stderr); sys.exit(3)"
    assert "ended with status 3" in refused(command_source([sys.executable, "-c", script]))
    assert "could not be started: no such file" in refused(command_source(["antsmem-no-such-program"]))
    assert "did not end within 0.05 s" in refused(command_source(["sleep", "20"], timeout_seconds=0.05))


def test_a_command_that_prints_without_an_end_is_ended() -> None:
    assert "gives more than a key" in refused(command_source(["cat", "/dev/zero"], timeout_seconds=600))


def test_a_command_cannot_read_our_standard_input() -> None:
    script = f"import sys; assert sys.stdin.read() == ''; print({TEXT!r})"
    assert unlock([command_source([sys.executable, "-c", script])]).identity == KEY


def test_a_file_descriptor_answers_once() -> None:
    reader, writer = os.pipe()
    os.write(writer, TEXT.encode())
    os.close(writer)
    source = descriptor_source(reader)
    assert unlock([source]).identity == KEY
    assert "bad file descriptor" in refused(source)


def test_a_passphrase_opens_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "host.key.age"
    path.write_bytes(b"".join(seal([TEXT.encode()], [ScryptRecipient("open sesame", 10)])))
    assert unlock([passphrase_source(path, lambda: "open sesame")]).identity == KEY
    assert "opens this file" in refused(passphrase_source(path, lambda: "close sesame"))
    assert "no passphrase" in refused(passphrase_source(path, lambda: None))
    refused(passphrase_source(tmp_path / "missing", lambda: pytest.fail("asked for a file that is not there")))


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self, entries: dict[tuple[str, str], str], error: Exception | None = None) -> None:
        super().__init__()
        self.entries, self.error = entries, error

    def get_password(self, service: str, username: str) -> str | None:
        if self.error:
            raise self.error
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


@pytest.fixture
def ring() -> Any:
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


def test_a_keyring_entry_answers(ring: Any) -> None:
    ring(Ring({("antsmem", "kevin"): TEXT}))
    assert unlock([keyring_source("kevin")]).identity == KEY
    assert "no entry `other`" in refused(keyring_source("other"))


def test_a_keyring_that_refuses_is_named_without_its_text(ring: Any) -> None:
    ring(Ring({}, keyring.errors.KeyringLocked(f"locked: {TEXT}")))
    assert "the keyring refused (KeyringLocked)" in refused(keyring_source("kevin"))


def test_without_the_keyring_library_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "not installed" in refused(keyring_source("kevin"))


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", TEXT + TEXT, TEXT[:-3], "x" * 70_000, KEY.secret() + "A"],
    ids=["empty", "comment", "two keys", "cut short", "too long", "a letter more"],
)
def test_what_is_not_one_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "host.key"
    path.write_text(text)
    path.chmod(0o600)
    refused(file_source(path, ()))


@given(st.binary(max_size=200))
def test_no_bytes_make_unlock_raise_anything_but_its_own_error(data: bytes) -> None:
    with pytest.raises(CannotUnlockError):
        unlock([KeySource("bytes", lambda: data.decode("latin-1"))])
