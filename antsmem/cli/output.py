"""What a person or a program sees: the result on stdout, everything else on stderr; rich on a terminal only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from antsmem.core.errors import AntsmemError
from antsmem.core.record import shown

if TYPE_CHECKING:
    from antsmem.cli.veil import Veil
    from antsmem.core.mask import Mask

_PATIENCE_SECONDS: Final = 1.0
_REDRAW_SECONDS: Final = 0.1


class Output:
    """One run's voice. `json`: results are one versioned document; `quiet`: nothing but results and errors."""

    def __init__(self, json: bool, quiet: bool, verbose: bool, no_color: bool) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.no_color = no_color
        self._bar: _Bar | None = None
        self._veil: Veil | None = None

    def hide(self, values: Callable[[], Sequence[tuple[str, bytes]]]) -> None:
        """Mask these names and secrets in all that is written from now on, tracebacks too. They are asked for when
        something is written."""
        if self._veil is None:
            from antsmem.cli.veil import Veil

            self._veil = Veil()
        self._veil.hide(values)

    def mask(self) -> Mask:
        """What masks all that is hidden by now."""
        self.hide(list)
        assert self._veil is not None
        return self._veil.mask()

    def reveal(self, data: bytes) -> None:
        """Write `data` to standard output as it is: for what a person asked to see."""
        if self._veil is None:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        else:
            self._veil.reveal(data)

    def end(self) -> None:
        """Write what is still held back: nothing more comes."""
        if self._veil is not None:
            self._veil.end()

    def result(self, schema: str, value: Any, text: str | Callable[[], str]) -> None:
        """The command's result: `value` as JSON (with `schema`), or `text` for people."""
        if self.json:
            sys.stdout.buffer.write(document(schema, value))
            sys.stdout.flush()
            return
        shown = text if isinstance(text, str) else text()
        if shown:
            sys.stdout.buffer.write((shown.rstrip("\n") + "\n").encode(errors="surrogateescape"))
            sys.stdout.flush()

    def note(self, text: str) -> None:
        """A remark for people."""
        if not self.quiet and not self.json:
            _tell(text)

    def warn(self, text: str) -> None:
        """Something that a person should look at."""
        if not self.json:
            _tell(f"warning: {text}")

    def error(self, error: AntsmemError) -> None:
        """A failure, one line and what helps."""
        if self.json:
            told = {"error": error.slug, "message": str(error), "hint": error.hint}
            self._fail(told, error.exit_code, error.transient)
            return
        hint = f"\n  → {error.hint}" if error.hint else ""
        _tell(f"antsmem: {error}{hint}")

    def interrupted(self, exit_code: int, says: str) -> None:
        """A signal ended it, and what there is to say of that."""
        if self.json:
            self._fail({"error": "interrupted", "message": says, "hint": ""}, exit_code, True)
        else:
            _tell(f"warning: interrupted: {says}")

    @staticmethod
    def _fail(told: Mapping[str, str], exit_code: int, transient: bool) -> None:
        import json

        whole = {"schema": "antsmem.error/1", **told, "exit_code": exit_code, "transient": transient}
        _tell(json.dumps(whole, ensure_ascii=False))

    def progress(self, title: str) -> Callable[[str, int, int], None]:
        """A progress bar on the terminal, for what takes longer than a second; silent where nobody watches."""
        if self.quiet or self.json or not sys.stderr.isatty():
            return lambda _what, _done, _total: None
        started = time.monotonic()

        def step(what: str, done: int, total: int) -> None:
            if self._bar is None and time.monotonic() - started > _PATIENCE_SECONDS:
                self._bar = _Bar(title, self.no_color)
            if self._bar is not None:
                self._bar.step(what, done, total)

        return step

    def close(self) -> None:
        """Leave the terminal as it was, also where something failed under a progress bar."""
        if self._bar is not None:
            self._bar.stop()


def document(schema: str, value: object) -> bytes:
    """A result as one line of JSON."""
    import json

    whole = {"schema": f"antsmem.{schema}/1", **plain(value)}
    # A byte of a path that is no UTF-8 becomes `\udcXX`: valid JSON, and Python's `os.fsencode` undoes it.
    return json.dumps(whole, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


class _Bar:
    """A bar by rich, which is imported only when somebody has waited for a second. It goes when it is full."""

    def __init__(self, title: str, no_color: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True, no_color=no_color)
        self._title = title
        self._progress = Progress(*columns, console=console, transient=True, auto_refresh=False)
        self._task = self._progress.add_task(title)
        self._shown = 0.0
        self._running = False

    def stop(self) -> None:
        """Take the bar away and give the cursor back."""
        if self._running:
            self._progress.stop()
            self._running = False

    def step(self, what: str, done: int, total: int) -> None:
        """Show how far it is, ten times a second at most."""
        now, full = time.monotonic(), bool(total) and done >= total
        if full:
            self.stop()
        elif now - self._shown > _REDRAW_SECONDS:
            self._shown = now
            if not self._running:
                self._progress.start()
                self._running = True
            self._progress.update(
                self._task, description=f"{self._title}: {what}", completed=done, total=total or None, refresh=True
            )


def _tell(text: str) -> None:
    """A line on stderr. Where that cannot be written, as to a log on a full disk, the exit code has to say it."""
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def plain(value: Any) -> Any:
    """`value` as what JSON knows: records as objects, bytes paths as text, sets sorted."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return {name: plain(item) for name, item in shown(value).items()}


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Rows in aligned columns."""
    lines = [header, *rows] if header else list(rows)
    if not lines:
        return ""
    widths = [max(len(row[index]) for row in lines) for index in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in lines
    )


def size(size_bytes: int) -> str:
    """`4.3 MB`: decimal units, as disks are sold."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def ago(seconds: float) -> str:
    """`3 min`, `2 days`: how long, roughly."""
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{max(int(seconds), 0)} s"
