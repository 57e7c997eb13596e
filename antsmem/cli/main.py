"""Start here: find the command that was asked for, build only that, turn its errors into exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from antsmem.cli.context import Context, Options
from antsmem.core.disk import disk_error
from antsmem.core.errors import AntsmemError, DiskError, UsageError

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "init": "create",
    "backup": "backup",
    "snapshots": "snapshots",
    "restore": "restore",
    "recover": "recover",
    "check": "check",
    "prune": "prune",
    "forget": "prune",
    "ls": "browse",
    "find": "browse",
    "show": "browse",
    "diff": "history",
    "repository": "repository",
    "secret": "secret",
    "waive": "waive",
    "exec": "exec",
    "scan": "scan",
    "log": "log",
    "now": "now",
    "guard": "guard",
    "history": "history",
    "undo": "history",
    "watch": "watch",
    "status": "status",
    "doctor": "doctor",
    "heartbeat": "heartbeat",
    "config": "config",
    "identity": "identity",
    "recovery": "recovery",
    "epoch": "epoch",
    "keys": "keys",
    "relay": "relay",
    "once": "once",
    "migrate": "migrate",
    "migrate-test": "migrate_test",
    "report": "report",
    "wake": "wake",
    "compact": "compact",
    "sync": "sync",
    "backend": "backend",
    "events": "events",
}
"""Command → its module in `antsmem.cli.commands`, in the order of `--help`."""

_FLAGS = {"--json": "json", "-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"}
_FLAGS["--no-input"] = "no_input"


class Interrupted(BaseException):
    """A signal asked us to end: unwinds everything, so that locks and temporary files go. On its way it may learn
    what there is to say of it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        self.says = "nothing is left half done: the same command goes on, or begins anew"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The program. Exits with the code that the error tree names."""
    gc.disable()  # short-lived, and cyclic garbage is rare: collecting would cost more than it frees
    _open_standard_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        options, rest = global_options(words)
        context = Context(options)
    except AntsmemError as error:
        Context(Options(json="--json" in words)).output.error(error)
        sys.exit(error.exit_code)
    code = 1
    try:
        code = run(context, rest)
    except AntsmemError as error:
        if error.hint == UsageError.hint and rest[:1] and rest[0] in COMMANDS:
            error.hint = f"see `antsmem {rest[0]} --help`"
        context.output.close()
        context.output.error(error)
        code = error.exit_code
    except Interrupted as signalled:
        context.output.close()
        code = signalled.exit_code
        context.output.interrupted(code, signalled.says)
    except BrokenPipeError:  # whoever read our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as trouble:
        code = _disk_trouble(context, trouble)
    finally:  # typer exits by itself
        _let_out(context)
    sys.exit(code)


def _open_standard_streams() -> None:
    """What was closed before we were started leads nowhere: else the next file that is opened got its number, and
    with it what we print."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


def _let_out(context: Context) -> None:
    """Write what the mask still holds back. Who does not read it any more does not miss it."""
    try:
        context.output.end()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _disk_trouble(context: Context, trouble: OSError) -> int:
    """Tell of a disk that failed where no room of ours expects it, as under a redirected output; the exit code.
    Any other trouble is a bug, and is raised."""
    error = disk_error("use", trouble.filename or "standard output", trouble)
    if not isinstance(error, DiskError):
        raise trouble
    context.output.close()
    context.output.error(error)
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return error.exit_code


def run(context: Context, words: list[str]) -> int:
    """Run the command in `words`; its exit code."""
    if words == ["--version"]:
        from antsmem import __version__

        print(f"antsmem {__version__}")  # noqa: T201
        return 0
    os.umask(0o077)
    if words[:2] == ["secret", "get"] and len(words) == 3 and words[2][:1] != "-":
        from antsmem.cli.get import get_secret

        get_secret(context, words[2])  # scripts call this often: what parses options is most of the time
        return 0
    if words == ["backup"]:  # what cron calls: there is nothing to parse
        from antsmem.cli.hourly import back_up

        return back_up(context)
    if words == ["heartbeat"]:  # so does it here
        from antsmem.cli.wakes import wake_up

        return wake_up(context)
    if words == ["sync"]:
        from antsmem.cli.synced import sync_now

        return sync_now(context)
    if words and words[0] in COMMANDS:
        return _call(single(words[0]), words[1:], f"antsmem {words[0]}", context)
    return _call(everything(), words, "antsmem", context)


def _call(app: typer.Typer, words: list[str], name: str, context: Context) -> int:
    """Run `app`; its exit code. What is wrong with a call is told by typer, to programs by us."""
    import typer

    wrong_call: Any = typer.BadParameter.__mro__[1]  # what an unknown option raises too; typer has no name for it
    try:
        return app(words, prog_name=name, obj=context, standalone_mode=False) or 0
    except wrong_call as error:
        if context.options.json:
            raise UsageError(error.format_message(), hint=f"see `{name} --help`") from None
        error.show()
        return int(error.exit_code)
    except typer.Abort:
        raise UsageError("the input ended where an answer was asked for", hint="give it, or a file") from None
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer takes that for itself, and says 1
            raise ended.__context__ from None
        raise


def single(name: str) -> typer.Typer:
    """An application of one command: the others are not even imported."""
    import typer

    module = import_module(f"antsmem.cli.commands.{COMMANDS[name]}")
    if hasattr(module, "app"):
        group: typer.Typer = module.app
        return group
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name)(getattr(module, name.replace("-", "_")))
    return app


def everything() -> typer.Typer:
    """The application with all commands: for `--help`, shell completion, and what is not a command."""
    import typer

    app = typer.Typer(
        name="antsmem",
        help="Back up an AI agent's files, lose the machine, bring the agent back.",
        epilog="Anywhere: -C PATH (the workspace), --json, -q, -v, --no-input. Version: antsmem --version",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for name, place in COMMANDS.items():
        module = import_module(f"antsmem.cli.commands.{place}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name.replace("-", "_")))
    return app


def global_options(words: Sequence[str]) -> tuple[Options, list[str]]:
    """Take the global options out of `words`: they may stand before or behind the command."""
    given: dict[str, Any] = {}
    rest: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "--":
            rest += [word, *words]
            break
        if word in _FLAGS:
            given[_FLAGS[word]] = True
        elif word in {"-C", "--workspace"}:
            if not words:
                raise UsageError(f"`{word}` needs a path")
            given["workspace"] = words.pop(0)
        elif word.startswith("--workspace="):
            given["workspace"] = word.partition("=")[2]
        else:
            rest.append(word)
    return Options(**given), rest


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)
