"""How each agent program is run for one turn: its command line, how it says its last words and what it cost.

The prompt always comes on standard input. Command lines come from the operator alone; a workspace names none. The
formats are those of each program's own documentation of its non-interactive mode:

    claude    one JSON object: result, is_error, total_cost_usd, usage (Claude Code, "headless")
    codex     one JSON event a line: item.completed with an agent_message, turn.completed with usage (codex exec)
    openclaw  one JSON object: payloads with text, meta.agentMeta.usage (openclaw agent)
    hermes    the last message as text (hermes chat --quiet)
    llm       the last message as text, the tokens on standard error (llm --usage)
    shell     any program: what it prints is what it says
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from antsmem.core import canonical
from antsmem.core.config import ProgramConfig
from antsmem.core.errors import ConfigError, IntegrityError
from antsmem.core.record import field, record

Preset: TypeAlias = Literal["claude", "codex", "openclaw", "hermes", "llm", "shell"]
PRESETS: Final[tuple[Preset, ...]] = ("claude", "codex", "openclaw", "hermes", "llm", "shell")
TIMEOUT_SECONDS: Final = 600.0

_JSON_BYTES: Final = 8 << 20
_LLM_USAGE: Final = re.compile(r"^Token usage: (?:([\d,]+) input)?(?:, )?(?:([\d,]+) output)?", re.MULTILINE)
_EVERYWHERE: Final = (
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE LC_* TZ TMPDIR TERM XDG_* SSL_CERT_FILE SSL_CERT_DIR "
    "NODE_EXTRA_CA_CERTS HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy "
    "DBUS_SESSION_BUS_ADDRESS ANTSMEM_WORKSPACE ANTSMEM_RUN"
)


@record
class Program:
    """A preset: what is run, which variables it gets besides those that all get, and the options of `argv` that
    `--help` of `probe` must name."""

    argv: tuple[str, ...]
    environment: tuple[str, ...] = ()
    probe: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


PROGRAMS: Final[Mapping[Preset, Program]] = {
    "claude": Program(
        (
            "claude",
            "-p",
            "--output-format",
            "json",
            "--allowedTools",
            "Bash(antsmem report *),Bash(antsmem log *)",
        ),
        ("ANTHROPIC_*", "CLAUDE_*"),
        ("claude", "--help"),
        ("-p", "--output-format", "--allowedTools"),
    ),
    "codex": Program(
        ("codex", "exec", "--json", "--skip-git-repo-check", "--sandbox", "workspace-write", "-"),
        ("CODEX_*", "OPENAI_*"),
        ("codex", "exec", "--help"),
        ("--json", "--skip-git-repo-check", "--sandbox"),
    ),
    "openclaw": Program(
        ("openclaw", "agent", "--agent", "main", "--local", "--json", "--message-file", "/dev/stdin"),
        ("OPENCLAW_*",),
        ("openclaw", "agent", "--help"),
        ("--agent", "--local", "--json", "--message-file"),
    ),
    "hermes": Program(
        ("hermes", "chat", "--query-file", "-", "--quiet", "--source", "tool"),
        ("HERMES_*",),
        ("hermes", "chat", "--help"),
        ("--query-file", "--quiet", "--source"),
    ),
    "llm": Program(
        ("llm", "prompt", "--usage"),
        ("LLM_*", "OPENAI_API_KEY"),
        ("llm", "prompt", "--help"),
        ("--usage",),
    ),
    "shell": Program(()),
}


@record
class AgentCommand:
    """A program to run for one turn: `environment` is all that it gets, besides what the heartbeat adds."""

    preset: Preset
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    prompt_on_stdin: bool = True
    timeout_seconds: float = TIMEOUT_SECONDS


@record
class Said:
    """What a turn ended with: the agent's last message, and what it cost as far as the program tells: USD, tokens
    read and written. `failed`: the program says that the turn failed, whatever its exit code."""

    text: str
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    failed: bool = False


def preset_of(settings: ProgramConfig) -> Preset:
    """The preset that the operator chose. `ConfigError` where there is none, or an unknown one."""
    if not settings.preset:
        raise ConfigError(
            "no agent is configured: nobody to give the tasks to",
            hint="write `agent: {preset: claude}` into ~/.config/antsmem/config.yaml",
        )
    preset = next((known for known in PRESETS if known == settings.preset), None)
    if preset is None:
        raise ConfigError(
            f"`{settings.preset}` is no agent preset", hint=f"there are {', '.join(PRESETS)}; see `agent.preset`"
        )
    return preset


def agent_command(settings: ProgramConfig, environment: Mapping[str, str], own_folder: str = "") -> AgentCommand:
    """The command that the operator's `agent:` means, for one turn. `environment` is that of antsmem itself, of
    which the program gets a part; `own_folder`, where `antsmem` lies, is the last place on its PATH."""
    preset = preset_of(settings)
    program = PROGRAMS[preset]
    argv = settings.command or program.argv
    if not argv:
        raise ConfigError(
            f"`agent.preset: {preset}` needs a `command`", hint="agent: {preset: shell, command: [./agent]}"
        )
    wanted = (*_EVERYWHERE.split(), *program.environment, *settings.environment)
    given = {name: value for name, value in environment.items() if _is_wanted(name, wanted)}
    folders = [folder for folder in given.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":") if folder]
    if own_folder and own_folder not in folders:
        folders.append(own_folder)
    given["PATH"] = ":".join(folders)
    return AgentCommand(preset, argv, given, timeout_seconds=settings.timeout_seconds or TIMEOUT_SECONDS)


def last_words(preset: Preset, stdout: bytes, stderr: bytes) -> Said:
    """What the program printed, understood as that of `preset`. Never fails: what cannot be read is a text."""
    match preset:
        case "claude":
            said = _claude(stdout)
        case "codex":
            said = _codex(stdout)
        case "openclaw":
            said = _openclaw(stdout) or _openclaw(stderr)
        case "llm":
            said = _llm(stdout, stderr)
        case _:
            said = None
    return said or Said(stdout.decode("utf-8", "replace"))


def _is_wanted(name: str, wanted: tuple[str, ...]) -> bool:
    return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in wanted)


def _claude(stdout: bytes) -> Said | None:
    found = _object(stdout)
    if found is None or found.get("type") != "result":
        return None
    usage = _member(found, "usage")
    read = [_count(usage.get(name)) for name in _CLAUDE_INPUT]
    return Said(
        _text(found.get("result")),
        _cost(found.get("total_cost_usd")),
        sum(count for count in read if count is not None) if any(count is not None for count in read) else None,
        _count(usage.get("output_tokens")),
        failed=found.get("is_error") is True,
    )


_CLAUDE_INPUT: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def _codex(stdout: bytes) -> Said | None:
    text, read, written, failed, seen = "", None, None, False, False
    for event in _events(stdout):
        kind, item = event.get("type"), _member(event, "item")
        seen = True
        if kind == "item.completed" and item.get("type") == "agent_message":
            text = _text(item.get("text"))
        elif kind == "turn.completed":
            usage = _member(event, "usage")
            read, written = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
        elif kind == "turn.failed":
            failed = True
    return Said(text, None, read, written, failed) if seen else None


def _openclaw(printed: bytes) -> Said | None:
    found = _object(printed)
    if found is None:
        return None
    result = _member(found, "result") or found  # through the gateway it is wrapped
    payloads = result.get("payloads")
    if not isinstance(payloads, list):
        return None
    texts = [_text(each.get("text")) for each in payloads if isinstance(each, dict)]
    meta = _member(result, "meta")
    usage = _member(_member(meta, "agentMeta"), "usage")
    failed = bool(meta.get("error")) or meta.get("aborted") is True or found.get("status") in {"error", "timeout"}
    return Said("\n".join(texts), None, _count(usage.get("input")), _count(usage.get("output")), failed)


def _llm(stdout: bytes, stderr: bytes) -> Said:
    counts = _LLM_USAGE.findall(stderr.decode("utf-8", "replace"))
    read, written = counts[-1] if counts else ("", "")
    return Said(stdout.decode("utf-8", "replace"), None, _digits(read), _digits(written))


def _object(printed: bytes) -> dict[str, Any] | None:
    """The JSON object in what was printed, where lines of text may stand before and behind it."""
    start = 0 if printed[:1] == b"{" else printed.find(b"\n{") + 1
    ends = [len(printed), printed.rfind(b"\n}") + 2]
    for end in ends if printed[start : start + 1] == b"{" else ():
        try:
            found = canonical.loads(printed[start:end], _JSON_BYTES, fractions=True)
        except IntegrityError:
            continue
        return found if isinstance(found, dict) else None
    return None


def _events(printed: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines that were printed."""
    for line in printed.split(b"\n"):
        if line[:1] != b"{":
            continue
        try:
            found = canonical.loads(line, _JSON_BYTES, fractions=True)
        except IntegrityError:
            continue
        if isinstance(found, dict):
            yield found


def _member(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _digits(text: str) -> int | None:
    return int(text.replace(",", "")) if 0 < len(text) < 20 else None


def _cost(value: object) -> float | None:
    """A number, which is a text where it has a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        cost = float(value)
    except ValueError:
        return None
    return cost if 0 <= cost < 1_000_000 else None
