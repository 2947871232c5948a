"""Sandboxes that go away under their user's hands, with a real engine."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from container_runtime.engine import load_engine
from sandbox_sdk import (
    ComputeResources,
    GoneCause,
    SandboxGoneError,
    SandboxGroup,
    SandboxState,
)

pytestmark = pytest.mark.docker

PROGRAM = """
import asyncio, sys
from sandbox_sdk import SandboxGroup

async def main():
    async with SandboxGroup(state_dir=sys.argv[1]) as group:
        sandbox = await group.default_sandbox()
        print(sandbox.id, flush=True)
        await sandbox.terminal.run("sleep 1000")

asyncio.run(main())
"""


async def test_a_container_killed_from_outside_ends_its_actions_with_a_cause(
    docker_state_dir: Path,
) -> None:
    async with SandboxGroup(state_dir=docker_state_dir) as group:
        sandbox = await group.default_sandbox()
        stream = sandbox.stream("terminal.run", {"command": "echo started; sleep 1000"})
        assert (await anext(stream)).event == "stdout"

        async with load_engine("docker", state_dir=docker_state_dir) as other:
            await other.remove(sandbox.id)

        with pytest.raises(SandboxGoneError) as raised:
            _ = [event async for event in stream]
        assert raised.value.cause is GoneCause.KILLED
        assert sandbox.state is SandboxState.ENDED
        assert (await group.default_sandbox()).id != sandbox.id


async def test_a_command_that_runs_out_of_memory_does_not_take_the_sandbox_along(
    docker_state_dir: Path,
) -> None:
    resources = ComputeResources(memory_mb=128)
    async with (
        SandboxGroup(state_dir=docker_state_dir, compute_resources=resources) as group,
        await group.create_sandbox() as sandbox,
    ):
        hog = await sandbox.terminal.run("python3 -c 'bytearray(10**9)'")

        assert hog.cause == "oom"
        assert (await sandbox.terminal.run("echo alive")).stdout == "alive\n"


async def test_an_interrupted_program_leaves_nothing(docker_state_dir: Path) -> None:
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        str(docker_state_dir),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    name = (await asyncio.wait_for(program.stdout.readline(), 60)).decode().strip()

    program.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(program.communicate(), 30)

    assert b"KeyboardInterrupt" in errors
    async with load_engine("docker", state_dir=docker_state_dir) as engine:
        assert name not in [each.name for each in await engine.list({})]
