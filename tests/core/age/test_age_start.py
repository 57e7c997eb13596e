"""Goal: a process that seals or opens something small does not pay for what it does not use.

Method: fresh processes that print which modules they loaded; no clock.
"""

import subprocess
import sys

import pytest

SETUP = "import sys; from antsmem.core import age; key = age.X25519Identity.generate();"


def loaded_by(code: str) -> set[str]:
    code = f"{SETUP} {code}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "age.parse_identity(key.secret())",
        "age.unseal(b''.join(age.seal([b'text'], [key.recipient])), [key])",
        "age.unseal(age.armor(b''.join(age.seal([bytes(1 << 20)], [key.recipient]))), [key])",
    ],
)
def test_a_small_job_loads_neither_openssl_nor_what_only_other_keys_need(code):
    modules = loaded_by(code)
    assert "nacl.bindings" in modules
    assert not {"cryptography", "pyrage", "pathlib", "antsmem.core.disk", "tempfile"} & modules


def test_control_a_large_job_loads_openssl():
    assert "cryptography.hazmat.primitives.ciphers.aead" in loaded_by(
        "age.seal([bytes(5 << 20)], [key.recipient])"
    )
