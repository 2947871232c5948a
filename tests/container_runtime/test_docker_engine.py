"""The Docker adapter: creation is all or nothing, the engine is not believed, removal is final."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from container_runtime.connection import Connection
from container_runtime.engine import Engine
from container_runtime.engines.docker import DockerEngine
from container_runtime.engines.docker_client import DockerClient
from container_runtime.engines.docker_config import (
    Access,
    Placement,
    create_body,
    differences,
    discarded,
    restore_spec,
)
from container_runtime.engines.docker_host import EngineHost, read_host
from container_runtime.limits import HostFacts, plan
from container_runtime.spec import ComputeResources, ContainerSpec, TcpEndpoint, UnixEndpoint
from container_runtime.workspace import leftovers
from tests.fakes import eventually
from tool_plugins.errors import ConfigurationError, EngineError, UnenforceableLimitError

SMALL = ComputeResources(memory_mb=128, disk_mb=32, tmp_mb=8, pids=48)
NAME = "test-engine"


def spec(name: str = NAME, **changes: Any) -> ContainerSpec:
    return ContainerSpec(**{"name": name, "resources": SMALL} | changes)


@pytest.fixture
async def engine(needs_docker: None, state_dir: Path) -> AsyncIterator[DockerEngine]:
    async with DockerEngine(state_dir=state_dir) as started:
        await started.ensure_image(print)
        yield started
        for row in await started.list({}):
            await started.remove(row.name)


def docker(*words: str) -> str:
    """The engine's own command line, to see from outside."""
    return command("docker", *words)


def command(*words: str) -> str:
    """What a command prints; it must succeed."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def traces(state_dir: Path, name: str = NAME) -> list[str]:
    """What is left of a sandbox."""
    found = [str(path) for path in leftovers(state_dir)]
    found += [str(path) for path in (state_dir / "sandboxes").glob("*")]
    found += docker("ps", "-aq", "--filter", f"name=^{name}$").split()
    return found + docker("network", "ls", "-q", "--filter", f"name=^{name}$").split()


# The body, without an engine.


def body(resources: ComputeResources = SMALL, **place: Any) -> dict[str, Any]:
    fields = {
        "image": "i",
        "state": "/s",
        "server_uid": 65432,
        "access": Access("unix"),
        "run": Path("/s/run"),
        "workspace": Path("/s/workspace"),
    }
    return create_body(spec(resources=resources), Placement(**{**fields, **place}))


def kept(asked: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An inspection of an engine that kept all but `changes`."""
    config = {"User": asked["User"], "StopSignal": asked["StopSignal"], "Labels": asked["Labels"]}
    return {"Config": config, "HostConfig": {**asked["HostConfig"], **changes}}


def test_engine_that_keeps_to_it_differs_in_nothing() -> None:
    asked = body()
    later = kept(asked, CapAdd=["CAP_SETUID", "CAP_KILL", "CAP_SETGID", "CAP_SETPCAP"])
    assert differences(asked, later) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("CapAdd", ["KILL", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN"]),
        ("CapDrop", []),
        ("Privileged", True),
        ("ReadonlyRootfs", False),
        ("SecurityOpt", ["no-new-privileges:true"]),
        ("NetworkMode", "bridge"),
        ("PidsLimit", None),
        ("Memory", 0),
        ("MaskedPaths", None),
        ("Tmpfs", {}),
        ("Mounts", []),
        ("CgroupnsMode", "host"),
        ("LogConfig", {"Type": "json-file", "Config": {}}),
    ],
)
def test_field_kept_otherwise_is_found(field: str, value: Any) -> None:
    asked = body()
    assert [name for name, _ in differences(asked, kept(asked, **{field: value}))] == [field]


def test_mount_that_became_writable_is_found() -> None:
    asked = body()
    mounts = [{**each, "ReadOnly": False} for each in asked["HostConfig"]["Mounts"]]
    assert [name for name, _ in differences(asked, kept(asked, Mounts=mounts))] == ["Mounts"]


def test_packages_are_refused_where_the_engine_shares_no_folder() -> None:
    place = Placement("i", "/s", 1, Access("published"), None, None)
    with pytest.raises(ConfigurationError, match="no packages can be put into them"):
        create_body(spec(environments=True), place)


