"""Goal: every form of the report says the same, and nothing that an agent is called can break out of it.

Method: reports of made results with hostile names; the XML is held against the members that CI servers read, the
page is parsed and searched for anything that would be fetched or run.
"""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.record import replace
from antsmem.drill.report import figures, junit, markdown, page, verdict
from antsmem.drill.result import STEPS, MigrationTest, Proof, Step

HOSTILE = "<script>alert(1)</script>`|\n\x1b[2J\x00]]>&amp;\"'{{agent}}"


def made(*, holds: bool | None = True, text: str = "seen") -> MigrationTest:
    proofs = (Proof("identity", "same identity", True, "it is"), Proof("leaks", text, holds, text))
    steps = tuple(Step(name, 1.25, text) for name in STEPS)
    return MigrationTest(
        holds is not False, text, "process", "", "2026-11-20T12:00:00.000Z", "1", steps, proofs, 2.5, 0.5, 1, 9,
        {"home": text}, {"home": text}, ("nothing",),
    )  # fmt: skip


class Page(HTMLParser):
    """Which elements a page has, and what they point at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("text", ["kevin", HOSTILE])
def test_the_page_fetches_nothing_and_runs_nothing(text: str) -> None:
    shown = page(made(text=text))
    parsed = Page(shown)
    assert parsed.open == [] and not {"script", "img", "link", "iframe", "object"} & {
        tag for tag, _ in parsed.found
    }
    assert not any({"src", "href", "onload", "onerror"} & set(attributes) for _, attributes in parsed.found)
    assert "http" not in shown.replace("http-equiv", "") and "url(" not in shown and "\x1b" not in shown
    assert "default-src 'none'" in shown and "prefers-color-scheme: dark" in shown


@given(st.text(), st.sampled_from([True, False, None]))
def test_junit_is_what_ci_servers_read(text: str, holds: bool | None) -> None:
    top = Xml.fromstring(junit(made(holds=holds, text=text)))
    (suite,) = top
    assert (top.tag, suite.tag) == ("testsuites", "testsuite")
    assert {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"} <= set(suite.attrib)
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.attrib["tests"]) == 2
    assert all({"classname", "name", "time"} <= set(case.attrib) for case in cases)
    assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"]) == (holds is False)
    assert len(suite.findall("testcase/skipped")) == int(suite.attrib["skipped"]) == (holds is None)
    assert {each.attrib["name"] for each in suite.findall("properties/property")} >= {"target", "rto_seconds"}


@given(st.text(), st.sampled_from([True, False, None]))
def test_markdown_is_one_row_a_proof(text: str, holds: bool | None) -> None:
    shown = markdown(made(holds=holds, text=text))
    rows = [line for line in shown.splitlines() if line.startswith(("| ok |", "| FAILED |", "| not seen |"))]
    assert len(rows) == 2
    assert all(len(row.replace("\\\\", "").replace("\\|", "").split("|")) == 5 for row in rows)


def test_the_verdict_names_what_broke() -> None:
    assert verdict(made()) == "passed"
    assert verdict(made(holds=False)) == "FAILED: leaks"
    assert "FAILED" in page(made(holds=False)) and "failed" in page(made(holds=False))
    assert figures(replace(made(), rto_seconds=None)).startswith("not measured")
