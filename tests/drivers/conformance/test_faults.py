"""Goal: whatever happens on the way to a store, what it then holds and gives is right, or an error is raised.

Method: the real servers behind a proxy that cuts, resets, slows, holds or lies; after each fault the bytes are
looked at past the proxy. Controls: the faults do break a driver whose retries are taken away.
"""

from __future__ import annotations

import base64
import os
import threading
import traceback
from collections.abc import Callable

import pytest
from faultproxy import HttpProxy, Reply, TcpProxy
from places import Place
from racing import patiently

from antsmem.backup.store import Store
from antsmem.core.errors import AntsmemError, BackendError, ConflictError, RefusedError, WouldOverwriteError
from antsmem.drivers import s3_client, sftp, webdav_client

DATA = os.urandom(700_000)
PATIENT = "10"


def write_calls(store: Store) -> dict[str, Callable[[], None]]:
    return {
        "put": lambda: store.put("packs/put", [DATA[:100], DATA[100:]]),
        "new": lambda: store.put("packs/new", [DATA], new=True),
        "swap": lambda: store.swap("packs/swap", DATA, None),
        "upload": lambda: store.upload("packs/upload", iter([DATA[:400_000], DATA[400_000:]])),
    }


def read_calls(store: Store) -> dict[str, Callable[[], bytes | None]]:
    return {
        "get": lambda: store.get("packs/a"),
        "range": lambda: DATA[:5] + store.get("packs/a", 5),
        "download": lambda: b"".join(store.download("packs/a")),
        "read": lambda: (store.read("packs/a") or (None, ""))[0],
    }


def slow(tcp: TcpProxy) -> None:
    tcp.delay_seconds = 0.002
    tcp.slice_bytes = 700


def cut_while_sending(tcp: TcpProxy) -> None:
    tcp.cut_after, tcp.cuts = {"up": 300_000}, 2


def cut_while_receiving(tcp: TcpProxy) -> None:
    tcp.cut_after, tcp.cuts = {"down": 300_000}, 2


def cut_at_the_answer(tcp: TcpProxy) -> None:
    tcp.cut_after, tcp.cuts = {"down": 0}, 2


FAULTS = [slow, cut_while_sending, cut_while_receiving, cut_at_the_answer]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_written_over_a_bad_line_is_right_or_refused(
    remote: Place, tcp: TcpProxy, fault: Callable[[TcpProxy], None]
) -> None:
    remote.open()
    store, direct = remote.open(port=tcp.port, timeout_seconds=PATIENT), remote.open()
    for kind, call in write_calls(store).items():
        tcp.heal()
        fault(tcp)
        try:
            call()
        except BackendError:
            assert kind == "upload", kind  # a stream is read once: it may end with the connection
            assert direct.stat("packs/upload") is None
        else:
            assert direct.get(f"packs/{kind}") == DATA


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_read_over_a_bad_line_is_right(
    remote: Place, tcp: TcpProxy, fault: Callable[[TcpProxy], None]
) -> None:
    remote.open().put("packs/a", [DATA])
    store = remote.open(port=tcp.port, timeout_seconds=PATIENT)
    for call in read_calls(store).values():
        tcp.heal()
        fault(tcp)
        assert call() == DATA


def test_everything_else_works_over_a_line_that_breaks_now_and_then(remote: Place, tcp: TcpProxy) -> None:
    direct = remote.open()
    store = remote.open(port=tcp.port, timeout_seconds=PATIENT)
    for call in (
        lambda: store.put("packs/a", [b"x"]),
        lambda: store.stat("packs/a"),
        lambda: store.list("packs"),
        lambda: store.list(""),
        lambda: store.sweep(0),
        lambda: store.delete("packs/a"),
    ):
        tcp.reset()
        tcp.cut_after, tcp.cuts = {"down": 10}, 1
        call()
    assert direct.list("packs") == []


