"""Targets in plain files: age, JSON, YAML, the daily log, what the scanner reads and what tells runtimes apart."""

from __future__ import annotations

from pathlib import Path
from random import Random

import mutants
from corpora import secret
from reading import Making, Target, refused
from specimens import Specimens

from antsmem.backup.snapshot import time_of
from antsmem.core import age, canonical, config, moment, plainyaml
from antsmem.heartbeat import agents
from antsmem.identity import epochs, multikey, recovery
from antsmem.identity.document import check_host
from antsmem.identity.scanner import Scanner
from antsmem.workspace import classes, dailylog, humantime, layout, runtimes, settings


def _age(s: Specimens) -> Target:
    x25519, hybrid = age.X25519Identity(b"\x11" * 32), age.HybridIdentity.generate()
    identities = [x25519, hybrid, age.ScryptIdentity("pass", max_work_factor=3)]
    recipients = ([x25519.recipient], [s.recipient, x25519.recipient], [hybrid.recipient])
    files = [
        b"".join(age.seal([b"what was sealed"], each)) for each in (*recipients, [age.ScryptRecipient("pass", 2)])
    ]
    files += [b"".join(age.seal([bytes(90_000)], [x25519.recipient])), *map(age.armor, files)]

    def read(data: bytes) -> None:
        for use in (
            lambda: age.inspect(data),
            lambda: b"".join(age.unseal_stream([data[:100], data[100:101], data[101:]], identities)),
            lambda: list(age.rewrap(data, identities, [x25519.recipient])),
        ):
            refused(use)

    return Target(files, read)


def _age_key(s: Specimens) -> Target:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for parse in (age.parse_identity_file, age.parse_identity, age.parse_recipient):
            refused(lambda parse=parse: parse(text))

    hybrid = age.HybridIdentity.generate()
    texts = (s.kit.text(), s.kit.identity.secret(), str(s.recipient), hybrid.secret(), str(hybrid.recipient)[:200])
    return Target([text.encode() for text in texts], read)


def _json(s: Specimens) -> Target:
    value = s.head()

    def read(data: bytes) -> None:
        found = canonical.loads(data, 1 << 20)
        assert canonical.loads(canonical.dumps(found), 1 << 21) == found

    def inside(dice: Random) -> bytes:
        return canonical.dumps(mutants.of_value(dice, value))

    return Target([canonical.dumps(value), s.two.text.splitlines()[0], b'{"a":[1,"\\u00fc",null]}'], read, inside)


def _settings(s: Specimens) -> Target:
    seeds = [
        b"name: kevin\ntime_zone: Europe/Lisbon\nclasses:\n  derived:\n    - 'media/**'\n    - '*.tmp'\n",
        b'name: "kevin"\ntiers:\n  hot:\n    every: 1h\n    keep:\n      newest: 3\n  cold:\n    every: 7d\n',
        b"{name: kevin, classes: {secret: [a/*b*c*d*e*f]}}\n",
    ]

    def read(data: bytes) -> None:
        text = data.decode()
        quick = plainyaml._quick(text)
        assert quick is None or quick == plainyaml._thorough(text, "x")
        found = settings.parse_settings(data, "x")
        classifier = classes.Classifier(found.classes)
        for name in (b"a" * 200, b"abcdef" * 40):
            classifier.classify_file(name, b"a/" + name)
            classifier.classify_dir(name, b"a/" + name)
        refused(lambda: humantime.human_time(0, found.time_zone))

    def guarded(data: bytes) -> None:
        try:
            data.decode()
        except UnicodeDecodeError:
            settings.parse_settings(data, "x")
        else:
            read(data)

    return Target(seeds, guarded)


def _config(s: Specimens) -> Target:
    path = s.backup.root / "config.yaml"

    def read(_: bytes) -> None:
        for each in (config.read_agent, config.read_operator):
            refused(lambda each=each: each(path))

    agent = config.AgentConfig("/w", "/k", "/e", (config.RepositoryConfig("default", "/r", {"a": "env:B"}),))
    config.write_agent(path, agent)
    return Target([path.read_bytes(), b"key_sources: [credentials, 'fd:3', \"file:/x\"]\n"], read, at=path)


def _names(s: Specimens) -> Target:
    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for use in (
            multikey.parse_multikey, multikey.base58_decode, epochs.check_epoch_name, check_host, time_of,
            recovery.check_agent_name, s.log.refuse_rollback, lambda each: moment.parse_moment(each, 10**18),
            lambda each: humantime.human_time(0, each),
        ):  # fmt: skip
            refused(lambda use=use: use(text))

    seeds = [s.log.head, s.hot, "hot-20261116-2", multikey.multikey(s.control.public), "laptop", "3h ago",
             "yesterday", "2026-11-20T11:23:00+01:00", "Europe/Lisbon", "2026-11-20"]  # fmt: skip
    return Target([seed.encode() for seed in seeds], read, good=False)


def _daily_log(s: Specimens) -> Target:
    path = layout.Layout(s.backup.workspace).daily_log("2026-11-20")

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        done = dailylog.append_entry(
            layout.Layout(s.backup.workspace), text, 1_795_188_211 * 10**9, "UTC", "laptop"
        )
        after = path.read_bytes()
        assert after.startswith(data) and dailylog.ANCHOR.findall(after[len(data) :]) == [done.entry_id.encode()]

    return Target(
        [path.read_bytes(), b"- 14:03 <!-- e:01JD3QZ4X8M6V0C2N9T5B7K1RA -->\n  torn"], read, at=path, writes=True
    )


def _runtimes(s: Specimens) -> Target:
    path = s.backup.workspace / "openclaw.json"
    seeds = [b'{"gateway": {"port": 18789}, "agents": {}}\n', b"# SOUL.md\n\nYou are", b"[project]\nname = 'x'\n"]
    return Target(seeds, lambda _: runtimes.recognise(s.backup.workspace), at=path)


def _scanner(s: Specimens) -> Target:
    scanner = Scanner([("mail", b'wvH 7/"u\xc3\xbc+Long')], fingerprint_key=bytes(32))
    texts = [
        secret("token gh", "p_", "q7RtZ2mVx9KpL4sWbN8cJyH3dFgT6uEa1oXi\n"),
        secret("postgres", "://user", ":pass", "w0rd4711@db.example:5432/x\n", "AK", "IA", "Z" * 16),
        secret("-----BEGIN ", "RSA PRIVATE", " KEY-----\n", "abcd" * 300, "\n-----END RSA PRIVATE KEY-----\n"),
        "eyJhbGciOi" * 400 + "." + "a" * 4000,
    ]

    def read(data: bytes) -> None:
        half = len(data) // 2
        found = scanner.scan(data)
        scanner.scan(data[:half], more=True)
        assert all(0 <= each.start < each.end <= len(data) for each in found)

    return Target([text.encode() for text in texts], read)


def _last_words(_: Specimens) -> Target:
    transcripts = Path(__file__).parents[1] / "heartbeat/transcripts"

    def read(data: bytes) -> None:
        for preset in agents.PRESETS:
            said = agents.last_words(preset, data, data)
            assert all(count is None or count >= 0 for count in (said.cost_usd, said.input_tokens))

    return Target([path.read_bytes() for path in sorted(transcripts.glob("*.stdout"))], read)


FILES: dict[str, Making] = {
    "age file": _age,
    "age key": _age_key,
    "canonical JSON": _json,
    "agent.yaml": _settings,
    "config.yaml": _config,
    "names and times": _names,
    "daily log": _daily_log,
    "runtimes": _runtimes,
    "scanner": _scanner,
    "an agent's last words": _last_words,
}
