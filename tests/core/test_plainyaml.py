"""Goal: the quick reader and PyYAML's parser agree on every document, and nothing but plain data gets in.

Method: documents are drawn as data and written in many styles, and as lines that are nearly YAML; where the quick
reader gives an answer, it must be the thorough one's. Hostile documents are listed.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.errors import ConfigError
from antsmem.core.plainyaml import MAX_BYTES, Node, _quick, _thorough, read_yaml


def bare(node: Node) -> Any:
    """The value without line numbers."""
    if isinstance(node.value, dict):
        return {key: bare(entry) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [bare(item) for item in node.value]
    return node.value


keys = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
texts = st.text(max_size=20).filter(lambda text: text.isprintable())
scalars = st.one_of(texts, st.integers(-(10**15), 10**15), st.just("no"), st.just("1.5"), st.just("null"))
documents = st.dictionaries(
    keys,
    st.one_of(
        scalars,
        st.lists(scalars, max_size=3),
        st.dictionaries(keys, st.one_of(scalars, st.lists(scalars)), max_size=3),
    ),
    max_size=4,
)
LINES = (
    """a:|b: 1|  c: d|  - x|  - "y z"|- q|# note||    e: f|  g:|a: no|h: null|i: []|j: "#"|k: v # w|l: a:b|m: 07"""
    """|  |n:x|o: {}|p: 'q'|r: >|    s|t: ~|u: &v w|---|...|x: *v|!!str y: z|a: b: c|\tb: c|a: "b\\n"|é: ü|a : b"""
    """|? a|a: -3|a: -|a: "b"c|a: b#c|  -|a: []x|a:  b|a: "b"  # c|a: b:|- a: b|  - - x|a: 1.|a: +1"""
)
fragments = st.sampled_from(LINES.split("|"))


@given(documents)
def test_text_in_quotes_is_read_as_it_was_written(document: dict[str, Any]) -> None:
    text = yaml.safe_dump(document, allow_unicode=True, default_style='"', width=10_000)
    numbers_as_text = yaml.load(text, Loader=yaml.BaseLoader)  # every scalar as text: what quotes mean
    if "!!" not in text:
        assert bare(read_yaml(text.encode(), "f")) == numbers_as_text


@given(documents, st.booleans(), st.sampled_from([2, 4]))
def test_the_quick_reader_agrees_on_whole_documents(document: dict[str, Any], unicode: bool, indent: int) -> None:
    text = yaml.safe_dump(document, allow_unicode=unicode, indent=indent, sort_keys=False)
    if (quick := _quick(text)) is not None:
        assert quick == _thorough(text, "f")


@given(st.lists(fragments, max_size=7).map("\n".join))
def test_the_quick_reader_agrees_on_any_lines_or_leaves_them_alone(text: str) -> None:
    quick = _quick(text)
    if quick is not None:
        assert quick == _thorough(text, "f")


@given(st.text(alphabet="ab: -#\"'[]\n\\&*!|>%@{},?~0é\u2028\x85", max_size=40))
def test_any_text_is_either_read_or_refused_with_the_name_of_the_file(text: str) -> None:
    try:
        node = read_yaml(text.encode(), "agent.yaml")
    except ConfigError as error:
        assert "`agent.yaml" in str(error)
        assert "\n" not in str(error)
    else:
        assert isinstance(node.value, dict)
        assert (quick := _quick(text)) is None or quick == node


def test_the_quick_reader_takes_what_people_write_by_hand() -> None:
    text = (
        "# note\nname: kevin   # me\ndid: did:webvh:Qm1:relay.example\n\ntime_zone: Europe/Lisbon\ntiers:\n"
        '  hot:\n    every: 30m\nclasses:\n  derived:\n    - "a b/"\n    - renders/\n  secret: []\n'
    )
    quick = _quick(text)
    assert quick is not None
    assert quick == _thorough(text, "f")
    assert bare(quick)["classes"] == {"derived": ["a b/", "renders/"], "secret": []}


def test_lines_are_counted_from_one_and_values_are_not_guessed() -> None:
    node = read_yaml(b"a: no\nb: 1.5\n\nc: 12\nd: {e: yes, f: [2026-11-20, 0x10]}\ng:\n", "f")
    assert bare(node) == {
        "a": "no",
        "b": "1.5",
        "c": 12,
        "d": {"e": "yes", "f": ["2026-11-20", "0x10"]},
        "g": None,
    }
    assert isinstance(node.value, dict)
    assert [node.value[key].line for key in "abcdg"] == [1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: &x 1\nb: 2", "f:1` holds an anchor"),
        ("a: 1\nb: *x", "f:2` holds an alias"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", "an anchor"),
        ("a: !!python/object/apply:os.system [ls]", "a tag"),
        ("!!map {a: 1}", "a tag"),
        ("%YAML 1.1\n---\na: 1", "a directive"),
        ("a: 1\n---\nb: 1", "f:2` holds a second document"),
        ("a: 1\nb: 2\na: 3", "f:3` holds `a` twice"),
        ("[a, b]: 1", "a key that is not text"),
        ("- a", "not a list of keys"),
        ("just text", "not a list of keys"),
        ("a: [[[[[[[1]]]]]]]", "more than 6 levels"),
        ("a: " + "[" * 30_000, "more than 6 levels"),
        ("a:\n\tb: 1", "not YAML"),
        ("a: 'x", "not YAML"),
        ('a: "\\UFFFFFFFF"', "not YAML"),
        ("%YAML " + "9" * 5000 + ".1\n---\na: 1", "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: 1\nb: \udcff", "f:2` is not UTF-8"),
        ("a: " + "x" * MAX_BYTES, "larger than 64 KiB"),
    ],
)
def test_what_is_more_than_plain_data_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text.encode("utf-8", "surrogateescape"), "f")
    assert complaint in str(caught.value)


def test_an_empty_document_is_an_empty_mapping() -> None:
    for text in ("", "\n\n", "# only a comment\n", "---\n", "~\n", "{}\n"):
        assert read_yaml(text.encode(), "f") == Node({}, 1)