def test_a_line_that_stays_dead_is_told_within_the_bound(remote: Place, tcp: TcpProxy) -> None:
    remote.open().put("packs/a", [DATA])
    store = remote.hasty(tcp.port)
    for call in (write_calls(store)["put"], read_calls(store)["download"]):
        for fault in ("refuse", "hold"):
            tcp.heal()
            patiently(lambda: store.stat("packs/a"))  # connected
            if fault == "refuse":
                tcp.refuse = True
                tcp.reset()
            else:
                tcp.hold = {"down"}
            told: list[bool] = []

            def work(call: Callable[[], object] = call, told: list[bool] = told) -> None:
                with pytest.raises(BackendError):
                    call()
                told.append(True)

            worker = threading.Thread(target=work, daemon=True)
            worker.start()
            worker.join(200)
            assert told


def test_wherever_the_line_breaks_a_new_name_is_made_once_and_known_as_ours(remote: Place, tcp: TcpProxy) -> None:
    direct = remote.open()
    store = remote.open(port=tcp.port, timeout_seconds=PATIENT)
    for way, step in (("down", 90), ("up", 400)):
        for turn in range(12):
            name, data = f"packs/{way}-{turn}", b"%d" % turn * 1000
            tcp.cut_after, tcp.cuts = {way: turn * step}, 1
            store.put(name, [data], new=True)
            tcp.heal()
            assert direct.get(name) == data
            with pytest.raises(WouldOverwriteError):
                direct.put(name, [b"other"], new=True)


def test_a_change_whose_answer_is_lost_is_known_as_done(web: Place, liar: HttpProxy) -> None:
    direct = web.open()
    store = web.open(port=liar.port, timeout_seconds=PATIENT)
    store.put("packs/b", [b"x"], new=True)
    for kind, call in write_calls(store).items():
        deciding = "MOVE" if web.scheme == "webdav" else "PUT"
        answers = [Reply(502)]
        liar.after = lambda method, path, a=answers, d=deciding: a.pop() if a and method == d else None
        call()
        assert not answers
        assert direct.get(f"packs/{kind}") == DATA


def test_a_name_that_another_made_meanwhile_is_not_taken_for_ours(web: Place, liar: HttpProxy) -> None:
    direct = web.open()
    store = web.open(port=liar.port, timeout_seconds=PATIENT)
    store.put("packs/b", [b"x"], new=True)
    lost = {"MOVE" if web.scheme == "webdav" else "PUT": 1}

    def lose_the_first(method: str, path: str) -> Reply | None:
        if lost.pop(method, 0):
            direct.put("packs/a", [b"another writer's"])
            return Reply(503)
        return None

    liar.rule = lose_the_first
    with pytest.raises((WouldOverwriteError, ConflictError)):
        store.put("packs/a", [b"ours"], new=True)
    assert direct.get("packs/a") == b"another writer's"


def test_a_server_in_trouble_is_asked_again(web: Place, liar: HttpProxy) -> None:
    direct = web.open()
    direct.put("packs/a", [DATA])
    store = web.open(port=liar.port, timeout_seconds=PATIENT)
    for status in (408, 429, 500, 503):
        for kind, call in (write_calls(store) | read_calls(store)).items():
            answers = [Reply(status, b"<trouble/>", {"Content-Type": "text/xml"})]
            liar.rule = lambda method, path, a=answers: a.pop() if a else None
            try:
                assert call() in {None, DATA}
            except BackendError:
                assert (kind, web.scheme) == ("upload", "webdav")  # the stream was in the body of the request
            assert not answers
        for kind in write_calls(direct):
            found = direct.stat(f"packs/{kind}")
            assert found is None or direct.get(f"packs/{kind}") == DATA
            assert found is not None or kind == "upload"
            direct.delete(f"packs/{kind}")


