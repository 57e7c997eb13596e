"""A migration test as a document: Markdown, JUnit XML for CI, or one HTML page that needs nothing else."""

from __future__ import annotations

import re
from html import escape
from typing import Final
from xml.etree import ElementTree as Xml

from antsmem.core.errors import legible
from antsmem.drill.page import PAGE
from antsmem.drill.result import MigrationTest, Proof

_WORDS: Final = {True: "ok", False: "FAILED", None: "not seen"}
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def figures(test: MigrationTest) -> str:
    """How long it took and how much was lost, in a sentence."""
    if test.rto_seconds is None or test.rpo_seconds is None:
        return "not measured: the test did not come so far"
    entries = f"{test.rpo_entries} {'entry' if test.rpo_entries == 1 else 'entries'}"
    return (
        f"RTO {test.rto_seconds:.1f} s from the loss to finished work; "
        f"RPO {test.rpo_seconds:.1f} s and {entries} written after the backup"
    )


def verdict(test: MigrationTest) -> str:
    """Passed, or what is broken."""
    return "passed" if test.passed else f"FAILED: {', '.join(test.broken)}"


def word(proof: Proof) -> str:
    """`ok`, `FAILED` or `not seen`."""
    return _WORDS[proof.holds]


def markdown(test: MigrationTest) -> str:
    """The report as Markdown (CommonMark with tables)."""
    lines = [
        f"# Migration test of {_cell(test.agent)}: {_cell(verdict(test))}",
        "",
        f"{test.time}, target `{_cell(test.target)}`, antsmem {_cell(test.version)}. {_cell(figures(test))}.",
        "",
        "| | proof | evidence |",
        "|---|---|---|",
        *(f"| {word(each)} | {_cell(each.claim)} | {_cell(each.evidence)} |" for each in test.proofs),
        "",
        "| | step | seconds | what was done |",
        "|---|---|---|---|",
        *(
            f"| {number} | {each.name} | {each.seconds:.1f} | {_cell(each.what)} |"
            for number, each in enumerate(test.steps, 1)
        ),
        "",
        "| | old machine | new machine |",
        "|---|---|---|",
        *(f"| {_cell(name)} | {_cell(old)} | {_cell(new)} |" for name, old, new in _machines(test)),
        "",
        "What this test does not show:",
        "",
        *(f"* {_prose(each)}" for each in test.unproven),
        "",
    ]
    return "\n".join(lines)


def junit(test: MigrationTest) -> bytes:
    """The report as JUnit XML, as CI servers read it: a test case for each proof."""
    failures = sum(each.holds is False for each in test.proofs)
    skipped = sum(each.holds is None for each in test.proofs)
    seconds = f"{sum(each.seconds for each in test.steps):.3f}"
    counts = {"tests": str(len(test.proofs)), "failures": str(failures), "errors": "0", "time": seconds}
    top = Xml.Element("testsuites", {"name": "antsmem migrate-test", **counts})
    more = {"skipped": str(skipped), "timestamp": test.time[:19]}
    suite = Xml.SubElement(top, "testsuite", {"name": f"migration test of {_xml(test.agent)}", **counts, **more})
    properties = Xml.SubElement(suite, "properties")
    for name in ("target", "sabotage", "version", "rto_seconds", "rpo_seconds", "rpo_entries", "files"):
        Xml.SubElement(properties, "property", {"name": name, "value": _xml(str(getattr(test, name)))})
    for each in test.proofs:
        case = Xml.SubElement(
            suite, "testcase", {"classname": "migrate-test", "name": _xml(each.claim), "time": "0"}
        )
        if each.holds is False:
            failure = Xml.SubElement(case, "failure", {"message": _xml(each.evidence), "type": each.name})
            failure.text = _xml(each.evidence)
        elif each.holds is None:
            Xml.SubElement(case, "skipped", {"message": _xml(each.evidence)})
        else:
            Xml.SubElement(case, "system-out").text = _xml(each.evidence)
    Xml.indent(top)
    text: bytes = Xml.tostring(top, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def page(test: MigrationTest) -> str:
    """The report as one HTML page: no script, nothing from elsewhere, light and dark."""
    longest = max([each.seconds for each in test.steps] or [0.0]) or 1.0
    steps = "".join(
        f'<li><b>{_html(each.name)}</b><span class="bar"><i style="width:{100 * each.seconds / longest:.0f}%"></i>'
        f"</span><span>{each.seconds:.1f} s</span><p>{_html(each.what)}</p></li>"
        for each in test.steps
    )
    proofs = "".join(
        f'<tr class="{_CLASSES[each.holds]}"><td><span class="mark">{word(each)}</span></td>'
        f"<th scope=row>{_html(each.claim)}</th><td>{_html(each.evidence)}</td></tr>"
        for each in test.proofs
    )
    machines = "".join(
        f"<tr><th scope=row>{_html(name)}</th><td>{_html(old)}</td><td>{_html(new)}</td></tr>"
        for name, old, new in _machines(test)
    )
    held = sum(each.holds is True for each in test.proofs)
    words = {
        "agent": _html(test.agent),
        "class": "good" if test.passed else "bad",
        "verdict": "passed" if test.passed else "failed",
        "lead": _html(_lead(test)),
        "held": f"{held} of {len(test.proofs)}",
        "rto": _seconds(test.rto_seconds),
        "rpo": _seconds(test.rpo_seconds),
        "lost": "–" if test.rpo_entries is None else str(test.rpo_entries),
        "files": str(test.files),
        "time": _html(test.time),
        "target": _html(test.target),
        "version": _html(test.version),
        "steps": steps,
        "proofs": proofs,
        "machines": machines,
        "unproven": "".join(f"<li>{_coded(each)}</li>" for each in test.unproven),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: words[found[1]], PAGE)


_CLASSES: Final = {True: "good", False: "bad", None: "unseen"}


def _lead(test: MigrationTest) -> str:
    if test.passed:
        return "Its machine was destroyed, and it came back on another one as the same agent."
    return f"Its machine was destroyed, and it did not come back the same. Broken: {', '.join(test.broken)}."


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s"


def _machines(test: MigrationTest) -> list[tuple[str, str, str]]:
    names = list(dict.fromkeys([*test.old, *test.new]))
    return [(name, test.old.get(name, ""), test.new.get(name, "")) for name in names]


def _cell(text: str) -> str:
    """Text on one line that Markdown leaves as it is."""
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", legible(text))


def _prose(text: str) -> str:
    """Our own words: backticks stay."""
    return legible(text)


def _html(text: str) -> str:
    return escape(legible(text))


def _coded(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", _html(text))


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
