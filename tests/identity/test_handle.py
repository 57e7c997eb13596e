"""Goal: handles and relays stand in a document so that everybody reads them the same, and old logs stay valid.

Method: every form once, absurd forms refused or passed over, round trips through documents with foreign members;
the log with both through the did:webvh rules.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relays import new_agent

from antsmem.core.errors import IntegrityError, UsageError
from antsmem.identity.handle import (
    Handle,
    check_named_back,
    handles_of,
    is_loopback,
    parse_handle,
    relay_url,
    relays_of,
    with_handles,
    with_relays,
)
from antsmem.identity.log import parse_log
from antsmem.identity.resolve import outward


@pytest.mark.parametrize(
    ("text", "handle", "uri", "url"),
    [
        (
            "@kevin@relay.example",
            Handle("kevin", "relay.example"),
            "acct:kevin@relay.example",
            "https://relay.example",
        ),
        (
            "@Kevin@Relay.Example",
            Handle("kevin", "relay.example"),
            "acct:kevin@relay.example",
            "https://relay.example",
        ),
        ("@k-1@127.0.0.1:80", Handle("k-1", "127.0.0.1:80"), "acct:k-1@127.0.0.1:80", "http://127.0.0.1:80"),
        ("example.org", Handle("", "example.org"), "https://example.org", "https://example.org"),
        ("localhost:8080", Handle("", "localhost:8080"), "https://localhost:8080", "http://localhost:8080"),
    ],
)
def test_a_handle_is_read(text: str, handle: Handle, uri: str, url: str) -> None:
    found = parse_handle(text)
    assert (found, found.uri, found.url, str(found)) == (handle, uri, url, text.lower())


@pytest.mark.parametrize(
    "text",
    ["", "@", "@@", "kevin", "@kevin", "@kevin@", "@@relay.example", "@ke vin@relay.example", "@-k@relay.example",
     "@kevin@relay", "a..b", "@kevin@relay.example/x", "relay.example:0", "@" + "k" * 40 + "@relay.example",
     "\u0430.org", "@kevin@relay.example\n", "../etc", "169.254.169.254"],
)  # fmt: skip
def test_what_is_no_handle(text: str) -> None:
    with pytest.raises(UsageError):
        parse_handle(text)


@given(st.text(max_size=40))
def test_any_text_is_a_handle_or_refused(text: str) -> None:
    try:
        found = parse_handle(text)
    except UsageError:
        return
    assert parse_handle(str(found)) == found


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Relay.Example/", "https://relay.example"),
        ("https://relay.example:443", "https://relay.example"),
        ("https://relay.example:8443", "https://relay.example:8443"),
        ("http://127.0.0.1:8470", "http://127.0.0.1:8470"),
        ("http://[::1]:8470", "http://[::1]:8470"),
    ],
)
def test_a_relays_url_has_one_form(text: str, url: str) -> None:
    assert relay_url(text) == url == relay_url(url)
    assert is_loopback(url) == url.startswith("http://")


def test_a_strangers_log_sends_nobody_to_his_own_machine() -> None:
    urls = ["https://relay.example", "http://127.0.0.1:22", "http://[::1]:80", "https://localhost:1"]
    assert outward("https://public.example", urls) == urls[:1]
    assert outward("http://127.0.0.1:8470", urls) == urls


def test_relays_and_handles_go_into_the_document_and_foreign_members_stay() -> None:
    agent = new_agent()
    foreign = {"id": f"{agent.log.did}#blog", "type": "LinkedDomains", "serviceEndpoint": "https://kevin.example"}
    document = {**agent.log.document, "service": [foreign], "alsoKnownAs": ["https://kevin.example/about"]}
    urls, handles = (
        ["https://b.example", "https://a.example"],
        [parse_handle("@kevin@b.example"), Handle("", "x.org")],
    )
    both = with_handles(with_relays(document, urls), handles)
    log = parse_log(agent.extend(both).text)
    assert relays_of(log.document) == tuple(urls) and handles_of(log.document) == tuple(handles)
    assert foreign in log.document["service"] and "https://kevin.example/about" in log.document["alsoKnownAs"]
    assert with_handles(with_relays(both, []), []) == document
    assert with_relays(new_agent().log.document, []).keys() == agent.log.document.keys() - {
        "service",
        "alsoKnownAs",
    }


@pytest.mark.parametrize(
    "services",
    [None, "x", {}, [None], [{}], [{"type": "AntsmemRelay"}], [{"type": "AntsmemRelay", "serviceEndpoint": {}}],
     [{"type": "AntsmemRelay", "serviceEndpoint": "http://169.254.169.254"}],
     [{"type": "Other", "serviceEndpoint": "https://relay.example"}]],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_relay_is_passed_over(services: object) -> None:
    assert relays_of({"id": "did:x", "service": services}) == ()
    assert handles_of({"id": "did:x", "alsoKnownAs": services}) == ()


def test_a_handle_counts_only_if_the_newest_entry_names_it() -> None:
    agent, handle = new_agent(), parse_handle("@kevin@relay.example")
    with pytest.raises(IntegrityError):
        check_named_back(handle, agent.log)
    agent.place(["https://relay.example"], [str(handle)])
    check_named_back(handle, agent.log)
    with pytest.raises(IntegrityError):
        check_named_back(parse_handle("@kevin@other.example"), agent.log)
    agent.place(["https://relay.example"], [])
    with pytest.raises(IntegrityError):
        check_named_back(handle, agent.log)
