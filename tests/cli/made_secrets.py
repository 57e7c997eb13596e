"""Secrets in the keystore of a made agent, put there without the commands that are under test."""

from __future__ import annotations

from made_homes import Home

from antsmem.core.age import X25519Identity, parse_identity_file
from antsmem.core.record import replace
from antsmem.identity.keystore import open_keystore, save_keystore
from antsmem.identity.secret import Secret

NOW = "2026-11-20T10:00:00.000Z"


def plant(home: Home, state: str = "active", **values: bytes) -> None:
    """Put `values` under their names into the keystore of `home`, in `state`."""
    (key,) = (home.home / ".config/antsmem/keys").glob("*.key")
    (identity,) = parse_identity_file(key.read_text())
    assert isinstance(identity, X25519Identity)
    path = home.workspace / ".antsmem/keystore/keystore.age"
    keystore = open_keystore(path, [identity])
    made = tuple(Secret(name, 1, state, "static", NOW, NOW, value) for name, value in values.items())
    save_keystore(path, replace(keystore, secrets=keystore.secrets + made), identity)


def lock(home: Home) -> None:
    """Take the host's key away."""
    keys = home.home / ".config/antsmem/keys"
    keys.rename(keys.with_name("elsewhere"))


def configure(home: Home, text: str) -> None:
    """Write the operator's configuration."""
    (home.home / ".config/antsmem/config.yaml").write_text(text)
