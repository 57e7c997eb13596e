"""A repository in a bucket of Amazon S3 or of anything that speaks its protocol."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from typing import Any, Final, Self, TypeAlias

from antsmem.backup.store import Capabilities, Stored, check_name, check_options, is_part, yes_or_no
from antsmem.core.disk import Buffer
from antsmem.core.errors import (
    AntsmemError,
    BackendError,
    ConfigError,
    ConflictError,
    NotFoundError,
    RefusedError,
    WouldOverwriteError,
)
from antsmem.drivers.s3_client import S3Client, code, status

Answer: TypeAlias = dict[str, Any]
Listing: TypeAlias = list[Stored]

_SECRET: Final = ("access_key_id", "secret_access_key", "session_token")  # never in a URL
_PLAIN: Final = ("append_only", "ca_file", "endpoint", "path_style", "profile", "region", "timeout_seconds")
_PART_BYTES: Final = 16 << 20  # of a multipart upload; S3 allows 10,000 of them, so 156 GiB an object
_CHUNK_BYTES: Final = 1 << 20
_CONDITIONS_PROBE: Final = ".antsmem-probe"


class _Changed(Exception):  # noqa: N818
    """A precondition of a write did not hold."""


class S3Store:
    """A bucket, or a prefix in one, as a store. A version token is the ETag."""

    local = False

    def __init__(self, url: str, place: tuple[str, str], settings: Mapping[str, str]) -> None:
        self.url = url
        self._bucket, self._prefix = place
        self._client = S3Client(url, settings)
        self._append_only = yes_or_no(settings, "append_only", default=False)
        # Amazon decides conditions on writes itself; others are tried
        self._conditional: bool | None = None if "endpoint" in settings else True

    @classmethod
    def open(cls, url: str, options: Mapping[str, str]) -> Self:
        """The store at `s3://bucket/prefix?endpoint=…&region=…`. Settings that are no secrets may stand in the
        URL or in `options`. Without keys, boto3 looks where every AWS tool does. Does not connect yet."""
        from urllib.parse import parse_qsl, unquote, urlsplit

        check_options("s3", options, (*_PLAIN, *_SECRET))
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if "@" in parts.netloc or not parts.netloc:
            raise ConfigError("an `s3` URL is `s3://bucket/prefix`: it carries no keys")
        asked = dict(parse_qsl(parts.query))
        check_options("s3", asked, _PLAIN)
        settings = {**asked, **options}
        prefix = unquote(parts.path).strip("/")
        shown = f"s3://{parts.netloc}/{prefix}".rstrip("/")
        return cls(shown, (parts.netloc, prefix + "/" if prefix else ""), settings)

    @property
    def capabilities(self) -> Capabilities:
        """`conditional` is found out by trying on a scratch object, once, where it is not known."""
        if self._conditional is None:
            self._conditional = self._try_conditions()
        return Capabilities(conditional=self._conditional is True, deletes=not self._append_only)

    def put(self, name: str, parts: Sequence[Buffer], *, new: bool = False, durable: bool = True) -> None:
        """Write `parts` to `name`, see `Store.put`. What S3 has taken is durable, wanted or not."""
        del durable
        if not new:
            self._put(check_name(name), b"".join(parts), {})
            return
        exists = WouldOverwriteError(f"`{name}` in `{self.url}` exists already: not written")
        conditional = self.capabilities.conditional
        if not conditional and self.stat(name) is not None:
            raise exists
        try:
            self._put(check_name(name), b"".join(parts), {"IfNoneMatch": "*"} if conditional else {})
        except _Changed:
            raise exists from None

    def upload(self, name: str, chunks: Iterator[Buffer]) -> None:
        """Write a stream to `name`, see `Store.upload`: in one request if it is short, else in parts of 16 MiB
        that become an object together or not at all."""
        key = self._key(name)
        parts = _parts(chunks)
        first = next(parts, b"")
        second = next(parts, None)
        if second is None:
            self._put(name, first, {})
            return
        begun = self._client.run(
            lambda: self._client.api.create_multipart_upload(**key, ChecksumAlgorithm="SHA256"), "write", name
        )
        whole = {**key, "UploadId": str(self._told(begun, "UploadId"))}
        done: list[dict[str, Any]] = []
        try:
            for part in chain((first, second), parts):
                done.append(self._put_part(whole, len(done) + 1, part, name))
            self._complete(whole, done, name)
        except BaseException:
            with suppress(AntsmemError):
                self._client.run(lambda: self._client.api.abort_multipart_upload(**whole), "abort", name)
            raise

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Bytes of `name`, see `Store.get`."""
        if length == 0:
            if self.stat(name) is None:
                raise NotFoundError(f"`{self.url}` holds no `{name}`")
            return b""
        return self._client.run(lambda: self._fetch(name, start, length), "read", name)[0]

    def download(self, name: str) -> Iterator[bytes]:
        """Bytes of `name` in chunks, see `Store.download`; goes on after a lost connection."""
        key = self._key(name)
        body: Any = None
        etag = ""
        at = size = 0

        def step() -> bytes:
            nonlocal body, etag, size
            if body is None and etag and at == size:
                return b""  # only the end of the answer was lost
            if body is None:
                ranged = {"Range": f"bytes={at}-", "IfMatch": etag} if at else {"ChecksumMode": "ENABLED"}
                try:
                    answer = self._client.api.get_object(**key, **ranged)
                except self._client.refused as error:
                    if status(error) == 412:
                        raise ConflictError(f"`{name}` in `{self.url}` was replaced while it was read") from error
                    raise
                etag, size = str(self._told(answer, "ETag")), size or int(answer["ContentLength"])
                if at and answer.get("ContentRange") != f"bytes {at}-{size - 1}/{size}":
                    raise BackendError(f"`{self.url}` answered with other bytes than it was asked for")
                body = answer["Body"]
            try:
                return bytes(body.read(_CHUNK_BYTES))
            except BaseException:
                body.close()
                body = None
                raise

        try:
            while data := self._client.run(step, "read", name):
                at += len(data)
                yield data
        finally:
            if body is not None:
                body.close()

    def stat(self, name: str) -> Stored | None:
        """Size, time (whole seconds) and SHA-256 of `name`, None if there is none."""
        key = self._key(name)
        try:
            answer = self._client.run(
                lambda: self._client.api.head_object(**key, ChecksumMode="ENABLED"), "read", name
            )
        except NotFoundError:
            return None
        self._told(answer, "ETag")
        size, moment = self._told(answer, "ContentLength"), self._told(answer, "LastModified")
        return Stored(name, int(size), _ns(moment), _sha256(answer))

    def list(self, folder: str) -> Listing:
        """The objects in `folder`, see `Store.list`."""
        prefix = check_name(folder) + "/" if folder else ""
        return [
            Stored(prefix + last, int(item["Size"]), _ns(item["LastModified"]))
            for item in self._objects(self._prefix + prefix)
            if is_part(last := str(item["Key"])[len(self._prefix + prefix) :])
        ]

    def names(self, folder: str) -> Sequence[str]:
        """The names in `folder`, see `Store.names`."""
        return [item.name for item in self.list(folder)]

    def delete(self, name: str) -> None:
        """Remove `name` if it is there."""
        key = self._key(name)
        if self._append_only:
            raise RefusedError(f"`{self.url}` is append-only: `{name}` stays")
        with suppress(NotFoundError):
            self._client.run(lambda: self._client.api.delete_object(**key), "remove", name)

    def read(self, name: str) -> tuple[bytes, str] | None:
        """Bytes and version token of `name`, None if there is none."""
        check_name(name)
        try:
            return self._client.run(lambda: self._fetch(name, 0, None), "read", name)
        except NotFoundError:
            return None

    def swap(self, name: str, data: Buffer, expected: str | None) -> None:
        """Replace `name` if its token is `expected`, see `Store.swap`."""
        try:
            if expected is None:
                self.put(name, [data], new=True)
            elif self.capabilities.conditional:
                self._put(check_name(name), bytes(data), {"IfMatch": expected})
            else:
                found = self.read(name)
                if found is None or found[1] != expected:
                    raise _Changed
                self._put(name, bytes(data), {})
        except (WouldOverwriteError, _Changed):
            raise ConflictError(f"`{name}` in `{self.url}` was changed by somebody else") from None

    def sweep(self, older_than_ns: int) -> int:
        """Abort unfinished uploads begun before `older_than_ns`; how many."""
        where = {"Bucket": self._bucket, "Prefix": self._prefix}
        count = 0
        more: Answer = {}
        while True:
            page = self._client.run(partial(self._client.api.list_multipart_uploads, **where, **more), "sweep", "")
            for item in page.get("Uploads", ()):
                if _ns(item["Initiated"]) < older_than_ns:
                    whole = {"Bucket": self._bucket, "Key": item["Key"], "UploadId": item["UploadId"]}
                    with suppress(NotFoundError):
                        self._client.run(partial(self._client.api.abort_multipart_upload, **whole), "sweep", "")
                    count += 1
            if not self._told(page, "IsTruncated"):
                return count
            more = self._onward(page, more, "KeyMarker", "UploadIdMarker")

    def close(self) -> None:
        """End the connections."""
        self._client.api.close()

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_name(name)}

    def _put(self, name: str, data: bytes, condition: Mapping[str, str]) -> None:
        """A PUT; `_Changed` if its condition does not hold."""
        unsure = False  # whether an earlier try may have done it, its answer lost

        def once() -> None:
            nonlocal unsure
            before, unsure = unsure, True
            try:
                self._put_once(self._key(name), data, condition)
            except _Changed:
                if not before or not self._holds(name, data):
                    raise

        self._client.run(once, "write", name)

    def _put_once(self, key: Mapping[str, str], data: bytes, condition: Mapping[str, str]) -> None:
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        sums = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": digest}
        try:
            answer = self._client.api.put_object(**key, Body=data, **sums, **condition)
        except self._client.refused as error:
            if condition and status(error) in {404, 412} and code(error) != "NoSuchBucket":
                raise _Changed from error
            raise
        self._told(answer, "ETag")
        if answer.get("ChecksumSHA256", digest) != digest:
            raise BackendError(f"`{self.url}` took other bytes than were sent")

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            return self._fetch(name, 0, None)[0] == data
        except self._client.refused as error:
            if status(error) == 404:
                return False
            raise

    def _put_part(self, whole: Mapping[str, str], number: int, part: bytes, name: str) -> Answer:
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        sums = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": digest}
        send = partial(self._client.api.upload_part, **whole, PartNumber=number, Body=part, **sums)
        etag = self._client.run(lambda: self._told(send(), "ETag"), "write", name)
        return {"PartNumber": number, "ETag": etag, "ChecksumSHA256": digest}

    def _complete(self, whole: Mapping[str, str], parts: Sequence[Answer], name: str) -> None:
        key = self._key(name)
        tries = 0

        def once() -> None:
            nonlocal tries
            tries += 1
            try:
                answer = self._client.api.complete_multipart_upload(**whole, MultipartUpload={"Parts": parts})
            except self._client.refused as error:
                # an earlier try may have done it, its answer lost: then the upload is no more
                if tries > 1 and code(error) == "NoSuchUpload" and self._is_made_of(key, len(parts)):
                    return
                raise
            self._told(answer, "ETag")

        self._client.run(once, "write", name)

    def _is_made_of(self, key: Mapping[str, str], parts: int) -> bool:
        return str(self._told(self._client.api.head_object(**key), "ETag")).endswith(f'-{parts}"')

    def _fetch(self, name: str, start: int, length: int | None) -> tuple[bytes, str]:
        """Bytes and ETag of `name`; one request."""
        ranged = start > 0 or length is not None
        last = "" if length is None else str(start + length - 1)
        extra = {"Range": f"bytes={start}-{last}"} if ranged else {"ChecksumMode": "ENABLED"}
        try:
            answer = self._client.api.get_object(**self._key(name), **extra)
        except self._client.refused as error:
            if ranged and status(error) == 416:  # nothing there from `start` on
                return b"", ""
            raise
        with closing(answer["Body"]) as body:  # (as a context manager it would give the stream without its checks)
            data = bytes(body.read())
        if ranged and not str(answer.get("ContentRange")).startswith(f"bytes {start}-{start + len(data) - 1}/"):
            raise BackendError(f"`{self.url}` answered with other bytes of `{name}` than it was asked for")
        return data, str(self._told(answer, "ETag"))

    def _objects(self, prefix: str) -> Iterator[Answer]:
        where = {"Bucket": self._bucket, "Prefix": prefix, "Delimiter": "/"}
        more: Answer = {}
        while True:
            page = self._client.run(partial(self._client.api.list_objects_v2, **where, **more), "list", prefix)
            yield from page.get("Contents", ())
            if not self._told(page, "IsTruncated"):
                return
            more = self._onward(page, more, "ContinuationToken")

    def _onward(self, page: Answer, before: Answer, *marks: str) -> Answer:
        """Where the listing goes on after `page`, which was asked for by `before`."""
        more = {mark: self._told(page, f"Next{mark}") for mark in marks}
        if more == before:
            raise BackendError(f"`{self.url}` gives the same part of a listing again and again")
        return more

    def _try_conditions(self) -> bool | None:
        """Whether the store decides If-None-Match and If-Match on writes, seen on an object kept for this; None
        if it refuses to tell."""
        key = {"Bucket": self._bucket, "Key": self._prefix + _CONDITIONS_PROBE}

        def holds(condition: Mapping[str, str]) -> bool:
            try:
                self._client.run(partial(self._put_once, key, b"", condition), "write", _CONDITIONS_PROBE)
            except _Changed:
                return False
            return True

        try:
            holds({"IfNoneMatch": "*"})
            return not holds({"IfNoneMatch": "*"}) and not holds({"IfMatch": f'"{"0" * 32}"'})
        except RefusedError:
            return None

    def _told(self, answer: Mapping[str, Any], field: str) -> Any:
        """`field` of `answer`; one that has none comes from something else than S3, such as a proxy."""
        if answer.get(field) in {None, ""}:
            raise BackendError(f"what answers at `{self.url}` is no S3: no {field} in its answer")
        return answer[field]


def _parts(chunks: Iterator[Buffer]) -> Iterator[bytes]:
    """`chunks` cut and joined to parts of 16 MiB; the last one is shorter."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        while len(rest) >= _PART_BYTES:
            yield bytes(rest[:_PART_BYTES])
            del rest[:_PART_BYTES]
    if rest:
        yield bytes(rest)


def _ns(moment: Any) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def _sha256(answer: Mapping[str, Any]) -> str | None:
    """The checksum of the whole object in hex. That of an upload in parts, which has a dash in its ETag, is of
    the parts' checksums."""
    text = str(answer.get("ChecksumSHA256", ""))
    if answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "-" in answer["ETag"] or len(text) != 44:
        return None
    return base64.b64decode(text).hex()
