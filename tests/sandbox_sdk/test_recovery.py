"""What a server finds of those that died before it: adopted, removed, or left to its owner.

The dead are real processes that end at a given step without a word (see `crash.py`).
"""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from container_runtime.engine import load_engine
from container_runtime.spec import ComputeResources, ContainerSpec
from sandbox_sdk import (
    GoneCause,
    SandboxGoneError,
    SandboxGroup,
    SandboxNotFoundError,
    SandboxState,
)
from sandbox_sdk.services import INSTALLATION_LABEL
from sandbox_sdk.state import State
from sandbox_sdk.tools.workshop import WORKSHOP
from tests.fakes import FakeClock, WrappedEngine
from tests.sandbox_sdk.conftest import MakeGroup
from tests.sandbox_sdk.crash import POINTS

ROOT = Path(__file__).parents[2]


async def crash(engine_name: str, folder: Path, point: str, kind: str = "ephemeral") -> str:
    """Runs a server that dies at the step; the id of the sandbox it had made."""
    program = [sys.executable, "-m", "tests.sandbox_sdk.crash", engine_name, str(folder)]
    child = await asyncio.create_subprocess_exec(
        *program, point, kind, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    output, _ = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 9
    return output.decode().strip()


async def containers(engine_name: str, folder: Path, name: str) -> list[str]:
    async with load_engine(engine_name, state_dir=folder) as engine:
        return [each.name for each in await engine.list({}) if each.name == name]


async def rows_left(folder: Path) -> list[str]:
    state = await State.open(f"sqlite:///{folder / 'state.db'}")
    try:
        return [record.id for record in await state.list_unremoved()]
    finally:
        await state.aclose()


@pytest.mark.parametrize("point", POINTS)
async def test_after_a_crash_at_any_step_the_next_server_leaves_nothing_unowned(
    engine_name: str, state_dir: Path, point: str
) -> None:
    dead = await crash(engine_name, state_dir, point)

    async with SandboxGroup(engine=engine_name, state_dir=state_dir) as group:
        assert await containers(engine_name, state_dir, dead) == []
        assert await rows_left(state_dir) == []
        assert await group.list_sandboxes() == []
        with pytest.raises(SandboxGoneError) as raised:
            await group.get_sandbox(dead)
        assert raised.value.cause is GoneCause.KILLED
        assert len(await asyncio.to_thread(lambda: list((state_dir / "servers").iterdir()))) == 1
        assert (await (await group.default_sandbox()).terminal.run("echo hi")).stdout == "hi\n"


@pytest.mark.docker
async def test_a_durable_sandbox_is_adopted_with_its_files(docker_state_dir: Path) -> None:
    sandbox_id = await crash("docker", docker_state_dir, "ready", "durable")

    async with SandboxGroup(state_dir=docker_state_dir, ephemeral=False) as group:
        sandbox = await group.get_sandbox(sandbox_id)
        assert (await sandbox.filesystem.read("note.txt")).content.endswith("still here")
        assert "memory_mb" in {limit.name for limit in sandbox.limits}

    async with SandboxGroup(state_dir=docker_state_dir, ephemeral=False) as group:
        sandbox = await group.get_sandbox(sandbox_id)
        assert (await sandbox.terminal.run("cat note.txt")).stdout == "still here"
        await sandbox.end()


@pytest.mark.docker
async def test_a_durable_sandbox_waits_for_a_group_of_its_name_until_its_lease_runs_out(
    docker_state_dir: Path,
) -> None:
    sandbox_id = await crash("docker", docker_state_dir, "ready", "durable")

    async with SandboxGroup(state_dir=docker_state_dir) as group:
        assert await containers("docker", docker_state_dir, sandbox_id) == [sandbox_id]
        with pytest.raises(SandboxNotFoundError):
            await group.get_sandbox(sandbox_id)

    later = FakeClock(offset=time.time() + 1000)
    async with SandboxGroup(state_dir=docker_state_dir, ephemeral=False, clock=later) as group:
        assert await containers("docker", docker_state_dir, sandbox_id) == []
        with pytest.raises(SandboxGoneError) as raised:
            await group.get_sandbox(sandbox_id)
        assert raised.value.cause is GoneCause.IDLE


async def test_what_was_registered_in_a_sandbox_that_died_goes_with_it(state_dir: Path) -> None:
    dead = await crash("in_process", state_dir, "ready")
    (state_dir / "tools").mkdir()
    (state_dir / "tools" / f"{dead}.json").write_text("[]")

    async with SandboxGroup(engine="in_process", state_dir=state_dir):
        assert list((state_dir / "tools").iterdir()) == []


async def test_a_workshop_is_left_to_no_other_server(
    make_group: MakeGroup, state_dir: Path
) -> None:
    async with make_group(ephemeral=False) as group:
        mine = await group.create_sandbox()
        await mine.start()
        members, resources = group._live().members, ComputeResources()
        await (await members.create(None, principal=WORKSHOP, resources=resources)).start()

    assert await rows_left(state_dir) == [mine.id]


async def test_the_sandboxes_of_a_server_that_lives_are_left_alone(make_group: MakeGroup) -> None:
    async with make_group() as first:
        sandbox = await first.create_sandbox()
        await sandbox.start()

        async with make_group() as second:
            await second.sweep()
            with pytest.raises(SandboxNotFoundError):
                await second.get_sandbox(sandbox.id)

        assert (await sandbox.execute("test.echo", {"text": "hi"})).ok


async def test_a_living_server_settles_one_that_dies_beside_it(state_dir: Path) -> None:
    async with SandboxGroup(engine="in_process", state_dir=state_dir) as group:
        dead = await crash("in_process", state_dir, "ready")
        assert await rows_left(state_dir) == [dead]

        await group.sweep()

        assert await rows_left(state_dir) == []


async def test_a_container_of_ours_without_a_row_is_removed_and_a_strangers_is_not(
    make_group: MakeGroup, engine: WrappedEngine
) -> None:
    async with make_group() as group:
        sandbox = await group.create_sandbox()
        await sandbox.start()
        ours = next(iter(await engine.list({}))).labels[INSTALLATION_LABEL]
        for name, installation in (("sbx-stray", ours), ("sbx-foreign", "another")):
            await engine.create(ContainerSpec(name=name, labels={INSTALLATION_LABEL: installation}))

        await group.sweep()

        left = {each.name for each in await engine.list({})}
        assert left == {"sbx-foreign", sandbox.id}
        assert sandbox.state is SandboxState.READY
        await engine.remove("sbx-foreign")
