"""Starts that fail, are cancelled or race with an end: nothing is left of any of them."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

from sandbox_sdk import (
    EngineError,
    GoneCause,
    ImageError,
    SandboxGoneError,
    SandboxGroup,
    SandboxState,
)
from tests.fakes import WrappedEngine, eventually, nothing_left
from tests.sandbox_sdk.conftest import MakeGroup

STEPS = ["create", "created", "start", "started"]


def raising(error: Exception) -> Callable[[], Awaitable[None]]:
    async def step() -> None:
        raise error

    return step


class Gate:
    """A step that waits to be let through."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.open.wait()


async def left(engine: WrappedEngine) -> list[str]:
    return [each.name for each in await engine.list({})]


@pytest.mark.parametrize("step", STEPS)
async def test_a_start_that_fails_leaves_nothing(
    fake_group: SandboxGroup, engine: WrappedEngine, step: str
) -> None:
    engine.hooks[step] = raising(EngineError("broken"))
    sandbox = await fake_group.create_sandbox()

    with pytest.raises(EngineError, match="broken"):
        await sandbox.start()

    assert await left(engine) == []
    assert (
        sandbox.state,
        sandbox.info().end_cause,
    ) == (SandboxState.FAILED, GoneCause.ENGINE_LOST)
    assert await fake_group.list_sandboxes() == []


async def test_a_missing_image_is_the_cause_of_a_failed_start(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    engine.hooks["create"] = raising(ImageError("no image"))
    sandbox = await fake_group.create_sandbox()

    with pytest.raises(ImageError):
        await sandbox.start()

    assert GoneCause.IMAGE is sandbox.info().end_cause


@pytest.mark.parametrize("step", STEPS)
async def test_a_cancelled_start_leaves_nothing(
    fake_group: SandboxGroup, engine: WrappedEngine, step: str
) -> None:
    gate = engine.hooks[step] = Gate()
    sandbox = await fake_group.create_sandbox()
    starting = asyncio.create_task(sandbox.start())
    await asyncio.wait_for(gate.reached.wait(), 5)

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    gate.open.set()

    await eventually(lambda: "removed" in engine.calls)
    assert await left(engine) == []
    assert SandboxState.ENDED is sandbox.state


@pytest.mark.parametrize("step", STEPS)
async def test_an_end_during_the_start_wins(
    fake_group: SandboxGroup, engine: WrappedEngine, step: str
) -> None:
    gate = engine.hooks[step] = Gate()
    sandbox = await fake_group.create_sandbox()
    starting = asyncio.create_task(sandbox.start())
    await asyncio.wait_for(gate.reached.wait(), 5)

    await sandbox.end()
    gate.open.set()

    with pytest.raises(SandboxGoneError):
        await asyncio.wait_for(starting, 5)
    assert SandboxState.ENDED is sandbox.state
    await fake_group.end_group()
    assert await left(engine) == []


async def test_one_cancelled_caller_does_not_stop_the_start_of_the_others(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    gate = engine.hooks["create"] = Gate()
    sandbox = await fake_group.create_sandbox()
    first, second = (asyncio.create_task(sandbox.start()) for _ in range(2))
    await asyncio.wait_for(gate.reached.wait(), 5)

    first.cancel()
    await asyncio.wait({first})
    gate.open.set()
    await asyncio.wait_for(second, 5)

    assert SandboxState.READY is sandbox.state
    assert engine.calls.count("create") == 1


async def test_a_removal_that_fails_is_tried_again_by_the_sweep(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    sandbox = await fake_group.create_sandbox()
    await sandbox.start()
    engine.hooks["remove"] = raising(EngineError("busy"))
    await sandbox.end()
    await eventually(lambda: "remove" in engine.calls)
    assert [sandbox.id] == await left(engine)

    del engine.hooks["remove"]
    await fake_group.sweep()

    await eventually(lambda: nothing_left(engine))


async def test_a_container_that_died_unseen_is_noticed_by_the_sweep(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    sandbox = await fake_group.create_sandbox()
    await sandbox.start()
    await engine.inner.remove(sandbox.id)

    await fake_group.sweep()

    assert (sandbox.state, sandbox.info().end_cause) == (SandboxState.ENDED, GoneCause.KILLED)


async def test_an_action_in_a_dead_container_says_that_it_is_gone(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    sandbox = await fake_group.create_sandbox()
    await sandbox.start()
    container = await engine.inner.get(sandbox.id)
    assert container is not None
    await container.remove()

    with pytest.raises(SandboxGoneError) as raised:
        await sandbox.execute("test.echo", {"text": "hi"})

    assert GoneCause.KILLED is raised.value.cause
    assert SandboxState.ENDED is sandbox.state


async def test_an_engine_that_does_not_answer_is_the_cause_when_it_cannot_be_asked(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    sandbox = await fake_group.create_sandbox()
    await sandbox.start()
    container = await engine.inner.get(sandbox.id)
    assert container is not None
    await container.remove()
    engine.hooks["status"] = raising(EngineError("no answer"))

    with pytest.raises(SandboxGoneError) as raised:
        await sandbox.execute("test.echo", {"text": "hi"})

    assert GoneCause.ENGINE_LOST is raised.value.cause


def test_a_forgotten_group_and_sandbox_are_resource_warnings(make_group: MakeGroup) -> None:
    async def forget() -> None:
        group = make_group()
        await group.start_sandbox_group()
        await (await group.create_sandbox()).start()

    def forget_and_collect() -> None:
        asyncio.run(forget())
        gc.collect()

    with pytest.warns(ResourceWarning) as warned:
        forget_and_collect()

    told = " ".join(str(each.message) for each in warned)
    assert "a SandboxGroup was never ended" in told
    assert "sandbox sbx-" in told


async def test_a_sandbox_that_ends_while_it_starts_fails_without_waiting_for_it(
    fake_group: SandboxGroup, engine: WrappedEngine
) -> None:
    async def die() -> None:
        [row] = await engine.inner.list({})
        await engine.inner.remove(row.name)

    engine.hooks["started"] = die
    sandbox = await fake_group.create_sandbox()

    async with asyncio.timeout(5):
        with pytest.raises(EngineError, match="ended while it started"):
            await sandbox.start()

    assert sandbox.state is SandboxState.FAILED


async def test_an_end_while_the_action_server_is_silent_does_not_wait_for_it(
    fake_group: SandboxGroup, engine: WrappedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = Gate()
    monkeypatch.setattr("sandbox_sdk.lifecycle.Connection.ready", lambda *_: silent())
    sandbox = await fake_group.create_sandbox()
    starting = asyncio.create_task(sandbox.start())
    await silent.reached.wait()

    await sandbox.end()

    async with asyncio.timeout(5):
        with pytest.raises(SandboxGoneError):
            await starting
    assert await left(engine) == []
