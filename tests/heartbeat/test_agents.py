"""Goal: each preset runs its program as the program wants it, and understands what the program prints.

Method: what programs print is replayed, from transcripts (see transcripts/README.md), by a process that `once`
runs; the state that the run comes to is looked at, and what it cost. Garbage in the place of a transcript is a
text, never an error.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from effect_worlds import World
from hypothesis import given
from hypothesis import strategies as st

from antsmem.core.config import ProgramConfig
from antsmem.core.errors import ConfigError
from antsmem.heartbeat.agents import PRESETS, PROGRAMS, Preset, Said, agent_command, last_words
from antsmem.heartbeat.evidence import agent_judge
from antsmem.heartbeat.journal import Journal
from antsmem.heartbeat.once import Effect
from antsmem.heartbeat.verdict import new_nonce

TRANSCRIPTS = Path(__file__).with_name("transcripts")
CASES: tuple[tuple[str, int, str, str], ...] = (
    ("claude-done", 0, "DONE", ""),
    ("claude-no-login", 1, "FAILED", "no-answer"),
    ("codex-done", 0, "DONE", ""),
    ("codex-failed", 1, "FAILED", "no-answer"),
    ("codex-failed-midway", 1, "HELD", "no-report"),
    ("openclaw-done", 0, "DONE", ""),
    ("openclaw-no-login", 1, "FAILED", "no-answer"),
    ("hermes-done", 0, "DONE", ""),
    ("hermes-no-key", 1, "HELD", "exit"),
    ("llm-done", 0, "DONE", ""),
    ("llm-no-key", 1, "HELD", "exit"),
)
COSTS = {
    "claude-done": {"cost_microusd": 5472, "input_tokens": 962, "output_tokens": 42},
    "codex-done": {"input_tokens": 900, "output_tokens": 42},
    "openclaw-done": {"input_tokens": 1234, "output_tokens": 42},
    "llm-done": {"input_tokens": 1234, "output_tokens": 42},
}
REPLAY = (
    'sed "s/NONCE/${SAID:-$ANTSMEM_NONCE}/" "$0.stdout"; [ ! -e "$0.stderr" ] || cat "$0.stderr" >&2; exit "$1"'
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def preset_in(case: str) -> Preset:
    return next(preset for preset in PRESETS if case.startswith(preset))


def replayed(world: World, case: str, code: int, said: str = "") -> tuple[str, str]:
    """Replay a transcript as a turn; the state that it came to, and why."""
    nonce = new_nonce()
    argv = ("sh", "-c", REPLAY, str(TRANSCRIPTS / case), str(code))
    judge = agent_judge(preset_in(case), "k", nonce)
    environment = {**world.environment, **({"SAID": said} if said else {})}
    result = world.once(Effect("k", argv, environment=environment, judge=judge, nonce=nonce, prompt=b"do it"))
    return result.state, result.why


@pytest.mark.parametrize(("case", "code", "state", "why"), CASES)
def test_what_a_program_prints_is_understood(world: World, case: str, code: int, state: str, why: str) -> None:
    assert replayed(world, case, code) == (state, why)
    last = Journal(world.places).last("k")
    assert last is not None
    for name, value in COSTS.get(case, {}).items():
        entry = next(entry for entry in Journal(world.places).entries("k") if name in entry.body)
        assert entry.body[name] == value


@pytest.mark.parametrize("case", [case for case, code, *_ in CASES if code == 0])
def test_the_nonce_of_another_run_is_no_evidence(world: World, case: str) -> None:
    assert replayed(world, case, 0, said="0123456789abcdef" * 2) == ("HELD", "no-report")


def test_every_transcript_is_replayed() -> None:
    names = {path.stem for path in TRANSCRIPTS.glob("*.stdout")}
    assert names == {case for case, *_ in CASES}
    assert {preset_in(case) for case, *_ in CASES} == set(PRESETS) - {"shell"}


@given(st.sampled_from(PRESETS), st.binary(max_size=300), st.binary(max_size=300))
def test_garbage_is_a_text(preset: Preset, stdout: bytes, stderr: bytes) -> None:
    said = last_words(preset, stdout, stderr)
    assert isinstance(said, Said) and isinstance(said.text, str)


@given(st.sampled_from(PRESETS), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "result", "is_error", "usage", "total_cost_usd", "item", "ok", "final", "cost"])
        | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_any_json_is_a_text(preset: Preset, value: object) -> None:
    import json

    stdout = json.dumps(value, ensure_ascii=True).encode()
    said = last_words(preset, stdout, b"")
    assert isinstance(said.text, str)
    assert said.cost_usd is None or said.cost_usd >= 0
    assert said.input_tokens is None or said.input_tokens >= 0


def test_lines_around_a_json_object_do_not_hide_it() -> None:
    data = (TRANSCRIPTS / "openclaw-done.stdout").read_bytes()
    said = last_words("openclaw", b"Config overwrite: x\n" + data + b"[state/db] migrated\n", b"")
    assert said.text.startswith("Answered") and said.output_tokens == 42


def test_a_program_gets_its_own_variables_and_what_the_operator_names() -> None:
    environment = {
        "PATH": "/bin", "HOME": "/h", "ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b", "MY_TOKEN": "c",
        "ANTSMEM_PASSPHRASE": "d", "LC_ALL": "C",
    }  # fmt: skip
    plain = agent_command(ProgramConfig("claude"), environment).environment
    assert set(plain) == {"PATH", "HOME", "ANTHROPIC_API_KEY", "LC_ALL"}
    more = agent_command(ProgramConfig("codex", environment=("MY_*",)), environment, "/opt/bin").environment
    assert set(more) == {"PATH", "HOME", "OPENAI_API_KEY", "LC_ALL", "MY_TOKEN"}
    assert more["PATH"] == "/bin:/opt/bin"
    every = agent_command(ProgramConfig("llm", environment=("*",)), environment).environment
    assert set(every) == set(environment)
    assert "a" not in repr(agent_command(ProgramConfig("claude"), {"ANTHROPIC_API_KEY": "a" * 30})).split()


def test_an_agent_needs_a_preset_that_there_is_and_shell_a_command() -> None:
    for config in (ProgramConfig(), ProgramConfig("clade"), ProgramConfig("shell")):
        with pytest.raises(ConfigError) as caught:
            agent_command(config, {})
        assert caught.value.hint
    assert agent_command(ProgramConfig("shell", ("./agent",)), {}).argv == ("./agent",)
    assert all(agent_command(ProgramConfig(preset), os.environ).argv for preset in PROGRAMS if preset != "shell")