def test_dropped_limit_is_reported_as_none() -> None:
    resources = SMALL.model_copy(update={"enforcement": "best_effort", "disk_write_mb_s": 4.0})
    asked = body(resources, device="/dev/loop0")
    table = plan(resources, HostFacts(1, "loop-ext4"))
    later = kept(asked, PidsLimit=None, BlkioDeviceWriteBps=None)
    found = {each.name: each for each in discarded(table, later)}
    assert {n for n, each in found.items() if each.limit_class == "none"} == {
        "pids",
        "disk_write_mb_s",
    }
    assert found["pids"].effective is None


def test_reserved_variables_and_labels_are_refused() -> None:
    place = Placement("i", "/s", 1, Access("unix"), None, None)
    with pytest.raises(ConfigurationError, match="SANDBOX_TOKEN are reserved"):
        create_body(spec(environment={"SANDBOX_TOKEN": "x"}), place)
    with pytest.raises(ConfigurationError, match=r"io\.sandbox-sdk\.spec are reserved"):
        create_body(spec(labels={"io.sandbox-sdk.spec": "x"}), place)


def test_specification_survives_in_the_labels() -> None:
    original = spec(labels={"a": "b"}, environment={"X": "1"}, agent_uid=777_777)
    made = create_body(original, Placement("i", "/s", 1, Access("unix"), None, None))
    assert restore_spec({"Config": {"Labels": made["Labels"]}}) == original


def test_unreadable_specification_is_an_error() -> None:
    with pytest.raises(EngineError, match="no readable specification"):
        restore_spec({"Name": "/x", "Config": {"Labels": {"io.sandbox-sdk.spec": "{}"}}})


# What the engine says of its host.


def host(url: str = "unix:///var/run/docker.sock", **info: Any) -> EngineHost:
    return read_host({"Name": "elsewhere", **info}, {}, url)


def test_engine_of_another_name_shares_no_files() -> None:
    assert not host().local
    assert not host("tcp://10.1.2.3:2375").local


def test_old_runc_missing_walls_and_shared_kernel_are_told() -> None:
    version = {"Components": [{"Name": "runc", "Version": "1.1.5+ds1"}]}
    found = read_host({"DefaultRuntime": "runc", "PidsLimit": False}, version, "unix:///x")
    text = "\n".join(found.warnings("published", "mounting a workspace needs root"))
    for words in ("shares the host's kernel", "runc 1.1.5", "AppArmor", "needs root", "'pids'"):
        assert words in text
    assert "in clear" in text
    assert "in clear" not in "\n".join(found.warnings("unix", ""))


def test_new_runc_is_not_complained_about() -> None:
    version = {"Components": [{"Name": "runc", "Version": "1.3.3"}]}
    found = read_host({"SecurityOptions": ["name=apparmor", "name=userns"]}, version, "unix:///x")
    assert found.warnings("unix", "") == ("control groups v1: disk rates hold for direct I/O only",)


