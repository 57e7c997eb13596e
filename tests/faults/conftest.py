"""The scenarios, each prepared when the first test asks for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from engines import required
from sampling import Sampler
from scenarios import Scenario, scenarios
from syscalls import strace
from worlds import LAUNCHER, remove


@pytest.fixture
def sampler(request: pytest.FixtureRequest) -> Sampler:
    return Sampler(request.node.name)


@pytest.fixture(scope="session")
def _prepared() -> Iterator[dict[str, Scenario]]:
    made: dict[str, Scenario] = {}
    # Bytecode is written now, and not by a run whose calls are counted.
    subprocess.run([*LAUNCHER, "1", "--version"], check=True, capture_output=True)
    yield made
    for scenario in made.values():
        remove(scenario.world.root)


@pytest.fixture
def prepared(
    _prepared: dict[str, Scenario], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Scenario]:
    """Gives a scenario by name, its world as it was saved."""
    with required():
        strace()

    def give(name: str) -> Scenario:
        if name not in _prepared:
            scenario = next(scenario for scenario in scenarios() if scenario.name == name)
            scenario.prepare(tmp_path_factory.mktemp(name))
            _prepared[name] = scenario
        _prepared[name].world.reset()
        return _prepared[name]

    return give


@pytest.fixture(params=[scenario.name for scenario in scenarios()])
def scenario(request: pytest.FixtureRequest, prepared: Callable[[str], Scenario]) -> Scenario:
    return prepared(request.param)