def test_a_server_that_refuses_is_not_asked_again(web: Place, liar: HttpProxy) -> None:
    direct = web.open()
    direct.put("packs/a", [DATA])
    store = web.open(port=liar.port, timeout_seconds=PATIENT)
    for status in (400, 401, 403, 405, 413) + ((507,) if web.scheme == "webdav" else ()):
        liar.rule = lambda method, path, s=status: Reply(s)
        for call in (*write_calls(store).values(), *read_calls(store).values(), lambda: store.list("packs")):
            liar.seen.clear()
            with pytest.raises(RefusedError):
                call()
            again = [request for request in liar.seen if liar.seen.count(request) > 1]
            assert not again, again
        for kind in write_calls(store):
            assert direct.stat(f"packs/{kind}") is None


LIES = {
    "empty": Reply(200),
    "page": Reply(200, b"<html>please log in</html>", {"Content-Type": "text/html"}),
    "created": Reply(201, b"Created"),
    "elsewhere": Reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_answer_is_an_error_and_never_taken_for_success(web: Place, liar: HttpProxy, lie: str) -> None:
    direct = web.open()
    direct.put("packs/a", [DATA])
    store = web.hasty(liar.port)
    for kind, call in write_calls(store).items():
        liar.rule = lambda method, path: LIES[lie] if method in {"PUT", "POST", "MOVE"} else None
        with pytest.raises(AntsmemError):
            call()
        assert direct.stat(f"packs/{kind}") is None
    liar.rule = lambda method, path: LIES[lie] if method in {"GET", "PROPFIND"} else None
    for call in (*read_calls(store).values(), lambda: store.list("packs")):
        with pytest.raises(AntsmemError):
            call()


def test_an_answer_that_ends_early_is_gone_on_with_or_told(web: Place, liar: HttpProxy) -> None:
    direct = web.open()
    direct.put("packs/a", [DATA])
    store = web.open(port=liar.port, timeout_seconds=PATIENT)
    for call in read_calls(store).values():
        early = [Reply(200, DATA[:400_000], {"ETag": etag_of(web)}, claimed_bytes=len(DATA))]
        liar.rule = lambda method, path, e=early: e.pop() if e and method == "GET" else None
        assert call() == DATA


def etag_of(web: Place) -> str:
    """The ETag of `packs/a`, as its server gives it."""
    store = web.open()
    if web.scheme == "s3":
        found = store.read("packs/a")
        assert found is not None
        return found[1]
    return str(store._client.send("HEAD", "/packs/a").headers["etag"])  # type: ignore[attr-defined]


def test_no_error_tells_a_secret(remote: Place, tcp: TcpProxy) -> None:
    store = remote.hasty(tcp.port)
    encoded = [base64.b64encode(f"u:{secret}".encode()).decode() for secret in remote.secrets]
    assert remote.secrets

    def check(*, with_causes: bool) -> None:
        for call in (*write_calls(store).values(), *read_calls(store).values(), lambda: store.list("packs")):
            with pytest.raises(AntsmemError) as caught:
                call()
            told = f"{caught.value} {caught.value.hint}"
            if with_causes:
                told += "".join(traceback.format_exception(caught.value))
            assert not [secret for secret in (*remote.secrets, *encoded) if secret in told]

    tcp.refuse = True
    tcp.reset()
    check(with_causes=True)
    if remote.scheme != "sftp":
        assert remote.server is not None
        liar = HttpProxy(remote.server.port)
        store = remote.hasty(liar.port)
        echo = "|".join(remote.secrets).encode()  # a server that repeats what it was sent
        for status in (401, 403, 500):
            body = b"<Error><Code>%s</Code><Message>%s</Message></Error>" % (echo, echo)
            liar.rule = lambda method, path, s=status, b=body: Reply(s, b)
            check(with_causes=False)
        liar.close()


def test_control_without_retries_a_bad_line_is_noticed(
    remote: Place, tcp: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.open().put("packs/a", [DATA])
    store = remote.open(port=tcp.port, timeout_seconds=PATIENT)
    for module in (sftp, s3_client, webdav_client):
        monkeypatch.setattr(module, "retried", lambda action, bound: action())
    cut_while_receiving(tcp)
    with pytest.raises(BackendError):
        store.get("packs/a")
