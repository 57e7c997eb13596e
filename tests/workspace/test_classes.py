"""Goal: secrets are never portable, work is never taken for rubbish, and `agent.yaml` cannot change that.

Method: every built-in rule gets an example made from its own pattern; near misses are listed by hand; properties
over all byte names; globs are compared with a slow matcher written another way; the guards are removed once to see
the properties fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.disk import temp_name
from antsmem.workspace.classes import CLASSES, Classifier, Verdict, glob_fault
from antsmem.workspace.rules import COPY_SUFFIXES, RULES, PathClass, Rule

PLAIN = Classifier()


def judged(path: bytes | str, classifier: Classifier = PLAIN) -> Verdict | None:
    """The verdict on `path`; with `/` at its end it is a directory."""
    data = os.fsencode(path)
    if data.endswith(b"/"):
        return classifier.classify_dir(data[:-1].rpartition(b"/")[2], data[:-1])
    return classifier.classify_file(data.rpartition(b"/")[2], data)


def class_of(path: bytes | str, classifier: Classifier = PLAIN) -> PathClass:
    verdict = judged(path, classifier)
    return "portable" if verdict is None else verdict.path_class


def example(rule: Rule) -> str:
    """A path that `rule` is about."""
    return rule.pattern.removeprefix("/").replace("*.*.", "notes.md.").replace("*", "x")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_every_rule_judges_the_example_of_its_own_pattern(rule: Rule) -> None:
    verdict = judged(example(rule))
    if rule.path_class == "portable":
        assert verdict is None
    else:
        assert verdict == Verdict(rule.path_class, rule.pattern, rule.reason)
    if not rule.pattern.startswith("/"):
        assert class_of(f"a/b/{example(rule)}") == rule.path_class
    else:
        assert class_of(f"a/b/{example(rule)}") != rule.path_class


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if rule.path_class == "secret"], ids=lambda rule: rule.pattern
)
def test_a_secret_is_one_in_upper_case_and_as_a_copy(rule: Rule) -> None:
    path = example(rule)
    assert class_of(path.upper()) == "secret"
    if not path.endswith("/"):
        for suffix in ("~", *(suffix.decode() for suffix in COPY_SUFFIXES)):
            assert class_of(path + suffix) == "secret", suffix


def test_the_rules_name_each_pattern_once_and_give_each_a_reason() -> None:
    patterns = [rule.pattern for rule in RULES]
    assert len(patterns) == len(set(patterns))
    assert all(rule.reason for rule in RULES)
    assert {rule.path_class for rule in RULES} == set(get_args(PathClass)) == set(CLASSES)


@pytest.mark.parametrize(
    "path",
    [
        "SOUL.md",
        "memory/2026-11-20.md",
        "memory/.git/",
        "memory/.git/config",
        "notes/cookies.md",
        "notes/cookies with chocolate.md",
        "recipes/Cookies for Lisa.pdf",
        "keys.md",
        "id_rsa.pub",
        "id_ed25519.pub",
        "env",
        "environment.md",
        "src/target/",
        "build/",
        "dist/",
        "env/",
        "vendor/",
        "poetry.lock",
        "Cargo.lock",
        "yarn.lock",
        "Gemfile.lock",
        "uv.lock",
        "state/memory.db",
        "state/memory.db-wal",
        "state/memory.db-journal",
        "brain.db",
        "skills/auth/",
        "locales/en/auth.json",
        "design/tokens.json",
        "src/credentials/",
        "projects/secrets/",
        "notes/secrets.md",
        "Node_Modules/",
        "VENV/",
        "cache/",
        "aws/credentials",
        "docker/config.json",
        "device.json",
        "paired.json",
        "x.keystore/",
        "memory/main.sqlite",
        "lock",
        "lockfile",
        "pid",
        ".antsmem/",
        ".antsmem/agent.yaml",
        ".antsmem/identity/did.jsonl",
        ".antsmem/heartbeat/journal/2026-11.jsonl",
        ".antsmem/events/0001.log",
        "keystore/",
        "replaced/",
    ],
)
def test_what_only_resembles_a_rule_is_portable(path: str) -> None:
    assert judged(path) is None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("agents/lisa/.antsmem/keystore/", "secret"),
        ("agents/lisa/.antsmem/cache/", "derived"),
        ("agents/lisa/.antsmem/replaced/", "machine-bound"),
        ("deploy/.env.production", "secret"),
        ("deploy/.env.production.bak", "secret"),
        (".id_rsa.swp", "secret"),
        ("profile/Cookies-journal", "secret"),
        ("profile/key4.db-wal", "secret"),
        ("MEMORY.md.lock", "machine-bound"),
        ("cron/.tick.lock", "machine-bound"),
        ("auth-profiles.json.lock", "machine-bound"),
        ("memory.db-shm", "machine-bound"),
        ("memory/.git/index.lock", "machine-bound"),
        ("memory/.git/refs/heads/main.lock", "machine-bound"),
        ("memory/.git/gc.pid", "machine-bound"),
        (".git/config", "portable"),
        (".git/refs/heads/fix/relay.pem", "portable"),
        (".git/logs/refs/heads/.env", "portable"),
        (".git/refs/heads/node_modules/", "portable"),
        (".git/modules/venv/", "portable"),
        (".git/server.pid", "portable"),
        (".git/relay.pem", "secret"),
        ("project.git/node_modules/", "derived"),
        ("project.git/relay.pem", "secret"),
    ],
)
def test_known_paths_have_their_class(path: str, expected: str) -> None:
    assert class_of(path) == expected


def test_half_written_files_of_antsmem_are_known_by_their_name() -> None:
    assert class_of(temp_name("SOUL.md")) == "machine-bound"
    assert class_of("memory/" + temp_name("2026-11-20.md")) == "machine-bound"


names = st.one_of(
    st.binary(min_size=1, max_size=255).map(lambda data: data.replace(b"/", b"_").replace(b"\0", b"_")),
    st.sampled_from([os.fsencode(example(rule).strip("/").rpartition("/")[2]) for rule in RULES]),
    st.sampled_from([b".git", b".antsmem", b"refs", b"a", b"notes.md", b"..", b".", b"~", b"-wal"]),
)
paths = st.lists(names, min_size=1, max_size=5).map(b"/".join)


@given(paths)
def test_any_bytes_are_a_name_and_get_the_same_class_each_time(path: bytes) -> None:
    for form in (path, path + b"/"):
        verdict = judged(form)
        assert verdict is None or verdict.path_class in {"secret", "derived", "machine-bound"}
        assert judged(form, Classifier()) == verdict


pieces = st.sampled_from(
    ["a", "b", "ab", ".env", "node_modules", "x.pem", "*", "?", "*.*", "*a*", "**", ".antsmem", "é"]
)
globs = (
    st.tuples(st.sampled_from(["", "/"]), st.lists(pieces, min_size=1, max_size=4), st.sampled_from(["", "/"]))
    .map(lambda parts: parts[0] + "/".join(parts[1]) + parts[2])
    .filter(lambda glob: glob_fault(glob) is None)
)
rules = st.fixed_dictionaries({}, optional={name: st.lists(globs, max_size=3) for name in CLASSES})
secret_paths = st.tuples(
    st.lists(st.sampled_from([b"a", b"b", b"node_modules", "é".encode()]), max_size=3),
    st.sampled_from([rule for rule in RULES if rule.path_class == "secret" and not rule.pattern.startswith("/")]),
).map(lambda parts: b"/".join([*parts[0], example(parts[1]).encode()]))


@given(rules, secret_paths)
def test_no_rule_of_an_agent_takes_a_secret_out_of_its_class(own: dict[PathClass, list[str]], path: bytes) -> None:
    assert class_of(path, Classifier(own)) == "secret"


@given(
    rules, st.sampled_from([".antsmem/agent.yaml", "x/.antsmem/identity/", ".antsmem/heartbeat/journal/1.jsonl"])
)
def test_no_rule_of_an_agent_reaches_the_files_of_antsmem(own: dict[PathClass, list[str]], path: str) -> None:
    assert class_of(path, Classifier(own)) == "portable"


class Unguarded(Classifier):
    """A classifier that believes its agent: what the guards are there for."""

    def _asked(self, verdict: Verdict | None, relative: bytes, *, directory: bool) -> Verdict | None:
        return super()._asked(None, relative.replace(b".antsmem", b"antsmem"), directory=directory)


def test_control_without_the_guards_a_rule_of_an_agent_takes_secrets_and_own_files() -> None:
    own: dict[PathClass, list[str]] = {"portable": ["*.pem"], "derived": ["agent.*"]}
    for path, unguarded, guarded in (
        ("x.pem", "portable", "secret"),
        (".antsmem/agent.yaml", "derived", "portable"),
    ):
        assert class_of(path, Unguarded(own)) == unguarded
        assert class_of(path, Classifier(own)) == guarded


def test_rules_of_an_agent_add_classes_and_lift_built_in_ones() -> None:
    own = Classifier(
        {
            "derived": ["renders/", "*.iso"],
            "portable": ["projects/*/node_modules/", "gateway.lock"],
            "secret": ["/notes/passwords.md"],
            "machine-bound": ["run/**"],
        }
    )
    assert class_of("x/renders/", own) == "derived"
    assert class_of("x/renders", own) == "portable"  # a file: the glob is for directories
    assert class_of("disk.iso", own) == "derived"
    assert class_of("projects/site/node_modules/", own) == "portable"
    assert class_of("node_modules/", own) == "derived"
    assert class_of("gateway.lock", own) == "portable"
    assert class_of("notes/passwords.md", own) == "secret"
    assert class_of("old/notes/passwords.md", own) == "portable"
    assert class_of("run/x/y", own) == "machine-bound"
    verdict = judged("disk.iso", own)
    assert verdict is not None
    assert "agent.yaml" in verdict.reason
    assert verdict.rule == "classes.derived"


def slowly(glob: str, path: list[str], directory: bool) -> bool:
    """Whether a glob matches, by trying everything."""

    def text(form: str, name: str) -> bool:
        if not form:
            return not name
        if form[0] == "*":
            return any(text(form[1:], name[cut:]) for cut in range(len(name) + 1))
        return bool(name) and (form[0] in {"?", name[0]}) and text(form[1:], name[1:])

    def parts(forms: list[str], names: list[str]) -> bool:
        if not forms:
            return not names
        if forms[0] == "**":
            least = 1 if len(forms) == 1 else 0
            return any(parts(forms[1:], names[cut:]) for cut in range(least, len(names) + 1))
        return bool(names) and text(forms[0], names[0]) and parts(forms[1:], names[1:])

    if glob.endswith("/") and not directory:
        return False
    forms = glob.rstrip("/")
    if "/" not in forms:
        return parts([forms], path[-1:]) or (forms == "**")
    return parts(forms.lstrip("/").split("/"), path)


letters = st.text(alphabet="ab.", min_size=1, max_size=5).filter(lambda name: name.strip(".") != "")
small_parts = st.one_of(st.text(alphabet="ab*?", min_size=1, max_size=5), st.just("**"))


@given(
    st.tuples(
        st.sampled_from(["", "/"]), st.lists(small_parts, min_size=1, max_size=4), st.sampled_from(["", "/"])
    ),
    st.lists(letters, min_size=1, max_size=4),
    st.booleans(),
)
def test_globs_match_what_a_slow_matcher_says(
    glob_parts: tuple[str, list[str], str], path: list[str], directory: bool
) -> None:
    glob = glob_parts[0] + "/".join(glob_parts[1]) + glob_parts[2]
    if glob_fault(glob) is not None:
        return
    joined = "/".join(path) + ("/" if directory else "")
    assert (class_of(joined, Classifier({"derived": [glob]})) == "derived") == slowly(glob, path, directory)


def test_a_hostile_glob_costs_no_more_than_an_honest_one() -> None:
    own = Classifier({"derived": ["*a" * 100 + "b", "?*" * 100 + "x", "**/" + "*a*/" * 20 + "**/z"]})
    assert class_of("a" * 255, own) == "portable"
    assert class_of("/".join(["aaaa"] * 60), own) == "portable"


@pytest.mark.parametrize(
    "glob", ["", "/", "*", "**", "**/*", "?", "a//b", "a/../b", "./a", "x" * 513, "**/a/**/b/**"]
)
def test_globs_that_mean_nothing_or_too_much_are_refused(glob: str) -> None:
    assert glob_fault(glob)
    with pytest.raises(ValueError, match="`"):
        Classifier({"derived": [glob]})


def test_the_digest_changes_with_the_rules_and_is_the_same_in_another_process() -> None:
    digests = {
        Classifier(own).digest
        for own in ({}, {"derived": ["a"]}, {"derived": ["b"]}, {"secret": ["a"]}, {"derived": ["a", "b"]})
    }
    assert len(digests) == 5
    assert all(len(digest) == 32 for digest in digests)
    code = "from antsmem.workspace.classes import Classifier; print(Classifier({'derived': ['a']}).digest.hex())"
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        shown = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        ).stdout
        assert shown.decode().strip() == Classifier({"derived": ["a"]}).digest.hex()
