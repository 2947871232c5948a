"""One sandbox in which the probe has tried everything, shared by all tests of this folder."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from container_runtime.connection import Connection
from container_runtime.engine import load_engine
from container_runtime.spec import ComputeResources, ContainerSpec, EffectiveLimit
from tool_plugins.contract import Action
from tool_plugins.errors import EngineError

PROBE = Path(__file__).with_name("probe.py")
RESOURCES = ComputeResources(
    cpus=0.5, memory_mb=256, disk_mb=64, tmp_mb=16, pids=64, disk_write_mb_s=4
)
AGENT_UID = 200_123
RUN_S = 90.0


class Probed:
    """What the probe found inside, and what the host knows of the same sandbox."""

    def __init__(self, outcomes: dict[str, Any], limits: tuple[EffectiveLimit, ...]) -> None:
        self.outcomes = outcomes
        self.limits = {limit.name: limit for limit in limits}

    def __getitem__(self, attempt: str) -> Any:
        return self.outcomes[attempt]


async def _probe(state_dir: Path) -> tuple[Probed, dict[str, Any]]:
    async with load_engine("docker", state_dir=state_dir) as engine:
        capabilities = await engine.capabilities()
        await engine.ensure_image(print)
        container = await engine.create(
            ContainerSpec(name="security-probe", resources=RESOURCES, agent_uid=AGENT_UID)
        )
        try:
            await container.start()
            async with Connection(container.endpoint) as connection:
                await connection.ready()
                outcomes = await _outcomes(connection)
            facts = {"capabilities": capabilities, "engine": engine, "name": container.name}
            facts["inspected"] = _inspect(container.name)
            return Probed(outcomes, await container.limits()), facts
        finally:
            await container.remove()


async def _outcomes(connection: Connection) -> dict[str, Any]:
    await connection.upload("probe.py", PROBE.read_bytes())
    command = "python3 probe.py > probe.json"
    action = Action(id="probe", tool="terminal.run", args={"command": command, "timeout_s": RUN_S})
    observation = await connection.execute(action, timeout_s=RUN_S + 10)
    assert observation.error is None, observation.error
    assert observation.data is not None
    assert observation.data["exit_code"] == 0, observation.data
    return json.loads(b"".join([piece async for piece in connection.download("probe.json")]))


def _inspect(name: str) -> dict[str, Any]:
    """What the engine itself says; the tests compare it with what was seen inside."""
    done = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)[0]


@pytest.fixture(scope="session")
def probing() -> Iterator[tuple[Probed, dict[str, Any]]]:
    """Runs the probe once."""
    folder = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
    try:
        yield asyncio.run(_probe(folder))
    except EngineError as error:
        pytest.skip(f"no Docker Engine: {error}")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def probe(probing: tuple[Probed, dict[str, Any]]) -> Probed:
    """Outcomes by attempt."""
    return probing[0]


@pytest.fixture(scope="session")
def facts(probing: tuple[Probed, dict[str, Any]]) -> dict[str, Any]:
    """The host's side: `capabilities`, `inspected`."""
    return probing[1]
