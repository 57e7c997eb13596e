"""The built-in table of paths that are not portable, with the reason for each.

A pattern is one of these forms; anything that no pattern names is portable.

    name            a file of that name, anywhere
    dir/name        a file of that name in a directory of that name
    /name           a file of that name at the top of the workspace only
    *.ext           a file whose last extension is that
    *.*.ext         the same, and the rest of the name holds a dot too (`MEMORY.md.lock`, `.tick.lock`)
    start*          a file whose name starts so; `start*end` ends so as well
    name/           a directory with everything below it; `dir/name/` and `/name/` as with files

Secrets match in any mix of upper and lower case, the rest exactly as written. A wrong `derived` or
`machine-bound` loses somebody's work, so these name only what is unmistakable: `build`, `dist` and `target`
are not here. `portable` rows are exceptions to the rows of other classes.

Sources: the runtimes' own documentation of their files, git's `gitrepository-layout(5)`, SQLite's "Temporary
Files Used By SQLite", the Cache Directory and XDG Base Directory specifications.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, TypeAlias

PathClass: TypeAlias = Literal["portable", "machine-bound", "secret", "derived"]


class Rule(NamedTuple):
    """One row: paths that match `pattern` (forms: see the module) are of `path_class`, because of `reason`."""

    path_class: PathClass
    pattern: str
    reason: str


def _rows(path_class: PathClass, reason: str, patterns: str) -> list[Rule]:
    return [Rule(path_class, pattern, reason) for pattern in patterns.split("|")]


RULES: Final[tuple[Rule, ...]] = (
    *_rows("secret", "antsmem's keystore: leaves the host only as escrow", ".antsmem/keystore/"),
    *_rows("derived", "antsmem's cache: made again when needed", ".antsmem/cache/"),
    *_rows("machine-bound", "what a restore replaced here, kept until the next prune", ".antsmem/replaced/"),
    *_rows("machine-bound", "locks of the work that is being done here", ".antsmem/heartbeat/locks/"),
    *_rows("machine-bound", "a restore in place that is under way", ".antsmem/restoring/"),
    *_rows("machine-bound", "a file antsmem was writing when it was killed", ".antsmem-tmp-*"),
    *_rows("secret", "environment file: the usual place of tokens", ".env|.env.*|*.env|.envrc"),
    *_rows(
        "portable",
        "environment file without values, made to be shared",
        ".env.example|.env.sample|.env.template|.env.dist|example.env|sample.env|template.env",
    ),
    *_rows("secret", "private key or key store", "*.pem|*.key|*.p12|*.pfx|*.p8|*.jks|*.keystore|*.ppk"),
    *_rows("secret", "private SSH key", "id_rsa|id_dsa|id_ecdsa|id_ed25519|id_ecdsa_sk|id_ed25519_sk"),
    *_rows("secret", "SSH or GnuPG home: private keys", ".ssh/|.gnupg/"),
    *_rows(
        "secret",
        "age identity: opens what is sealed to it",
        "age-key.txt|age_key.txt|age-keys.txt|*.agekey|age/keys.txt|age/key.txt",
    ),
    *_rows("secret", "password store", "*.kdbx|*.kdb|*.keychain|*.keychain-db|.password-store/"),
    *_rows(
        "secret",
        "login data of a command-line tool",
        ".netrc|_netrc|.npmrc|.pypirc|.git-credentials|.pgpass|.my.cnf|.dockercfg|.htpasswd|.vault-token"
        "|.boto|.s3cfg|.aws/credentials|.aws/sso/|.aws/cli/|.docker/config.json|.kube/config|.azure/|.config/gcloud/"
        "|gh/hosts.yml|.cargo/credentials|.cargo/credentials.toml|.gem/credentials|rclone.conf|*.ovpn",
    ),
    *_rows(
        "secret",
        "login data",
        "auth-profiles.json|/auth.json|agent/auth.json|.codex/auth.json|.hermes/auth.json|oauth.json|credentials.json"
        "|.credentials.json|creds.json|credentials.yaml|credentials.yml|credentials.toml|token.json|token.pickle"
        "|.token|*.token|client_secret*.json|service-account*.json|service_account*.json"
        "|application_default_credentials.json",
    ),
    *_rows(
        "secret",
        "secrets by its own name",
        "secrets.json|secrets.json5|secrets.yaml|secrets.yml|secrets.toml|.secrets|.secret|*.secret|.secret_key"
        "|vault.json.enc|/secrets/",
    ),
    *_rows(
        "secret",
        "accounts of a runtime",
        "/credentials/|.openclaw/credentials/|.clawdbot/credentials/|.moltbot/credentials/",
    ),
    *_rows(
        "secret",
        "device key: another host pairs anew",
        "identity/device.json|identity/device-auth.json|devices/paired.json",
    ),
    *_rows(
        "secret",
        "cookies and logins of a browser",
        "Cookies|.cookies|cookies*.txt|cookies*.json|cookies*.sqlite|cookies*.db|cookies*.jar|cookies*.pkl"
        "|*.binarycookies|Login Data|Login Data For Account|logins.json|logins-backup.json|key4.db|key3.db"
        "|signons.sqlite|browser-profile/|browser-profiles/",
    ),
    *_rows(
        "machine-bound",
        "number of a process of this host",
        "*.pid|SingletonLock|SingletonCookie|DevToolsActivePort",
    ),
    *_rows("machine-bound", "socket of a process of this host", "*.sock|SingletonSocket"),
    *_rows(
        "machine-bound",
        "lease of a process of this host",
        "*.*.lock|.lock|gateway.lock|agent.lock|daemon.lock|session.lock|server.lock|cron.lock|heartbeat.lock"
        "|auth.lock|run.lock|write.lock|lease.lock|LOCK|.~lock.*#|~$*|.#*|devices/pending.json|gateway_state.json"
        "|.hermes/processes.json",
    ),
    *_rows(
        "machine-bound",
        "shared memory of an open SQLite database",
        "*.db-shm|*.db3-shm|*.sqlite-shm|*.sqlite3-shm",
    ),
    *_rows(
        "machine-bound",
        "name of this device",
        "machine-id|machine_id|machineid|installation_id|device-id|device_id|.device_id",
    ),
    *_rows("machine-bound", "deleted file that a process still holds open", ".nfs0*|.fuse_hidden*"),
    *_rows(
        "derived",
        "installed packages: reinstalled from their list",
        "node_modules/|bower_components/|.venv/|venv/|site-packages/|.pnpm-store/|.tox/|.nox/|.eggs/",
    ),
    *_rows(
        "derived",
        "cache of a tool: made again when needed",
        "__pycache__/|*.pyc|.cache/|.mypy_cache/|.pytest_cache/|.ruff_cache/|.hypothesis/|.npm/|.parcel-cache/"
        "|.turbo/|.next/|.nuxt/|.svelte-kit/|.sass-cache/",
    ),
    *_rows("derived", "view settings of a file manager", ".DS_Store|Thumbs.db"),
    *_rows(
        "derived",
        "search index: the runtime builds it from the Markdown files",
        ".memsearch/milvus.db|.openclaw/memory/main.sqlite",
    ),
)
"""Every built-in rule. Docs: `docs/reference/path-classes.md`."""

COPY_SUFFIXES: Final = frozenset({b".bak", b".backup", b".old", b".orig", b".save", b".swp", b".swo", b".tmp"})
"""A copy of a secret is as secret: with one of these (or `~`) taken off, a name is looked at again."""

SQLITE_SIDES: Final = (b"-wal", b"-journal", b"-shm")
"""What SQLite keeps beside a database: as secret as the database."""
