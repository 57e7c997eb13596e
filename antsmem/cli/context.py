"""The composition root of the terminal: reads the environment once, opens what a command asks for.

Everything is lazy: a command pays for the workspace, the keys or a store only when it touches them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antsmem.cli.output import Output
from antsmem.cli.places import own_place
from antsmem.core import clock
from antsmem.core.config import (
    ANCHOR_PREFIX,
    AgentConfig,
    OperatorConfig,
    RepositoryConfig,
    agent_path,
    read_agent,
    read_operator,
    resolve,
)
from antsmem.core.disk import locked, read_file
from antsmem.core.errors import RECOVER, DriverMissingError, NotFoundError, UsageError, naming
from antsmem.core.record import record, replace
from antsmem.identity.files import CHANGE, refuse_retired
from antsmem.workspace.layout import Layout, find_workspace

if TYPE_CHECKING:
    from antsmem.backup.repository import Keyring, Pin, Repository
    from antsmem.backup.store import Store
    from antsmem.cli.providers import Secrets
    from antsmem.core.age import X25519Identity
    from antsmem.identity.anchor import Anchor
    from antsmem.identity.custody import Access, Custody
    from antsmem.identity.files import IdentityFiles
    from antsmem.identity.keystore import Keystore
    from antsmem.identity.log import IdentityLog
    from antsmem.identity.scanner import Scanner
    from antsmem.identity.waivers import Waivers
    from antsmem.workspace.settings import AgentSettings

OWN_DRIVERS = ("file", "s3", "sftp", "webdav")
_LOG_LIMIT = 16 << 20


@record
class Options:
    """The global options of a call."""

    workspace: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_input: bool = False


class Context:
    """One run of the program. `environment` is the process's, read nowhere else."""

    def __init__(self, options: Options, environment: Mapping[str, str] | None = None) -> None:
        self.options = options
        self.environment = dict(os.environ) if environment is None else environment

    @cached_property
    def output(self) -> Output:
        """Where results and messages go."""
        return Output(self.options.json, self.options.quiet, self.options.verbose, "NO_COLOR" in self.environment)

    @cached_property
    def now_ns(self) -> int:
        """The instant of this run."""
        return clock.now_ns()

    @cached_property
    def host(self) -> str:
        """This machine's name."""
        return os.uname().nodename.split(".")[0] or "host"

    @cached_property
    def config_dir(self) -> Path:
        """`~/.config/antsmem`."""
        return own_place(self.environment, "XDG_CONFIG_HOME", ".config")

    @cached_property
    def data_dir(self) -> Path:
        """`~/.local/share/antsmem`."""
        return own_place(self.environment, "XDG_DATA_HOME", ".local/share")

    @cached_property
    def state_dir(self) -> Path:
        """`~/.local/state/antsmem`."""
        return own_place(self.environment, "XDG_STATE_HOME", ".local/state")

    @cached_property
    def layout(self) -> Layout:
        """The workspace: `-C`, else found upward from here, else `ANTSMEM_WORKSPACE`."""
        if self.options.workspace == "":
            raise UsageError("`-C` names no workspace: its word is empty", hint="antsmem -C PATH")
        if self.options.workspace is not None:
            return Layout(find_workspace(Path(self.options.workspace)))
        try:
            return Layout(find_workspace(Path.cwd()))
        except NotFoundError:
            named = self.environment.get("ANTSMEM_WORKSPACE")
            if not named:
                raise
            try:
                return Layout(find_workspace(Path(named)))
            except NotFoundError as error:
                raise NotFoundError(f"{error}, which `ANTSMEM_WORKSPACE` names", hint=error.hint) from None

    @cached_property
    def settings(self) -> AgentSettings:
        """What `agent.yaml` says."""
        from antsmem.workspace.settings import read_settings

        return read_settings(self.layout)

    @cached_property
    def log(self) -> IdentityLog:
        """The workspace's identity log, verified; a change of the identity that was cut off is finished first."""
        log = self._read_log()
        if os.path.lexists(self.layout.keystore / CHANGE):
            from antsmem.identity.change import finish_change

            if finish_change(self._files(log.scid)):
                self.output.note("finished a change of the identity that had been cut off")
            log = self._read_log()
        return log

    def _read_log(self) -> IdentityLog:
        from antsmem.identity.log import parse_log

        try:
            data = read_file(self.layout.identity_log, _LOG_LIMIT)
        except NotFoundError:
            hint = "antsmem init --adopt gives it one"
            if had := os.path.lexists(self.layout.keystore / "keystore.age"):
                hint = f"where `antsmem init` was cut off, run it again; else {RECOVER}"
            what = "identity log" if had else "identity"
            raise NotFoundError(f"the workspace `{self.layout.root}` has no {what}", hint=hint) from None
        with naming(f"`{self.layout.identity_log}`", RECOVER):
            return parse_log(data)

    @cached_property
    def agent(self) -> AgentConfig:
        """What this host's operator configured for the agent."""
        return read_agent(self.agent_file)

    @property
    def agent_file(self) -> Path:
        """Where that stands."""
        return agent_path(self.config_dir, self.log.scid)

    @cached_property
    def operator(self) -> OperatorConfig:
        """What holds for all agents here."""
        return read_operator(self.operator_file)

    @property
    def operator_file(self) -> Path:
        """Where that stands."""
        return self.config_dir / "config.yaml"

    @cached_property
    def secrets(self) -> Secrets:
        """What `secret://…` means."""
        from antsmem.cli.providers import Secrets

        return Secrets(self)

    @property
    def agent_state(self) -> Path:
        """Pins, locks and caches of this agent: private to this host, safe to lose."""
        return self.state_dir / self.log.scid

    @cached_property
    def identity_files(self) -> IdentityFiles:
        """Where the identity lies on this host."""
        return self._files(self.log.scid)

    def _files(self, scid: str) -> IdentityFiles:
        from antsmem.identity.files import IdentityFiles

        agent = read_agent(agent_path(self.config_dir, scid))
        return IdentityFiles(
            log=self.layout.identity_log,
            keystore=self.layout.keystore / "keystore.age",
            epochs=self.layout.keystore / "epochs",
            host_key=Path(agent.host_key or self.config_dir / "keys" / f"{scid}.key"),
            backed_up=(self.layout.root,),
            escrow=Path(agent.escrow or self.data_dir / scid / "escrow"),
        )

    def forget_identity(self) -> None:
        """Read the identity anew when it is next asked for: it was changed."""
        for name in ("log", "keystore", "access", "custody"):
            self.__dict__.pop(name, None)

    @cached_property
    def unlocked(self) -> X25519Identity:
        """This host's key, from the first source that has it."""
        from antsmem.cli.keys import key_sources
        from antsmem.core.hardening import harden
        from antsmem.identity.unlock import unlock

        harden()
        identity = unlock(key_sources(self)).identity
        self.output.hide(lambda: [("host-key", identity.secret().encode())])
        return identity

    @cached_property
    def keystore(self) -> Keystore:
        """The keystore, opened, and of this identity."""
        from antsmem.identity.keystore import known_values, own_keystore

        keystore = own_keystore(self.identity_files, self.unlocked, self.log)
        self.output.hide(lambda: known_values(keystore))
        return keystore

    @contextmanager
    def working(self) -> Iterator[None]:
        """Hold the workspace's lock; an in-place restore that was cut off is finished first."""
        busy = f"another antsmem is working on `{self.layout.root}`"
        with locked(self.agent_state / "workspace.lock", busy):
            if os.path.lexists(self.layout.restoring):
                from antsmem.backup.replace import finish_replacement

                if finish_replacement(self.layout.root):
                    self.output.note("finished an in-place restore that had been cut off")
            yield

    def ready_to_write(self) -> None:
        """`RetiredError` where this host has retired, else `finish_restore`: for what opens no keystore."""
        refuse_retired(self.layout.keystore)
        self.finish_restore()

    def finish_restore(self) -> None:
        """See that no in-place restore is half done, for a command that changes files without `working`: what it
        writes now must not be put away later."""
        if os.path.lexists(self.layout.restoring):
            with self.working():
                pass

    def scanner(self) -> Scanner:
        """The leak scanner, with the agent's own secrets as known values."""
        from antsmem.identity.keystore import secret_values
        from antsmem.identity.scanner import Scanner

        return Scanner(secret_values(self.keystore), fingerprint_key=self.keystore.fingerprint_key)

    @cached_property
    def access(self) -> Access:
        """What opens keystore and ledger together."""
        from antsmem.identity.custody import Access

        return Access(self.identity_files, self.agent_state / "ledger-pin.json", self.unlocked, self.log)

    @cached_property
    def custody(self) -> Custody | None:
        """The ledger with its keystore; None, and nothing is opened, where there is none yet."""
        if not self.keystore.ledger and not os.path.lexists(self.identity_files.ledger):
            return None
        from antsmem.identity.custody import open_custody

        return open_custody(self.access, self.keystore)

    def waivers(self) -> Waivers:
        """The recorded permissions for secrets that may stay."""
        from antsmem.identity.waivers import NONE, waivers_of

        return waivers_of(self.custody.ledger.rows, self.now_ns) if self.custody else NONE

    def anchors(self) -> list[Anchor]:
        """Where the ledger is published: every repository, the relays that the identity log names, and what the
        operator configured besides."""
        from antsmem.backup.ledger_anchor import RepositoryAnchor
        from antsmem.identity.handle import relays_of

        found: list[Anchor] = [
            RepositoryAnchor(item.name, partial(self.store, item)) for item in self.agent.repositories
        ]
        for url in relays_of(self.log.document):
            from antsmem.cli.relays import own_relay
            from antsmem.drivers.relay import RelayLedger

            found.append(RelayLedger(own_relay(self, url), url))
        return found + [self.anchor(name, url) for name, url in self.agent.anchors.items()]

    def anchor(self, name: str, url: str) -> Anchor:
        """One anchor by its URL: `git+URL`, or a repository's."""
        if url.startswith(ANCHOR_PREFIX):
            import hashlib

            from antsmem.drivers.git import GitAnchor

            scratch = self.state_dir / "anchors" / hashlib.sha256(url.encode()).hexdigest()[:16]
            return GitAnchor(name, url.removeprefix(ANCHOR_PREFIX), scratch, self.environment)
        from antsmem.backup.ledger_anchor import RepositoryAnchor

        return RepositoryAnchor(name, partial(self.store, self.named([url])[0]))

    def named(self, wanted: Sequence[str] = ()) -> list[RepositoryConfig]:
        """The repositories that `wanted` (names or URLs) means; all configured ones if empty."""
        known = self.agent.repositories if self._has_workspace or not wanted else ()
        configured = {item.name: item for item in known}
        if not wanted:
            if not configured:
                raise NotFoundError("no repository is configured", hint="antsmem repository add NAME URL")
            return list(configured.values())
        found = []
        for text in wanted:
            if text not in configured and "/" not in text:
                raise UsageError(
                    f"no repository is named `{text}`",
                    hint=f"see `antsmem repository list`; a directory is written `./{text}`",
                )
            url = text if "://" in text else os.path.abspath(text)
            found.append(configured.get(text) or RepositoryConfig(text, url))
        return found

    @property
    def _has_workspace(self) -> bool:
        try:
            return bool(self.layout)
        except NotFoundError:
            return False

    def store(self, config: RepositoryConfig) -> Store:
        """Open the store of a repository, read back as configured."""
        scheme = config.url.partition("://")[0] if "://" in config.url else "file"
        options = {name: resolve(value, self.environment) for name, value in config.options.items()}
        store = driver(scheme).open(config.url, options)
        if config.verify == "none":
            return store
        from antsmem.backup.verified import VerifiedStore

        return VerifiedStore(store, config.verify)

    def repository(self, config: RepositoryConfig, keys: Keyring) -> Repository:
        """Open a repository with the keys lent by this host. A newer identity log that another host published
        there is taken over; `RetiredError` if it revokes this host's key."""
        from antsmem.backup.repository import open_repository
        from antsmem.cli.newest import with_newest_log

        store = self.store(config)
        newest = with_newest_log(self, store, keys)
        opened = open_repository(store, newest)
        if newest is not keys and (pin := self.pin(opened)) is not None:
            self.keep_pin(opened, pin)  # who published the log signed the anchor after it
        return opened

    def pin(self, repository: Repository) -> Pin | None:
        """What this host last saw of a repository."""
        from antsmem.cli.pins import read_pin

        return read_pin(self.agent_state / f"pin-{repository.id}.json")

    def keep_pin(self, repository: Repository, pin: Pin) -> None:
        """Remember what was seen."""
        from antsmem.cli.pins import write_pin

        pin = replace(pin, identity_version=max(pin.identity_version or 0, repository.keys.identity_version))
        write_pin(self.agent_state / f"pin-{repository.id}.json", pin)


def driver(scheme: str) -> type[Store]:
    """The store driver for a URL scheme."""
    found: type[Store] = named("antsmem.stores", scheme, OWN_DRIVERS, "Store", f"no driver for `{scheme}://`")
    return found


def named(group: str, name: str, own: Sequence[str], suffix: str, absent: str) -> Any:
    """The driver called `name`: one of our `own` by its module, a third party's by its entry point in `group`.
    `DriverMissingError`, saying `absent`, for any other."""
    from importlib import import_module

    if name in own:
        return getattr(import_module(f"antsmem.drivers.{name}"), f"{name.capitalize()}{suffix}")
    from importlib.metadata import entry_points

    for point in entry_points(group=group, name=name):
        return point.load()
    raise DriverMissingError(absent, hint=f"there are: {', '.join(own)}; others install as Python packages")


__all__ = ["Context", "Options", "driver"]
