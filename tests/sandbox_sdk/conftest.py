"""A group over the fake tools, and a small state database."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk import SandboxGroup
from sandbox_sdk.state import State
from tests.fakes import FakeClock, FakeTools, WrappedEngine

MakeGroup = Callable[..., SandboxGroup]


@pytest.fixture
def make_group(
    engine: WrappedEngine, state_dir: Path, tools: FakeTools, clock: FakeClock
) -> MakeGroup:
    """Groups on one engine and one state folder."""

    def make(**settings: Any) -> SandboxGroup:
        given = {
            "engine": engine,
            "state_dir": state_dir,
            "registry": tools.registry(),
            "clock": clock,
            "sweep_interval_s": 3600.0,
        }
        return SandboxGroup(**(given | settings))

    return make


@pytest.fixture
async def fake_group(make_group: MakeGroup) -> AsyncIterator[SandboxGroup]:
    """A started group whose tools and clock the test controls."""
    async with make_group() as group:
        yield group


@pytest.fixture
async def state(state_dir: Path) -> AsyncIterator[State]:
    """The tables of a fresh installation."""
    state = await State.open(f"sqlite:///{state_dir / 'state.db'}")
    yield state
    await state.aclose()
