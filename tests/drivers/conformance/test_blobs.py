"""Every blob store gives back exactly what was put, or says that it cannot. Method: one suite for each driver."""

from __future__ import annotations

import hashlib
import os

import pytest
from roles import Backend, backend, drivers

from antsmem.core.errors import IntegrityError, NotFoundError
from antsmem.memory.roles import Blob


@pytest.fixture(params=drivers("blob"))
def made(request: pytest.FixtureRequest) -> Backend:
    return backend("blob", request)


@pytest.mark.parametrize("size", [0, 1, 70_000, 9 << 20])
def test_bytes_come_back_for_every_connection(made: Backend, size: int) -> None:
    blobs: Blob = made.open()
    data = os.urandom(size)
    name = hashlib.sha256(data).hexdigest()
    assert not blobs.has(name)
    blobs.put(name, data)
    blobs.put(name, data)
    again: Blob = made.open()
    assert again.has(name) and again.get(name) == data
    blobs.delete(name)
    blobs.delete(name)
    assert not again.has(name)
    with pytest.raises(NotFoundError):
        again.get(name)
    blobs.close()


def test_a_blob_under_a_wrong_name_is_refused(made: Backend) -> None:
    blobs: Blob = made.open()
    name = hashlib.sha256(b"this").hexdigest()
    with pytest.raises(IntegrityError):
        blobs.put(name, b"that")
    assert not blobs.has(name)
    blobs.close()
