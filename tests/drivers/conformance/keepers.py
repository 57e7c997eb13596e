"""What keeps secrets in the tests: of each provider the real thing, and how a secret gets into it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from engines import Moto, Tpm, VaultKv

from antsmem.cli.providers import provider_class
from antsmem.core.errors import ConflictError
from antsmem.identity.provider import Host, Provider
from antsmem.identity.secret import Secret

NOW = "2026-11-20T10:00:00.000Z"
PROGRAM = """#!{python}
import json, sys
kept = json.load(open({path!r}))
asked = json.load(sys.stdin)
assert asked["protocolVersion"] == 1 and set(asked) == {{"protocolVersion", "provider", "ids"}}
values = {{each: kept[each] for each in asked["ids"] if each in kept}}
errors = {{each: {{"message": "not found"}} for each in asked["ids"] if each not in kept}}
json.dump({{"protocolVersion": 1, "values": values, **({{"errors": errors}} if errors else {{}})}}, sys.stdout)
"""


@dataclass
class Keeper:
    """One provider under test. `plant` puts a secret into it by another way than the provider's own, if it cannot
    write; `missing_library` is what it cannot do without."""

    kind: str
    options: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    secrets: list[Secret] = field(default_factory=list)
    plant: Callable[[str, bytes], None] | None = None
    holds_bytes: bool = False
    missing_library: str = ""

    def open(self, **more: str) -> Provider:
        host = Host(self.environment, lambda: self.secrets, self.save if self.kind == "age" else None)
        return provider_class(self.kind).open("under-test", self.options | more, host)

    def put(self, name: str, value: bytes) -> None:
        if self.plant is not None:
            self.plant(name, value)
        else:
            self.open().put(name, value)

    def save(self, name: str, value: bytes, expected: str | None) -> str:
        """As the keystore's own verb does it, in short."""
        mine = [each for each in self.secrets if each.name == name]
        newest = str(max(each.version for each in mine)) if mine else ""
        if expected is not None and expected != newest:
            raise ConflictError(f"secret `{name}` was changed by somebody else")
        self.secrets = [each for each in self.secrets if each.name != name]
        self.secrets += [Secret(name, each.version, "superseded", "static", NOW, NOW, each.value) for each in mine]
        self.secrets.append(Secret(name, len(mine) + 1, "active", "static", NOW, NOW, value))
        return str(len(mine) + 1)


def age(_request: pytest.FixtureRequest, _folder: Path) -> Keeper:
    return Keeper("age", holds_bytes=True)


def env(_request: pytest.FixtureRequest, _folder: Path) -> Keeper:
    keeper = Keeper("env", {"names": "never_set"}, {"not_listed": "seen by nobody"})

    def plant(name: str, value: bytes) -> None:
        keeper.environment[name] = value.decode(errors="surrogateescape")
        keeper.options["names"] += f" {name}"

    keeper.plant = plant
    return keeper


def credentials(request: pytest.FixtureRequest, folder: Path) -> Keeper:
    tpm: Tpm = request.getfixturevalue("tpm")
    return Keeper(
        "credentials",
        environment={"CREDENTIALS_DIRECTORY": str(folder)},
        plant=lambda name, value: tpm.unsealed(name, value, folder),
        holds_bytes=True,
    )


def exec_(_request: pytest.FixtureRequest, folder: Path) -> Keeper:
    kept, program = folder / "kept.json", folder / "program"
    kept.write_text("{}")
    program.write_text(PROGRAM.format(python=sys.executable, path=str(kept)))
    program.chmod(0o700)

    def plant(name: str, value: bytes) -> None:
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {name: value.decode()}))

    return Keeper("exec", {"command": str(program)}, plant=plant)


def keyring(request: pytest.FixtureRequest, _folder: Path) -> Keeper:
    address = request.getfixturevalue("gnome_keyring").address
    request.getfixturevalue("monkeypatch").setenv("DBUS_SESSION_BUS_ADDRESS", address)
    import keyring as library
    from keyring.backends import SecretService

    library.set_keyring(SecretService.Keyring())
    return Keeper("keyring", {"service": "antsmem-test"}, missing_library="keyring")


def vault(request: pytest.FixtureRequest, folder: Path) -> Keeper:
    server: VaultKv = request.getfixturevalue("vault_kv")
    options = {"url": server.url, "token": server.token, "prefix": folder.name, "timeout_seconds": "10"}
    return Keeper("vault", options, missing_library="hvac")


def aws(request: pytest.FixtureRequest, folder: Path) -> Keeper:
    server: Moto = request.getfixturevalue("moto")
    keys = {"access_key_id": "anybody", "secret_access_key": "anything"}
    where = {"endpoint": f"http://127.0.0.1:{server.port}", "region": "eu-central-1", "prefix": f"{folder.name}/"}
    return Keeper("aws", keys | where | {"timeout_seconds": "10"}, holds_bytes=True, missing_library="boto3")


KEEPERS = {
    "age": age,
    "aws": aws,
    "credentials": credentials,
    "env": env,
    "exec": exec_,
    "keyring": keyring,
    "vault": vault,
}
