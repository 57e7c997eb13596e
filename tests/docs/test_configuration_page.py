"""Goal: the page of configuration says exactly what the program reads.

Method: its examples are read by the configuration readers; its tables are compared with what the program knows.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from program import DOCS, sections

from antsmem.cli.providers import OWN_PROVIDERS, provider_class
from antsmem.core.config import KEY_SOURCES, read_agent, read_operator
from antsmem.core.errors import ConfigError
from antsmem.identity.provider import Abilities, Host
from antsmem.workspace.settings import AgentSettings, parse_settings

CONFIGURATION = (DOCS / "reference" / "configuration.md").read_text("utf-8")


def examples() -> dict[str, str]:
    """The YAML of each section of the page of configuration."""
    parts = sections(CONFIGURATION, "##") | sections(CONFIGURATION, "###")
    held = {title: re.findall(r"```yaml\n(.*?)```", body, re.DOTALL) for title, body in parts.items()}
    return {title: blocks[0] for title, blocks in held.items() if blocks}


def test_the_examples_of_configuration_are_valid(tmp_path: Path) -> None:
    held = examples()
    assert parse_settings(held["`agent.yaml`"].encode(), "page").name == "kevin"
    (tmp_path / "agent").write_text(held["The agent's file"])
    (tmp_path / "operator").write_text(held["`config.yaml`"])
    agent = read_agent(tmp_path / "agent")
    assert [item.name for item in agent.repositories] == ["default", "cloud"] and agent.escrow and agent.host_key
    assert read_operator(tmp_path / "operator").key_sources == ("credentials", "host_key")
    (tmp_path / "operator").write_text(held["Providers"])
    providers = read_operator(tmp_path / "operator").providers
    assert [(each.name, each.kind, len(each.options)) for each in providers] == [
        ("env", "env", 1),
        ("team", "vault", 2),
    ]


def test_the_examples_on_the_pages_of_providers_are_valid(tmp_path: Path) -> None:
    for name in OWN_PROVIDERS:
        page = (DOCS / "how-to/providers" / f"{name}.md").read_text("utf-8")
        for example in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
            (tmp_path / "operator").write_text(example)
            (config,) = read_operator(tmp_path / "operator").providers
            assert config.kind == name
            provider_class(name).open(config.name, config.options, Host({}, list))


def test_every_provider_is_on_the_page_with_what_it_can() -> None:
    rows = re.findall(
        r"^\| \[`(\w+)`\]\(.+?\) \| .+? \| ?(.*) \|$", sections(CONFIGURATION, "###")["Providers"], re.MULTILINE
    )
    assert {name for name, _ in rows} == set(OWN_PROVIDERS)
    for name, said in rows:
        can = provider_class(name).can if name != "age" else Abilities(True, True, True, True)
        words = {
            "write": can.write,
            "list": can.list,
            "versions": can.versions,
            "compare and set": can.compare_and_set,
        }
        assert [word for word, able in words.items() if able] == [word for word in said.split(", ") if word], name


def test_the_defaults_on_the_page_are_the_defaults() -> None:
    example = examples()["`agent.yaml`"]
    bare = parse_settings(b"name: kevin\n", "page")
    written = parse_settings(re.sub(r"(?s)classes:.*", "", example).encode(), "page")
    assert bare == AgentSettings("kevin")
    assert (written.hot, written.cold, written.escrow) == (bare.hot, bare.cold, bare.escrow)


def test_every_key_source_is_on_the_page() -> None:
    table_of_sources = sections(CONFIGURATION, "###")["Key sources"]
    documented = {name.partition(":")[0] for name in re.findall(r"^\| `(.+?)` \|", table_of_sources, re.MULTILINE)}
    assert documented == {source.partition(":")[0] for source in KEY_SOURCES}


@pytest.mark.parametrize("line", ["colour: red", "tiers:\n  warm:\n    every: 1h"])
def test_an_unknown_key_names_file_and_line(line: str) -> None:
    with pytest.raises(ConfigError, match=r"page:\d"):
        parse_settings(f"name: kevin\n{line}\n".encode(), "page")
