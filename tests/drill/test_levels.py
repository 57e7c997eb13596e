"""Goal: a level is held by what was seen, and by nothing else. Method: facts, each taken away or aged in turn."""

from __future__ import annotations

import pytest

from antsmem.core.record import replace
from antsmem.drill.copies import host_of, is_here
from antsmem.drill.levels import BACKEND_DAYS, MIGRATION_DAYS, NAMES, RESTORE_DAYS, Copy, Facts, assess
from antsmem.workspace.evidence import Evidence

NOW = 1_763_600_000 * 10**9
HOUR, DAY = 3600 * 10**9, 86_400 * 10**9
ONE = Copy("one", "sftp://one.example/kevin", "one.example", NOW - HOUR, 3600)
TWO = Copy("two", "s3://bucket/kevin", "s3.amazonaws.com", NOW - HOUR, 3600)
HERE = Copy("here", "/backups/kevin", "", NOW - HOUR, 3600)
SEEN = (
    Evidence("restore-proven", NOW - DAY, {"repository": ONE.url, "snapshot": "x"}),
    Evidence("recovery-drill", NOW - 2 * DAY, {"ways": ["kit"]}),
    Evidence("recovery-drill", NOW - DAY, {"ways": ["guardians"]}),
    Evidence("backend-verified", NOW - DAY, {"repository": ONE.url}),
    Evidence("backend-verified", NOW - DAY, {"repository": TWO.url}),
    Evidence("migration-test", NOW - DAY, {"target": "process"}),
    Evidence("autonomy-resumed", NOW - DAY, {"host": "desktop"}),
)
ALL = Facts(7, (ONE, TWO), SEEN)


def level(facts: Facts) -> int:
    found = assess(facts, NOW)
    assert (found.next is None) == (found.level == len(NAMES) - 1)
    assert found.next is None or (found.next.missing and found.next.command)
    return found.level


def without(kind: str, **changes: object) -> Facts:
    """All that was seen, but nothing of one kind; or that kind, changed."""
    kept = [one for one in SEEN if one.kind != kind]
    if changes:
        kept += [replace(one, **changes) for one in SEEN if one.kind == kind]
    return replace(ALL, evidence=tuple(kept))


def test_all_that_was_seen_is_the_highest_level() -> None:
    assert level(ALL) == 4


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(0, (), ()), 0),
        (replace(ALL, fault="the keystore does not open", helps="antsmem recover"), 0),
        (replace(ALL, memory_files=0), 0),
        (Facts(7, (), ()), 1),
        (Facts(7, (HERE,), SEEN), 1),
        (without("restore-proven"), 1),
        (without("restore-proven", time_ns=NOW - (RESTORE_DAYS + 1) * DAY), 1),
        (without("restore-proven", time_ns=NOW + DAY), 1),
        (without("restore-proven", details={"repository": HERE.url}), 1),
        (replace(ALL, copies=(replace(ONE, newest_ns=NOW - 3 * HOUR), replace(TWO, newest_ns=None))), 1),
        (replace(ALL, copies=(replace(ONE, newest_ns=None, problem="no answer"),)), 1),
        (without("recovery-drill"), 2),
        (without("recovery-drill", details={"ways": ["kit"]}), 2),
        (without("recovery-drill", details={"ways": "kit guardians"}), 2),
        (without("recovery-drill", time_ns=NOW - 400 * DAY), 2),
        (without("backend-verified"), 3),
        (without("backend-verified", details={"repository": ONE.url}), 3),
        (without("backend-verified", time_ns=NOW - (BACKEND_DAYS + 1) * DAY), 3),
        (replace(ALL, copies=(ONE, replace(TWO, host=ONE.host))), 3),
        (replace(ALL, copies=(ONE,)), 3),
        (without("migration-test"), 3),
        (without("migration-test", time_ns=NOW - (MIGRATION_DAYS + 1) * DAY), 3),
        (without("autonomy-resumed"), 3),
    ],
)
def test_what_is_missing_or_old_costs_its_level(facts: Facts, expected: int) -> None:
    assert level(facts) == expected


def test_a_migration_test_that_saw_the_work_resume_is_evidence_of_that() -> None:
    seen = [one for one in SEEN if one.kind not in {"autonomy-resumed", "migration-test"}]
    for proofs, expected in ((["resumes", "same-memory"], 4), (["same-memory"], 3), ("resumes", 3)):
        test = Evidence("migration-test", NOW - DAY, {"target": "process", "proofs": proofs})
        assert level(replace(ALL, evidence=(*seen, test))) == expected


def test_the_first_thing_that_is_missing_is_next() -> None:
    found = assess(Facts(7, (HERE,), ()), NOW)
    assert found.next is not None and found.next.level == 2 and "repository add" in found.next.command
    assert [step.level for step in found.steps] == sorted(step.level for step in found.steps)


def test_evidence_has_its_age() -> None:
    steps = {step.what: step for step in assess(ALL, NOW).steps}
    assert steps["a restore proven"].age_seconds == 86_400
    assert steps["two ways back, in two hands, drilled"].age_seconds == 2 * 86_400


MOUNTS = """/dev/sda1 / ext4 rw 0 0
nas.example:/kevin /mnt/nas nfs4 rw 0 0
//files.example/share /mnt/my\\040share cifs rw 0 0
127.0.0.1:/x /mnt/loop nfs rw 0 0
kim@far.example:/x /mnt/ssh fuse.sshfs rw 0 0
/dev/sdb1 /media/stick vfat rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("url", "options", "host"),
    [
        ("sftp://kim@One.Example:2222/path", {}, "one.example"),
        ("sftp://localhost/path", {}, ""),
        ("sftp://127.0.0.9/path", {}, ""),
        ("sftp://[::1]/path", {}, ""),
        ("sftp://laptop/path", {}, ""),
        ("webdav://dav.example/x", {}, "dav.example"),
        ("s3://bucket/x", {}, "s3.amazonaws.com"),
        ("s3://bucket/x?endpoint=https://minio.example:9000", {}, "minio.example"),
        ("s3://bucket/x", {"endpoint": "http://127.0.0.1:9000"}, ""),
        ("/home/kim/backups", {}, ""),
        ("file:///mnt/nas/kevin", {}, "nas.example"),
        ("/mnt/nas", {}, "nas.example"),
        ("/mnt/nasty", {}, ""),
        ("/mnt/my share/x", {}, "files.example"),
        ("/mnt/ssh/x", {}, "far.example"),
        ("/mnt/loop/x", {}, ""),
        ("/media/stick/x", {}, ""),
    ],
)
def test_where_a_repository_is(url: str, options: dict[str, str], host: str) -> None:
    assert host_of(url, options, MOUNTS, lambda name: name == "laptop") == host


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.8.8.8", True), ("::ffff:127.0.0.1", True), ("0", True), ("203.0.113.77", False), ("x.invalid", False)],
)
def test_an_address_to_which_a_socket_can_be_bound_is_this_machines(host: str, own: bool) -> None:
    assert is_here(host) is own
    assert host_of(f"sftp://[{host}]/x" if ":" in host else f"sftp://{host}/x", {}, "") == ("" if own else host)
