"""Goal: the S3 driver promises only what its store does, leaves no half uploads, and tells what is wrong in words.

Method: moto's S3, behind a proxy where a store must be simpler, slower or more broken than moto is. What every
store must do is in `conformance/`.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import engines
import pytest
from faultproxy import HttpProxy, Reply

from antsmem.core.clock import now_ns
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    ConflictError,
    DriverMissingError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    WouldOverwriteError,
)
from antsmem.drivers.s3 import S3Store

pytestmark = pytest.mark.server

KEYS = {"access_key_id": "any", "secret_access_key": uuid.uuid4().hex, "timeout_seconds": "30"}
BIG = os.urandom((16 << 20) + 5)  # two parts


@pytest.fixture
def bucket(moto: engines.Moto) -> str:
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    keys = {"aws_access_key_id": "admin", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{moto.port}", **keys).create_bucket(Bucket=name)
    return name


@pytest.fixture
def proxy(moto: engines.Moto, closing: engines.Closing) -> HttpProxy:
    return closing(HttpProxy(moto.port))


@pytest.fixture
def store(bucket: str, moto: engines.Moto, closing: engines.Closing) -> S3Store:
    return closing(S3Store.open(f"s3://{bucket}/a/b?endpoint=http://127.0.0.1:{moto.port}", KEYS))


@pytest.fixture
def through(bucket: str, proxy: HttpProxy) -> Iterator[S3Store]:
    """The same place as `store`, reached through `proxy`."""
    store = S3Store.open(f"s3://{bucket}/a/b?endpoint=http://127.0.0.1:{proxy.port}", KEYS)
    yield store
    store.close()


def uploads(store: S3Store) -> int:
    return len(store._client.api.list_multipart_uploads(Bucket=store._bucket).get("Uploads", ()))


def test_settings_may_stand_in_the_url_and_options_go_before_them(bucket: str, moto: engines.Moto) -> None:
    url = f"s3://{bucket}/?endpoint=http://127.0.0.1:1&region=eu-west-1&path_style=yes&timeout_seconds=5"
    store = S3Store.open(url, {**KEYS, "endpoint": f"http://127.0.0.1:{moto.port}"})
    assert store.url == f"s3://{bucket}"
    store.put("repository.json", [b"{}"])
    assert [item.name for item in store.list("")] == ["repository.json"]
    store.close()


def test_an_url_with_a_mistake_is_refused_and_no_key_in_it_repeated() -> None:
    secret = uuid.uuid4().hex
    for url, options in (
        ("s3://", {}),
        ("s3:///a", {}),
        ("s3://[/a", {}),
        (f"s3://AK:{secret}@bucket/a", {}),
        (f"s3://bucket/a?secret_access_key={secret}", {}),
        ("s3://bucket/a?endpiont=http://x", {}),
        ("s3://bucket/a?endpoint=example.org", {}),
        (f"s3://bucket/a?endpoint=http://u:{secret}@h", {}),
        ("s3://bucket/a?append_only=true", {}),
        ("s3://bucket/a", {"access_key_id": "only"}),
        ("s3://bucket/a", {"profile": "no-such-profile"}),
    ):
        with pytest.raises(ConfigError) as caught:
            S3Store.open(url, options)
        assert secret not in f"{caught.value} {caught.value.hint}"


def test_a_store_that_knows_conditions_is_found_out_once_and_without_a_trace(
    through: S3Store, proxy: HttpProxy
) -> None:
    assert through.capabilities.conditional
    asked = len(proxy.seen)
    assert through.capabilities.conditional
    assert len(proxy.seen) == asked
    assert through.list("") == []


def test_a_store_that_ignores_conditions_is_found_out_and_looked_at_first(
    store: S3Store, through: S3Store, proxy: HttpProxy
) -> None:
    proxy.without = {"if-none-match", "if-match"}
    assert not through.capabilities.conditional
    through.put("a", [b"1"], new=True)
    with pytest.raises(WouldOverwriteError):
        through.put("a", [b"2"], new=True)
    found = through.read("a")
    assert found is not None
    through.swap("a", b"3", found[1])
    with pytest.raises(ConflictError):
        through.swap("a", b"4", found[1])
    with pytest.raises(ConflictError):
        through.swap("a", b"4", None)
    assert store.get("a") == b"3"


def test_a_store_that_refuses_conditions_is_looked_at_first(through: S3Store, proxy: HttpProxy) -> None:
    proxy.rule = lambda method, path: Reply(501) if ".antsmem-probe" in path else None
    assert not through.capabilities.conditional


def test_a_store_in_trouble_is_not_taken_for_one_without_conditions(through: S3Store, proxy: HttpProxy) -> None:
    for probe in range(3):
        answers: list[Reply | None] = [Reply(503), *[None] * probe]
        proxy.after = lambda method, path, a=answers: a.pop() if a and "probe" in path else None
        through._conditional = None
        assert through.capabilities.conditional


def test_the_store_tells_the_sha_256_of_what_it_got_in_one_piece(store: S3Store) -> None:
    import hashlib

    store.put("a", [b"x" * 1000])
    store.upload("b", iter([b"x" * 1000]))
    store.upload("c", iter([BIG]))
    expected = hashlib.sha256(b"x" * 1000).hexdigest()
    assert [found.sha256 for name in "abc" if (found := store.stat(name))] == [expected, expected, None]


def test_bytes_that_were_damaged_on_their_way_are_not_given(
    store: S3Store, through: S3Store, proxy: HttpProxy
) -> None:
    data = BIG[: 3 << 20]
    store.put("packs/a", [data])
    answer = store._client.api.get_object(Bucket=store._bucket, Key="a/b/packs/a", ChecksumMode="ENABLED")
    answer["Body"].close()
    headers = {"ETag": answer["ETag"], "x-amz-checksum-sha256": answer["ChecksumSHA256"]}
    damaged = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
    proxy.rule = lambda method, path: Reply(200, damaged, headers) if method == "GET" else None
    with pytest.raises(IntegrityError):
        through.get("packs/a")
    with pytest.raises(IntegrityError):
        b"".join(through.download("packs/a"))


def test_an_upload_in_parts_survives_a_store_in_trouble(
    store: S3Store, through: S3Store, proxy: HttpProxy
) -> None:
    for request in range(4):  # begin, two parts, complete
        seen = 0

        def trouble(method: str, path: str, request: int = request) -> Reply | None:
            nonlocal seen
            seen += 1
            return Reply(503) if seen == request + 1 else None

        for way in ("rule", "after"):
            proxy.heal()
            seen = 0
            setattr(proxy, way, trouble)
            through.upload("cold/a", iter([BIG]))
            assert store.get("cold/a") == BIG
            store.delete("cold/a")


def test_an_upload_that_was_completed_though_the_answer_was_lost_is_done(
    store: S3Store, through: S3Store, proxy: HttpProxy
) -> None:
    def completes(method: str, path: str) -> bool:
        return method == "POST" and "uploadId" in path

    answers = [Reply(503)]  # the first one is lost; then what S3 says of an upload that was completed a while ago
    gone = Reply(404, b"<Error><Code>NoSuchUpload</Code></Error>")
    proxy.rule = lambda method, path: gone if completes(method, path) and not answers else None
    proxy.after = lambda method, path: answers.pop() if completes(method, path) else None
    through.upload("cold/a", iter([BIG]))
    assert store.get("cold/a") == BIG


def test_control_an_upload_that_was_not_completed_is_not_taken_for_done(
    store: S3Store, through: S3Store, proxy: HttpProxy
) -> None:
    store.put("cold/a", [BIG])
    answers = [Reply(404, b"<Error><Code>NoSuchUpload</Code></Error>"), Reply(503)]
    proxy.rule = lambda method, path: (
        answers.pop() if answers and method == "POST" and "uploadId" in path else None
    )
    with pytest.raises(AntsmemError):
        through.upload("cold/a", iter([BIG]))
    assert uploads(store) == 0


def test_an_upload_that_fails_is_aborted(store: S3Store, through: S3Store, proxy: HttpProxy) -> None:
    proxy.rule = lambda method, path: Reply(403) if "partNumber=2" in path else None
    with pytest.raises(RefusedError):
        through.upload("cold/a", iter([BIG]))
    assert store.stat("cold/a") is None
    assert uploads(store) == 0


def test_an_append_only_store_says_so_and_deletes_nothing(bucket: str, moto: engines.Moto) -> None:
    store = S3Store.open(f"s3://{bucket}?append_only=yes&endpoint=http://127.0.0.1:{moto.port}", KEYS)
    store.put("packs/a", [b"x"])
    assert not store.capabilities.deletes
    with pytest.raises(RefusedError, match="append-only"):
        store.delete("packs/a")
    assert store.get("packs/a") == b"x"
    store.close()


def test_a_bucket_that_is_not_there_is_told_as_such(moto: engines.Moto) -> None:
    store = S3Store.open(f"s3://no-such-bucket?endpoint=http://127.0.0.1:{moto.port}", KEYS)
    for call in (
        lambda: store.put("packs/a", [b"x"]),
        lambda: store.upload("packs/a", iter([BIG])),
        lambda: store.get("packs/a"),
        lambda: store.read("packs/a"),
        lambda: store.list("packs"),
    ):
        with pytest.raises(RefusedError, match="NoSuchBucket") as caught:
            call()
        assert "make the bucket" in caught.value.hint
    store.close()


def test_a_wrong_region_is_told_with_the_option_that_sets_it(through: S3Store, proxy: HttpProxy) -> None:
    body = b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>"
    proxy.rule = lambda method, path: Reply(400, body)
    with pytest.raises(RefusedError) as caught:
        through.get("a")
    assert "`region`" in caught.value.hint


def test_without_credentials_it_is_told_where_they_go(
    moto: engines.Moto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    store = S3Store.open(f"s3://bucket?endpoint=http://127.0.0.1:{moto.port}", {})
    with pytest.raises(RefusedError) as caught:
        store.get("a")
    assert "`access_key_id`" in caught.value.hint
    store.close()


def test_an_object_replaced_while_it_is_downloaded_is_told(
    store: S3Store, through: S3Store, proxy: HttpProxy
) -> None:
    store.put("packs/a", [BIG[: 3 << 20]])
    found = store.read("packs/a")
    assert found is not None
    cut = [Reply(200, BIG[: 1 << 20], {"ETag": found[1]}, claimed_bytes=3 << 20)]
    proxy.rule = lambda method, path: cut.pop() if cut and method == "GET" else None
    flow = through.download("packs/a")
    assert next(flow) == BIG[: 1 << 20]
    store.put("packs/a", [BIG[1 : 3 << 20]])
    with pytest.raises(ConflictError):
        list(flow)


def test_sweep_aborts_unfinished_uploads_of_this_repository_only(store: S3Store) -> None:
    for key in ("a/b/cold/a", "a/bc/cold/a", "a/b-too"):
        store._client.api.create_multipart_upload(Bucket=store._bucket, Key=key)
    assert store.sweep(now_ns()) == 1
    assert uploads(store) == 2


def test_an_endpoint_that_is_something_else_is_told(through: S3Store, proxy: HttpProxy) -> None:
    through._client._bound = 0.1
    proxy.rule = lambda method, path: Reply(200, b"<html>a page</html>", {"Content-Type": "text/html"})
    for call in (
        lambda: through.get("a"),
        lambda: through.list(""),
        lambda: through.sweep(0),
        lambda: through.stat("a"),
    ):
        with pytest.raises(BackendError):
            call()


@pytest.mark.parametrize("onward", ["", "<NextContinuationToken>a</NextContinuationToken>"])
def test_a_listing_that_never_gets_on_ends(through: S3Store, proxy: HttpProxy, onward: str) -> None:
    """A store that says there is more, and not where; or that gives the same part whatever it is asked for."""
    part = f"<ListBucketResult><IsTruncated>true</IsTruncated>{onward}</ListBucketResult>".encode()
    proxy.rule = lambda method, path: Reply(200, part, {"Content-Type": "application/xml"})
    with pytest.raises(BackendError, match="again and again" if onward else "no NextContinuationToken"):
        through.list("packs")


def test_a_missing_object_is_told_from_a_missing_bucket(store: S3Store) -> None:
    with pytest.raises(NotFoundError):
        store.get("packs/a")


def test_without_its_library_the_line_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(DriverMissingError) as caught:
        S3Store.open("s3://bucket", {})
    assert caught.value.hint == "pip install 'antsmem[s3]'"
