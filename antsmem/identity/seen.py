"""What this host saw last of other identities and of relays, kept where no relay can reach.

A log that is shorter than one seen before is a rollback, another of the same length a fork: both stop everything,
and what was seen is kept as evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from antsmem.core import canonical
from antsmem.core.clock import file_stamp
from antsmem.core.disk import locked_within, make_private_dir, read_file, write_file
from antsmem.core.errors import IntegrityError, NotFoundError, RollbackError, WouldOverwriteError
from antsmem.core.record import record
from antsmem.identity.fields import Fields, to_base64
from antsmem.identity.log import IdentityLog
from antsmem.identity.multikey import multikey, parse_multikey

_LIMIT: Final = 64 << 10
_WAIT_SECONDS: Final = 20.0


@record
class Seen:
    """The memory in directory `folder`: one file an identity, one a relay."""

    folder: Path

    def look(self, log: IdentityLog, statement: bytes, source: str, now_ns: int) -> None:
        """Compare the verified `log`, which `source` served with the signed word `statement` (may be empty), with
        what was seen before, and remember it if it is newer. `RollbackError`: it is shorter, or another one."""
        name = f"identity-{log.scid}"
        if not self._is_newer(log, statement, source, now_ns):
            return
        with locked_within(_WAIT_SECONDS, self.folder / f"{name}.lock", f"`{self._path(name)}` is being written"):
            if self._is_newer(log, statement, source, now_ns):  # another process may have seen more meanwhile
                found = {"head": log.head, "version": log.version, "source": source}
                self._write(name, {**found, "statement": to_base64(statement)})

    def _is_newer(self, log: IdentityLog, statement: bytes, source: str, now_ns: int) -> bool:
        before = self._read(f"identity-{log.scid}")
        if before is None:
            return True
        try:
            log.refuse_rollback(before.text("head"))
        except RollbackError as error:
            kept = self._evidence(log, statement, source, now_ns)
            raise RollbackError(
                f"`{source}`: {error}", hint=f"trust neither; what was served is kept in `{kept}`"
            ) from None
        return before.number("version") < log.version

    def relay_key(self, url: str, public: bytes) -> None:
        """Remember the key of the relay at `url` the first time; `IntegrityError` if it is another one later."""
        name = f"relay-{url.partition('://')[2].replace(':', '_')}"
        before = self._read(name)
        if before is None:
            try:
                self._write(name, {"url": url, "key": multikey(public)}, new=True)
                return
            except WouldOverwriteError:  # somebody else was first
                before = self._read(name)
        assert before is not None
        if parse_multikey(before.text("key")) != public:
            raise IntegrityError(
                f"relay `{url}` signs with another key than before: another machine answers, or it lost its key",
                hint=f"ask its operator; to trust the new key, remove `{self._path(name)}`",
            )

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> Fields | None:
        try:
            return Fields(canonical.loads(read_file(self._path(name), _LIMIT), _LIMIT), "what was seen")
        except NotFoundError:
            return None
        except IntegrityError:
            raise IntegrityError(
                f"`{self._path(name)}` is damaged", hint="look at what it is about, then remove it"
            ) from None

    def _write(self, name: str, value: Mapping[str, Any], *, new: bool = False) -> None:
        make_private_dir(self.folder)
        write_file(self._path(name), [canonical.dumps(value)], new=new)

    def _evidence(self, log: IdentityLog, statement: bytes, source: str, now_ns: int) -> Path:
        """Keep what contradicts the memory, beside it."""
        seen = read_file(self._path(f"identity-{log.scid}"), _LIMIT)
        path = self.folder / f"evidence-{log.scid}-{file_stamp(now_ns)}.json"
        body = {
            "source": source,
            "log": log.text.decode(),
            "statement": to_base64(statement),
            "seen": to_base64(seen),
        }
        write_file(path, [canonical.dumps(body)])
        return path
