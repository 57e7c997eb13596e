"""What the age tests share: the public vectors and other implementations, fetched when first asked for.

Nothing of others is kept in the repository: it comes from the package registry once, into the user's cache.
"""

import hashlib
import itertools
import os
import re
import subprocess
import tarfile
import zlib
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import engines
import pytest

import antsmem.core.age.chacha

_VECTORS = "cctv-age@0.2.0"
_VECTORS_SHA256 = "94a2a220a95b158a69997e84405bb5d4ef84adf05d15bf341b83ec3ba9dd846e"


@dataclass(frozen=True, slots=True)
class Vector:
    """One file of the C2SP age test kit: what it is, what must come of it, and who may open it."""

    name: str
    data: bytes
    expect: str
    payload_sha256: str | None
    armored: bool
    identities: tuple[str, ...]
    passphrases: tuple[str, ...]


@pytest.fixture(params=["libsodium", "openssl"])
def cipher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test once with each of the two libraries under the payload."""
    started = itertools.repeat(0) if request.param == "libsodium" else itertools.count(1 << 30)
    monkeypatch.setattr(antsmem.core.age.chacha, "_chunks", started)
    return str(request.param)


@pytest.fixture(scope="session")
def need() -> Callable[[str, str], str]:
    """The path of a program, or a skip that names how to get it (a failure under ANTSMEM_REQUIRE_SERVERS=1)."""

    def find(program: str, install: str) -> str:
        with engines.required():
            return engines.program(program, install)

    return find


@pytest.fixture(scope="session")
def registry_cache() -> Path:
    """Where packages of others are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(base) / "antsmem-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def npm(need: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run `npm` with these arguments in a new directory and give that. Offline is like not installed: a skip."""

    def run(*arguments: str) -> Path:
        program = need("npm", "apt-get install npm")
        place = tmp_path_factory.mktemp("npm")
        done = subprocess.run(
            [program, *arguments], cwd=place, capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            first, _, _ = done.stderr.partition("\n")
            with engines.required():
                raise engines.UnavailableError(
                    f"`npm {' '.join(arguments)}` failed, is the registry out of reach? {first}"
                )
        return place

    return run


@pytest.fixture(scope="session")
def vectors(npm: Callable[..., Path], registry_cache: Path) -> list[Vector]:
    """All the vectors of the C2SP age test kit."""
    archive = registry_cache / f"{_VECTORS.replace('@', '-')}.tgz"
    if not archive.exists():
        place = npm("pack", _VECTORS)
        os.replace(place / archive.name, archive)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == _VECTORS_SHA256, "not the package that was pinned"
    with tarfile.open(archive) as package:
        member = package.extractfile("package/index.js")
        assert member is not None
        script = member.read().decode("ascii")
    found = re.findall(r'^var (\w+)_default = __toBinary\("([A-Za-z0-9+/=]*)"\);$', script, re.MULTILINE)
    return [_vector(name, b64decode(text)) for name, text in found]


def _vector(name: str, content: bytes) -> Vector:
    head, _, data = content.partition(b"\n\n")
    fields = [line.partition(": ")[::2] for line in head.decode("utf-8").split("\n")]
    one = dict(fields)
    return Vector(
        name=name,
        data=zlib.decompress(data) if one.get("compressed") == "zlib" else data,
        expect=one["expect"],
        payload_sha256=one.get("payload"),
        armored=one.get("armored") == "yes",
        identities=tuple(value for key, value in fields if key == "identity"),
        passphrases=tuple(value for key, value in fields if key == "passphrase"),
    )
