"""The conformance kit over both engines, and over engines that break their word."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from container_runtime.checks import CHECKS
from container_runtime.conformance import run_check, run_conformance
from container_runtime.engine import Container, Engine, load_engine
from container_runtime.engines.in_process import InProcessEngine
from container_runtime.spec import ContainerInfo, ContainerSpec

ENGINES = {
    "in_process": ("in_process", {}),
    "docker": ("docker", {}),
    "docker_tcp": ("docker", {"endpoint": "tcp"}),
}
KNOWN_GAPS: dict[str, frozenset[str]] = {
    "in_process": frozenset(),
    "docker": frozenset(),
    "docker_tcp": frozenset(),
}
KINDS = [
    pytest.param(name, marks=() if name == "in_process" else pytest.mark.docker) for name in ENGINES
]


@pytest.fixture(params=KINDS)
async def kind_and_engine(
    request: pytest.FixtureRequest, state_dir: Path
) -> AsyncIterator[tuple[str, Engine]]:
    if request.param != "in_process":
        request.getfixturevalue("needs_docker")
    name, settings = ENGINES[request.param]
    async with load_engine(name, state_dir=state_dir, **settings) as engine:
        await engine.ensure_image(print)
        yield request.param, engine
        assert await engine.list({}) == []


@pytest.mark.parametrize("name", CHECKS)
async def test_engine_holds(name: str, kind_and_engine: tuple[str, Engine]) -> None:
    kind, engine = kind_and_engine
    result = await run_check(engine, name)
    if name in KNOWN_GAPS[kind]:
        assert result.outcome == "failed", "the gap is closed: take it off the list"
    else:
        assert result.outcome in ("passed", "not_applicable"), result.detail
        assert engine.isolates is False or result.outcome == "passed"


class Forgetful(InProcessEngine):
    """Breaks three promises: it forgets labels, allows a name twice and removes nothing."""

    async def list(self, labels: dict[str, str]) -> list[ContainerInfo]:
        return await super().list({})

    async def create(self, spec: ContainerSpec) -> Container:
        if spec.name in self._containers:
            return self._containers[spec.name]
        return await super().create(spec)

    async def get(self, name: str) -> Container | None:
        return None


async def test_kit_finds_what_is_broken(state_dir: Path) -> None:
    async with Forgetful(state_dir=state_dir) as engine:
        results = await run_conformance(engine)
    failed = {result.name for result in results if result.outcome == "failed"}
    assert failed == {"lists_by_labels", "refuses_a_name_twice", "restores_the_specification"}
    assert all(result.detail for result in results if result.outcome == "failed")


async def test_kit_leaves_out_what_is_skipped(state_dir: Path) -> None:
    async with Forgetful(state_dir=state_dir) as engine:
        skip = ["lists_by_labels", "refuses_a_name_twice", "restores_the_specification"]
        results = {r.name: r.outcome for r in await run_conformance(engine, skip=skip)}
    assert {results[name] for name in skip} == {"skipped"}
    assert "failed" not in results.values()
    assert {n for n, o in results.items() if o == "not_applicable"} == {
        n for n, check in CHECKS.items() if check.isolating
    }


async def test_kit_refuses_to_skip_what_it_does_not_know(state_dir: Path) -> None:
    async with InProcessEngine(state_dir=state_dir) as engine:
        with pytest.raises(ValueError, match="no such checks: nonsense"):
            await run_conformance(engine, skip=["nonsense"])
