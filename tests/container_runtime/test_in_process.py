"""The engine for tests: the real server, honest about isolating nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from container_runtime.connection import Connection, ConnectionLost
from container_runtime.engine import Engine, load_engine
from container_runtime.spec import ComputeResources, ContainerSpec
from tests.container_runtime.action_server import EXECUTORS
from tests.container_runtime.serving import until
from tool_plugins.contract import Action
from tool_plugins.errors import EngineError

SPEC = ContainerSpec(name="sbx-one", labels={"a": "1"}, environment={"COLOUR": "blue"})


@pytest.fixture
async def engine(state_dir: Path) -> AsyncIterator[Engine]:
    """A connected engine with the test tools."""
    async with load_engine("in_process", state_dir=state_dir, executors=EXECUTORS) as made:
        yield made
        for info in await made.list({}):
            await made.remove(info.name)


async def test_it_says_that_it_isolates_nothing(engine: Engine) -> None:
    capabilities = await engine.capabilities()

    assert engine.isolates is capabilities.isolates is False
    assert any("isolates nothing" in warning for warning in capabilities.warnings)


async def test_no_limit_is_claimed(engine: Engine) -> None:
    resources = ComputeResources(memory_mb=64, disk_read_mb_s=5, enforcement="required")
    container = await engine.create(SPEC.model_copy(update={"resources": resources}))
    await container.start()

    limits = {limit.name: limit for limit in await container.limits()}

    assert {"memory_mb", "cpus", "disk_mb", "pids", "disk_read_mb_s"} <= limits.keys()
    assert "disk_write_mb_s" not in limits
    assert {limit.limit_class for limit in limits.values()} == {"none"}
    assert limits["memory_mb"].requested == 64
    assert not any(limit.verified or limit.effective for limit in limits.values())


async def test_a_container_lives_from_start_to_remove(engine: Engine, state_dir: Path) -> None:
    container = await engine.create(SPEC)
    assert not (await container.status()).running
    await container.start()
    assert (await container.status()).running

    async with Connection(container.endpoint) as connection:
        assert (await connection.execute(Action(tool="test.echo"), timeout_s=5)).ok
        await connection.upload("file", b"x")
        await engine.remove("sbx-one")
        with pytest.raises(ConnectionLost):
            await connection.execute(Action(tool="test.echo"), timeout_s=5)

    assert not (await container.status()).running
    assert await engine.get("sbx-one") is None
    assert list((state_dir / "in_process").iterdir()) == []
    await engine.remove("sbx-one")
    await container.remove()


async def test_removing_ends_what_runs(engine: Engine, state_dir: Path) -> None:
    container = await engine.create(SPEC)
    await container.start()
    workspace = state_dir / "in_process" / "sbx-one" / "workspace"
    async with Connection(container.endpoint) as connection:
        action = Action(tool="test.wait", args={"name": "x"})
        task = asyncio.create_task(connection.execute(action, timeout_s=60))
        await until((workspace / "x.started").exists)

        await engine.remove("sbx-one")

        with pytest.raises(ConnectionLost):
            await task


async def test_a_name_is_taken_once(engine: Engine) -> None:
    await engine.create(SPEC)

    with pytest.raises(EngineError, match="sbx-one"):
        await engine.create(SPEC)


async def test_the_inventory_goes_by_labels(engine: Engine) -> None:
    first = await engine.create(SPEC)
    await engine.create(ContainerSpec(name="sbx-two", labels={"a": "1", "b": "2"}))
    await first.start()

    assert [info.name for info in await engine.list({"a": "1"})] == ["sbx-one", "sbx-two"]
    assert [info.name for info in await engine.list({"a": "1", "b": "2"})] == ["sbx-two"]
    assert [info.running for info in await engine.list({})] == [True, False]
    found = await engine.get("sbx-one")
    assert found is not None
    assert (found.name, found.spec.labels) == (SPEC.name, SPEC.labels)


async def test_the_agents_environment_holds_what_was_asked_and_no_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "hush")
    container = await engine.create(SPEC)
    await container.start()
    async with Connection(container.endpoint) as connection:
        observation = await connection.execute(Action(tool="test.environ"), timeout_s=5)

    assert observation.data is not None
    agent = observation.data["agent"]
    assert agent["COLOUR"] == "blue"
    assert agent["HOME"].endswith("/workspace")
    assert "HOST_SECRET" not in agent


async def test_the_built_in_tools_work(state_dir: Path) -> None:
    async with load_engine("in_process", state_dir=state_dir) as engine:
        container = await engine.create(SPEC)
        await container.start()
        async with Connection(container.endpoint) as connection:
            write = Action(tool="filesystem.write", args={"path": "note", "content": "hi"})
            run = Action(tool="terminal.run", args={"command": "cat note; echo $COLOUR"})
            written = await connection.execute(write, timeout_s=10)
            ran = await connection.execute(run, timeout_s=20)
        await engine.remove("sbx-one")

    assert written.ok
    assert ran.data is not None
    assert ran.data["stdout"] == "hiblue\n"