def test_unknown_endpoint_is_refused(state_dir: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown endpoint 'pigeon'"):
        DockerEngine(state_dir=state_dir, endpoint="pigeon")


async def test_engine_is_refused_before_it_is_connected(state_dir: Path) -> None:
    with pytest.raises(EngineError, match="not connected"):
        await DockerEngine(state_dir=state_dir).create(spec())


# With an engine.


@pytest.mark.docker
async def test_state_folder_that_lies_too_deep_is_refused(
    needs_docker: None, state_dir: Path
) -> None:
    deep = state_dir / ("d" * 80)
    async with DockerEngine(state_dir=deep) as engine:
        with pytest.raises(ConfigurationError, match="the limit is 99"):
            await engine.create(spec())
    assert traces(deep) == []


@pytest.mark.docker
async def test_unknown_runtime_is_refused_with_those_it_has(
    engine: DockerEngine, state_dir: Path
) -> None:
    wanted = spec(resources=SMALL.model_copy(update={"runtime": "quantum"}))
    with pytest.raises(UnenforceableLimitError, match="no runtime 'quantum'") as refused:
        await engine.create(wanted)
    assert "runc" in refused.value.hint
    assert traces(state_dir) == []


@pytest.mark.docker
async def test_known_runtime_is_used(engine: DockerEngine) -> None:
    await engine.create(spec(resources=SMALL.model_copy(update={"runtime": "runc"})))
    assert docker("inspect", "-f", "{{.HostConfig.Runtime}}", NAME) == "runc"


@pytest.mark.docker
async def test_foreign_container_of_that_name_stays(engine: DockerEngine, state_dir: Path) -> None:
    image = await engine.ensure_image(print)
    docker("create", "--name", NAME, "--network", "none", image)
    try:
        with pytest.raises(EngineError, match="already in use"):
            await engine.create(spec())
        assert await engine.get(NAME) is None
        with pytest.raises(EngineError, match="belongs to somebody else"):
            await engine.remove(NAME)
        assert docker("ps", "-aq", "--filter", f"name=^{NAME}$") != ""
    finally:
        docker("rm", "-f", NAME)
    assert traces(state_dir) == []


@pytest.mark.docker
async def test_cancelled_creation_leaves_nothing(engine: DockerEngine, state_dir: Path) -> None:
    for turns in (1, 5, 50, 500):
        creating = asyncio.create_task(engine.create(spec()))
        for _ in range(turns):
            await asyncio.sleep(0)
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
        assert traces(state_dir) == []


@pytest.mark.docker
async def test_engine_that_warns_is_refused(
    engine: DockerEngine, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = DockerClient.run

    async def warning(self: DockerClient, work: Any, **settings: Any) -> Any:
        answer = await run(self, work, **settings)
        if isinstance(answer, tuple) and answer == ([], []):
            return ["Your kernel does not support something. Limitation discarded."], []
        return answer

    monkeypatch.setattr(DockerClient, "run", warning)
    with pytest.raises(UnenforceableLimitError, match="Limitation discarded"):
        await engine.create(spec())
    assert traces(state_dir) == []
    relaxed = SMALL.model_copy(update={"enforcement": "best_effort"})
    await (await engine.create(spec(resources=relaxed))).remove()


@pytest.mark.docker
async def test_workspace_that_is_not_the_mounted_one_stops_the_start(
    engine: DockerEngine, state_dir: Path
) -> None:
    container = await engine.create(spec())
    command("umount", str(state_dir / "sandboxes" / NAME / "workspace"))
    with pytest.raises(EngineError, match="did not mount the size-limited workspace"):
        await container.start()
    assert not (await container.status()).running
    await container.remove()
    assert traces(state_dir) == []


@pytest.mark.docker
async def test_half_made_sandboxes_are_removed(engine: DockerEngine, state_dir: Path) -> None:
    await (await engine.create(spec())).start()
    docker("rm", "-f", NAME)
    assert traces(state_dir) != []
    with pytest.raises(EngineError, match="left half-made"):
        await engine.create(spec())
    await engine.remove(NAME)
    assert traces(state_dir) == []


@pytest.mark.docker
async def test_removals_of_one_sandbox_at_once_all_succeed(
    engine: DockerEngine, state_dir: Path
) -> None:
    container = await engine.create(spec())
    await container.start()
    await asyncio.gather(*(engine.remove(NAME) for _ in range(6)), container.remove())
    assert traces(state_dir) == []


@pytest.mark.docker
async def test_container_that_died_says_how(engine: DockerEngine) -> None:
    container = await engine.create(spec())
    await container.start()
    docker("kill", NAME)
    status = await container.status()
    assert (status.running, status.exit_code, status.oom_killed) == (False, 137, False)


@pytest.mark.docker
async def test_another_state_folder_sees_none_of_it(engine: DockerEngine, state_dir: Path) -> None:
    await engine.create(spec(labels={"a": "b"}))
    async with DockerEngine(state_dir=state_dir / "other") as other:
        assert await other.list({}) == []
        assert await other.get(NAME) is None
        with pytest.raises(EngineError, match="belongs to somebody else"):
            await other.remove(NAME)
    assert [row.name for row in await engine.list({"a": "b"})] == [NAME]


@pytest.mark.docker
async def test_new_engine_takes_up_a_running_sandbox(engine: DockerEngine, state_dir: Path) -> None:
    created = await engine.create(spec())
    await created.start()
    async with Connection(created.endpoint) as connection:
        await connection.ready()
        await connection.upload("kept.txt", b"kept")
    async with DockerEngine(state_dir=state_dir) as later:
        found = await later.get(NAME)
        assert found is not None
        assert isinstance(found.endpoint, UnixEndpoint)
        async with Connection(found.endpoint) as connection:
            pieces = [piece async for piece in connection.download("kept.txt")]
        assert b"".join(pieces) == b"kept"
        assert all(limit.verified for limit in await found.limits())


@pytest.mark.docker
@pytest.mark.slow
async def test_twenty_sandboxes_are_made_and_removed_at_once(
    engine: DockerEngine, state_dir: Path
) -> None:
    names = [f"many-{number}" for number in range(20)]

    async def live(name: str) -> None:
        container = await engine.create(spec(name))
        await container.start()
        async with Connection(container.endpoint) as connection:
            await connection.ready(60)
        await container.remove()

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(live(name))
    assert await engine.list({}) == []
    assert leftovers(state_dir) == []


# Over TCP.


async def forwarder(stack: AsyncExitStack) -> str:
    """The engine as if it were on another machine: its socket behind a TCP port."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection("/var/run/docker.sock")
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stack.callback(server.close)
    return f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def refuses_without_token(endpoint: TcpEndpoint) -> bool:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return b" 401 " in line


@pytest.mark.docker
async def test_engine_elsewhere_is_reached_over_a_published_port(
    needs_docker: None, state_dir: Path
) -> None:
    async with AsyncExitStack() as stack:
        url = await forwarder(stack)
        engine: Engine = DockerEngine(state_dir=state_dir, base_url=url)
        await stack.enter_async_context(engine)
        await engine.ensure_image(print)
        capabilities = await engine.capabilities()
        assert capabilities.details["endpoint"] == "published"
        assert capabilities.workspace_mechanism == "tmpfs"
        assert any("in clear" in warning for warning in capabilities.warnings)
        container = await engine.create(spec())
        stack.push_async_callback(engine.remove, NAME)
        await container.start()
        assert isinstance(container.endpoint, TcpEndpoint)
        async with Connection(container.endpoint) as connection:
            await connection.ready()
            await connection.upload("x.txt", b"over there")
        assert await refuses_without_token(container.endpoint)
    assert traces(state_dir) == []


@pytest.mark.docker
async def test_unix_endpoint_is_refused_for_an_engine_elsewhere(
    needs_docker: None, state_dir: Path
) -> None:
    async with AsyncExitStack() as stack:
        url = await forwarder(stack)
        engine = DockerEngine(state_dir=state_dir, base_url=url, endpoint="unix")
        with pytest.raises(ConfigurationError, match="not on this machine"):
            await engine.connect()
        await engine.aclose()


@pytest.mark.docker
async def test_sandboxes_over_tcp_cannot_see_each_other(
    needs_docker: None, state_dir: Path
) -> None:
    async with DockerEngine(state_dir=state_dir, endpoint="tcp") as engine:
        await engine.ensure_image(print)
        try:
            ends = []
            for name in ("tcp-one", "tcp-two"):
                container = await engine.create(spec(name))
                await container.start()
                assert isinstance(container.endpoint, TcpEndpoint)
                assert await answers(container.endpoint)
                ends.append(container.endpoint)
            assert ends[0].token != ends[1].token
            probe = f"timeout 2 bash -c '</dev/tcp/{ends[0].host}/{ends[0].port}'"
            with pytest.raises(subprocess.CalledProcessError):
                docker("exec", "tcp-two", "sh", "-c", probe)
            twin = f"timeout 2 bash -c '</dev/tcp/127.0.0.1/{ends[0].port}'"
            docker("exec", "tcp-two", "sh", "-c", twin)
        finally:
            for name in ("tcp-one", "tcp-two"):
                await engine.remove(name)
    assert traces(state_dir, "tcp-one") == []


async def answers(endpoint: TcpEndpoint) -> bool:
    async with Connection(endpoint) as connection:
        await connection.ready()
    return await refuses_without_token(endpoint)


async def test_a_server_that_ends_at_once_leaves_its_last_words(
    engine: DockerEngine, state_dir: Path
) -> None:
    container = await engine.create(spec())
    (state_dir / "sandboxes" / NAME / "run" / "control").rmdir()

    await container.start()

    async def ended() -> bool:
        return not (await container.status()).running

    await eventually(ended, timeout_s=20)
    status = await container.status()
    assert status.exit_code == 1
    assert "FileNotFoundError" in status.error
