"""The real command with real containers: work inside, and an end that leaves none."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx2
import pytest
from mcp import Client

from tests.mcp_server.processes import arguments, started
from tests.mcp_server.test_stdio import Wire
from tests.mcp_server.test_web import listening

# A busy machine builds the image and removes containers slowly.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]
READY_TIMEOUT_S = 240
END_TIMEOUT_S = 5


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    """The engine, to look at it from outside."""
    client = docker.from_env()
    yield client
    client.close()


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "EOF"])
def test_no_container_is_left_when_the_server_over_stdio_ends(
    docker_state_dir: Path, engine: docker.DockerClient, how: str
) -> None:
    with started(*arguments(docker_state_dir, engine="docker")) as process:
        wire = Wire(process)
        wire.hello()
        wire.run_for_ever()
        wire.send("tools/call", {"name": "sandbox_list", "arguments": {}}, 3)
        while "result" not in (answer := wire.receive()):
            continue
        (sandbox,) = answer["result"]["structuredContent"]["sandboxes"]
        name = sandbox["sandbox_id"]
        assert engine.containers.get(name).status == "running"
        if how == "EOF":
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
        else:
            process.send_signal(signal.Signals[how])
        process.wait(END_TIMEOUT_S)
        assert engine.containers.list(all=True, filters={"name": name}) == []


def test_no_container_is_left_when_the_server_ends_while_it_reads_files_of_tools(
    docker_state_dir: Path, tmp_path: Path, engine: docker.DockerClient
) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(99)\n")
    words = arguments(docker_state_dir, "--tools", str(tmp_path), engine="docker")
    with started(*words) as process:
        wire = Wire(process)
        wire.hello()
        wire.send("tools/call", {"name": "sandbox_list", "arguments": {}}, 2)
        deadline = time.monotonic() + READY_TIMEOUT_S
        while containers(engine, docker_state_dir) == []:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        process.wait(END_TIMEOUT_S)
    assert containers(engine, docker_state_dir) == []


def containers(engine: docker.DockerClient, state: Path) -> list[str]:
    """The containers with folders of that state."""
    return [
        each.name
        for each in engine.containers.list(all=True, ignore_removed=True)
        if any(mount.get("Source", "").startswith(str(state)) for mount in each.attrs["Mounts"])
    ]


async def test_sigterm_ends_an_http_server_with_an_open_listen_stream_and_its_containers(
    docker_state_dir: Path, engine: docker.DockerClient
) -> None:
    options = arguments(docker_state_dir, "--transport", "http", "--port", "0", engine="docker")
    with started(*options) as process:
        assert process.stderr is not None
        url = process.stderr.readline().rpartition(" ")[2].strip()
        async with Client(url, read_timeout_seconds=READY_TIMEOUT_S) as client:
            ran = await client.call_tool("terminal_run", {"command": "whoami; pwd"})
            sandbox = (await client.call_tool("sandbox_get")).structured_content
            limits = {each["name"]: each["enforced"] for each in sandbox["limits"]}
            async with (
                httpx2.AsyncClient(base_url=url.removesuffix("/mcp")) as http,
                listening(http),
            ):
                process.send_signal(signal.SIGTERM)
                process.wait(END_TIMEOUT_S)
    assert ran.structured_content["stdout"] == "agent\n/workspace\n"
    assert limits["memory_mb"].startswith("hard")
    name = sandbox["sandbox_id"]
    assert engine.containers.list(all=True, filters={"name": name}) == []
