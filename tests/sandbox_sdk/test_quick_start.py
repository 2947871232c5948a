"""The first lines anybody writes, word for word, on every engine."""

import asyncio
from pathlib import Path

import pytest

from sandbox_sdk import SandboxGroup, SandboxState
from sandbox_sdk.models import ComputeResources


async def test_the_quick_start(
    engine_name: str, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_STATE_DIR", str(state_dir))
    monkeypatch.setenv("SANDBOX_ENGINE", engine_name)

    group = SandboxGroup(
        compute_resources=ComputeResources(memory_mb=256), tools=[], resource_limits={}
    )
    await group.start_sandbox_group()
    sandbox = await group.create_sandbox("sandbox1")
    await sandbox.start()
    observations = await sandbox.send_actions(
        {"terminal.run": {"description": "…", "args": {"command": "ls; echo done"}}}
    )
    await sandbox.end()
    await group.end_group()

    data = observations["terminal.run"].data
    assert data is not None
    assert data["stdout"] == "done\n"


async def test_the_natural_form(engine_name: str, state_dir: Path) -> None:
    async with (
        SandboxGroup(engine=engine_name, state_dir=state_dir) as group,
        await group.create_sandbox() as sandbox,
    ):
        assert (await sandbox.terminal.run("echo hi")).stdout == "hi\n"
        assert await group.get_sandbox(sandbox.id) is sandbox

    assert sandbox.state is SandboxState.ENDED


@pytest.mark.docker
@pytest.mark.slow
async def test_fifty_sandboxes_created_at_once_all_work(docker_state_dir: Path) -> None:
    resources = ComputeResources(memory_mb=64, disk_mb=16, tmp_mb=1, cpus=0.2)
    async with SandboxGroup(compute_resources=resources, state_dir=docker_state_dir) as group:
        sandboxes = [await group.create_sandbox() for _ in range(50)]
        await asyncio.gather(*(each.start() for each in sandboxes))

        answers = await asyncio.gather(*(each.terminal.run("id -u") for each in sandboxes))

        assert len({answer.stdout for answer in answers}) == 50
