"""Goal: a passphrase opens what it sealed, and no file makes its reader take more time or memory than he allows.

Method: files that name any cost, scrypt itself replaced by a recorder; made-up system trees for the memory that is
left; a real process under a real memory limit.
"""

import hashlib
import subprocess
import sys

import pytest

from antsmem.core import age
from antsmem.core.age import scrypt
from antsmem.core.age.header import Stanza, encode64
from antsmem.core.errors import CannotUnlockError, UsageError


def sealed(passphrase: str = "open sesame", work_factor: int = 2) -> bytes:
    return b"".join(age.seal([b"text"], [age.ScryptRecipient(passphrase, work_factor)]))


@pytest.fixture
def derived(monkeypatch):
    """The costs that scrypt was asked for, instead of doing it."""
    costs = []

    def record(password, *, n, **rest):
        costs.append(n.bit_length() - 1)
        return bytes(32)

    monkeypatch.setattr(hashlib, "scrypt", record)
    return costs


@pytest.mark.parametrize("passphrase", ["open sesame", "ünïcödé 🗝", " ", "a\0b", "x" * 10_000])
def test_a_passphrase_opens_what_it_sealed(passphrase):
    data = sealed(passphrase)
    assert age.unseal(data, [age.ScryptIdentity("another"), age.ScryptIdentity(passphrase)]) == b"text"
    with pytest.raises(CannotUnlockError):
        age.unseal(data, [age.ScryptIdentity(passphrase + "x"), age.X25519Identity.generate()])


def test_each_file_has_its_own_salt():
    assert len({sealed().split(b"\n")[1] for _ in range(20)}) == 20


@pytest.mark.parametrize("work_factor", [19, 22, 30, 63, 99])
def test_a_cost_bomb_is_refused_before_scrypt_is_started(derived, work_factor):
    data = sealed().replace(b" 2\n", b" %d\n" % work_factor)
    assert age.inspect(data).work_factor == work_factor
    with pytest.raises(age.AgeFileError, match=f"work factor {work_factor} is above the limit 18"):
        age.unseal(data, [age.ScryptIdentity("open sesame")])
    assert derived == [2]


def test_control_a_reader_who_allows_the_cost_starts_scrypt(derived):
    data = sealed().replace(b" 2\n", b" 19\n")
    with pytest.raises(age.AgeFileError, match="changed after"):
        age.unseal(data, [age.ScryptIdentity("open sesame", max_work_factor=20)])
    assert derived == [2, 19]


@pytest.mark.parametrize(
    "text", ["", "0", "01", "-1", "+1", "1e1", "0x10", "100", "18446744073709551618", "²", "1 1"]
)
def test_a_cost_that_is_no_plain_number_is_refused(derived, text):
    data = sealed().replace(b" 2\n", f" {text}\n".encode())
    for read in (age.inspect, lambda data: age.unseal(data, [age.ScryptIdentity("open sesame")])):
        with pytest.raises(age.AgeFileError) as caught:
            read(data)
        assert caught.value.part == "header"
    assert derived == [2]


@pytest.mark.parametrize("factor", [0, -1, 23, 64])
def test_a_cost_that_nobody_could_pay_is_refused_at_once(factor):
    with pytest.raises(UsageError):
        age.ScryptRecipient("pass", factor)
    with pytest.raises(UsageError):
        age.ScryptIdentity("pass", factor)


def test_without_the_memory_nothing_is_started(derived, monkeypatch):
    data = sealed(work_factor=10)
    monkeypatch.setattr(scrypt, "available_bytes", lambda: (1 << 20) - 1)
    with pytest.raises(CannotUnlockError, match="needs 1024 KiB of memory"):
        age.unseal(data, [age.ScryptIdentity("open sesame")])
    with pytest.raises(UsageError, match="needs 1024 KiB of memory"):
        sealed(work_factor=10)
    assert derived == [10]
    monkeypatch.setattr(scrypt, "available_bytes", lambda: 1 << 20)
    sealed(work_factor=10)
    assert derived == [10, 10]


def test_under_a_memory_limit_of_the_process_it_says_so():
    code = """
import resource
from antsmem.core import age
from antsmem.core.errors import CannotUnlockError
stanza = b"-> scrypt " + b"A" * 22 + b" 18\\n" + b"A" * 43 + b"\\n"
data = b"age-encryption.org/v1\\n" + stanza + b"--- " + b"A" * 43 + b"\\n" + bytes(64)
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
try:
    age.unseal(data, [age.ScryptIdentity("pass")])
except CannotUnlockError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs 262144 KiB of memory" in done.stdout


def tree(root, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{root}/"


HOST = {"proc/meminfo": "MemTotal: 2000 kB\nMemAvailable:    1000 kB\n"}


def test_the_memory_left_is_the_least_of_host_and_control_groups(tmp_path):
    root = tree(tmp_path, HOST)
    assert scrypt.available_bytes(root) == 1000 * 1024
    tree(tmp_path, {"proc/self/cgroup": "4:memory:/old\n0::/a.slice/b.service\n"})
    assert scrypt.available_bytes(root) == 1000 * 1024
    service, above = "sys/fs/cgroup/a.slice/b.service", "sys/fs/cgroup/a.slice"
    tree(tmp_path, {f"{service}/memory.max": "max\n", f"{service}/memory.current": "100\n"})
    assert scrypt.available_bytes(root) == 1000 * 1024
    tree(tmp_path, {f"{above}/memory.max": "5000\n", f"{above}/memory.current": "1000\n"})
    assert scrypt.available_bytes(root) == 4000
    tree(tmp_path, {f"{service}/memory.max": "3000", f"{service}/memory.stat": "anon 1\ninactive_file 50\n"})
    assert scrypt.available_bytes(root) == 2950
    tree(tmp_path, {"sys/fs/cgroup/memory.max": "100", "sys/fs/cgroup/memory.current": "200"})
    assert scrypt.available_bytes(root) == 0


def test_a_system_that_does_not_tell_leaves_half_of_what_is_built_in(tmp_path):
    assert scrypt.available_bytes(f"{tmp_path}/") > 1 << 26
    assert scrypt.available_bytes() > 1 << 20


def test_a_stanza_for_somebody_else_is_left_alone(derived):
    stanza = Stanza("SCRYPT", (encode64(bytes(16)), "10"), bytes(32))
    assert age.ScryptIdentity("pass").unwrap(stanza) is None
    assert derived == []
