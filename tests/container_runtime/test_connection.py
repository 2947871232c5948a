"""What a connection promises, whatever its endpoint."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from container_runtime.connection import Connection, ConnectionLost
from container_runtime.server.protocol import PROTOCOL_VERSION as SERVERS_VERSION
from container_runtime.spec import PROTOCOL_VERSION, AsgiEndpoint, TcpEndpoint, UnixEndpoint
from tests.container_runtime.action_server import EXECUTORS
from tests.container_runtime.serving import Server, until
from tool_plugins.contract import Action, ObservationEvent, OutputEvent, ProgressEvent
from tool_plugins.errors import ErrorCode, ProtocolError, SandboxGoneError, ToolError


async def test_ready_names_the_protocol_and_the_tools(connection: Connection) -> None:
    ready = await connection.ready()

    assert ready.protocol == PROTOCOL_VERSION == SERVERS_VERSION
    assert sorted(EXECUTORS) == list(ready.tools)
    assert {"memory_bytes", "pids", "cpus"} == ready.limits.keys()


async def test_an_action_is_answered_with_its_observation(connection: Connection) -> None:
    action = Action(tool="test.echo", args={"text": "grüße ✓ \x00\n"})

    observation = await connection.execute(action, timeout_s=5)

    assert observation.data == {"text": "grüße ✓ \x00\n"}
    assert observation.action_id == action.id


async def test_a_blocking_tool_runs_too(connection: Connection, workspace: Path) -> None:
    (workspace / "note").write_text("hello")

    observation = await connection.execute(
        Action(tool="test.read", args={"path": "note"}), timeout_s=5
    )

    assert observation.data == {"content": "hello"}


async def test_many_actions_run_at_once(connection: Connection) -> None:
    actions = [Action(tool="test.echo", args={"text": str(n)}) for n in range(200)]

    observations = await asyncio.gather(*(connection.execute(a, timeout_s=10) for a in actions))

    assert [str(n) for n in range(200)] == [o.data and o.data["text"] for o in observations]


async def test_a_stream_gives_live_events_and_ends_in_the_observation(
    connection: Connection,
) -> None:
    action = Action(tool="test.say", args={"lines": ["one\n", "two\n"]})

    events = [event async for event in connection.stream(action, timeout_s=5)]

    text = "".join(event.text for event in events if isinstance(event, OutputEvent))
    assert text == "one\ntwo\n"
    assert any(isinstance(event, ProgressEvent) and event.message == "half" for event in events)
    assert isinstance(events[-1], ObservationEvent)
    assert events[-1].observation.data == {"said": 2}


async def test_a_deadline_that_passes_ends_the_action_inside(
    connection: Connection, workspace: Path
) -> None:
    action = Action(tool="test.wait", args={"name": "late"})

    with pytest.raises(TimeoutError):
        await connection.execute(action, timeout_s=0.3)

    await until((workspace / "late.ended").exists)


async def test_cancelling_the_caller_ends_the_action_inside(
    connection: Connection, workspace: Path
) -> None:
    action = Action(tool="test.wait", args={"name": "cancelled"})
    task = asyncio.create_task(connection.execute(action, timeout_s=60))
    await until((workspace / "cancelled.started").exists)

    task.cancel()

    await until((workspace / "cancelled.ended").exists)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_closing_a_stream_ends_the_action_inside(
    connection: Connection, workspace: Path
) -> None:
    action = Action(tool="test.wait", args={"name": "stream"})
    async with aclosing(connection.stream(action, timeout_s=60)) as events:
        first = asyncio.ensure_future(anext(events))
        await until((workspace / "stream.started").exists)
        first.cancel()
        await asyncio.wait([first])

    await until((workspace / "stream.ended").exists)


async def test_a_deadline_holds_for_a_stream(connection: Connection, workspace: Path) -> None:
    action = Action(tool="test.wait", args={"name": "silent"})

    with pytest.raises(TimeoutError):
        _ = [event async for event in connection.stream(action, timeout_s=0.3)]

    await until((workspace / "silent.ended").exists)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("tool_error", ErrorCode.NO_MATCH),
        ("disk", ErrorCode.DISK_QUOTA),
        ("exit", ErrorCode.INTERNAL),
        ("cancelled", ErrorCode.INTERNAL),
        ("nan", ErrorCode.INTERNAL),
        ("object", ErrorCode.INTERNAL),
        ("huge", ErrorCode.TOO_LARGE),
        ("other", ErrorCode.INTERNAL),
    ],
)
async def test_a_failing_tool_is_an_error_in_the_observation(
    connection: Connection, how: str, code: ErrorCode
) -> None:
    action = Action(tool="test.fail", args={"how": how})

    observation = await connection.execute(action, timeout_s=10)

    assert observation.error is not None
    assert observation.error.code == code
    assert "secret" not in observation.error.message
    assert (await connection.execute(Action(tool="test.echo"), timeout_s=5)).ok


async def test_a_tool_error_keeps_its_hint_and_details(connection: Connection) -> None:
    action = Action(tool="test.fail", args={"how": "tool_error"})

    error = (await connection.execute(action, timeout_s=5)).error

    assert error is not None
    assert (error.message, error.hint, error.details) == ("no match", "look again", {"at": 3})


async def test_a_blocking_tool_that_exits_does_not_end_the_server(connection: Connection) -> None:
    observation = await connection.execute(Action(tool="test.leave"), timeout_s=5)

    assert observation.error is not None
    assert (await connection.execute(Action(tool="test.echo"), timeout_s=5)).ok


async def test_text_that_no_encoder_takes_is_replaced(connection: Connection) -> None:
    action = Action(tool="test.fail", args={"how": "surrogate"})

    assert (await connection.execute(action, timeout_s=5)).data == {"value": "a?b"}


async def test_an_unknown_tool_is_an_error_that_names_the_known_ones(
    connection: Connection,
) -> None:
    error = (await connection.execute(Action(tool="test.nothing"), timeout_s=5)).error

    assert error is not None
    assert error.code == ErrorCode.UNKNOWN_TOOL
    assert "test.echo" in error.hint


async def test_an_action_that_is_too_large_is_an_error_and_hurts_no_other(
    connection: Connection,
) -> None:
    action = Action(tool="test.echo", args={"text": "x" * (17 * 1024 * 1024)})

    observation = await connection.execute(action, timeout_s=10)

    assert observation.error is not None
    assert observation.error.code == ErrorCode.TOO_LARGE
    assert (await connection.execute(Action(tool="test.echo"), timeout_s=5)).ok


async def test_a_file_goes_up_and_comes_down_unchanged(connection: Connection) -> None:
    content = bytes(range(256)) * 5000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    result = await connection.upload("new/folder/file.bin", pieces())
    down = b"".join([piece async for piece in connection.download("new/folder/file.bin")])

    assert (result.path, result.bytes) == ("new/folder/file.bin", len(content))
    assert down == content


async def test_a_path_may_hold_any_character(connection: Connection) -> None:
    name = "a b&c=d%20+é?#.txt"

    await connection.upload(name, b"odd")

    assert b"".join([piece async for piece in connection.download(name)]) == b"odd"


async def test_create_does_not_overwrite(connection: Connection, workspace: Path) -> None:
    await connection.upload("kept", b"first", mode="create")

    with pytest.raises(ToolError) as caught:
        await connection.upload("kept", b"second", mode="create")

    assert caught.value.code is ErrorCode.ALREADY_EXISTS
    assert (workspace / "kept").read_bytes() == b"first"


async def test_executable_sets_the_bits_and_its_absence_keeps_them(
    connection: Connection, workspace: Path
) -> None:
    await connection.upload("tool", b"1", executable=True)
    await connection.upload("tool", b"2")

    assert (workspace / "tool").stat().st_mode & 0o111


async def test_an_upload_that_breaks_off_leaves_nothing(
    connection: Connection, workspace: Path
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 100_000
        raise ValueError("the source failed")

    with pytest.raises(ValueError, match="the source failed"):
        await connection.upload("half", broken())

    await until(lambda: not any(workspace.iterdir()))
    assert (await connection.execute(Action(tool="test.echo"), timeout_s=5)).ok


async def test_a_refused_upload_is_told_before_everything_is_sent(
    connection: Connection, workspace: Path
) -> None:
    (workspace / "folder").mkdir()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65_536)

    async with asyncio.timeout(5):
        with pytest.raises(ToolError) as caught:
            await connection.upload("folder", endless())

    assert caught.value.code is ErrorCode.IS_DIRECTORY


@pytest.mark.parametrize("path", ["missing", "../outside", "/etc/passwd"])
async def test_what_cannot_be_read_is_a_tool_error(connection: Connection, path: str) -> None:
    with pytest.raises(ToolError):
        _ = [piece async for piece in connection.download(path)]


async def test_a_folder_goes_up_and_comes_down_unchanged(
    connection: Connection, state_dir: Path
) -> None:
    source, target = state_dir / "source", state_dir / "target"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "file").write_bytes(b"x" * 300_000)
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("deep/er/file")
    (source / "out").symlink_to("/etc/passwd")

    up = await connection.upload_folder(source, "copy")
    down = await connection.download_folder("copy", target)

    assert (up.files, up.bytes, up.skipped) == (2, 300_010, 1)
    assert (down.files, down.bytes) == (2, 300_010)
    assert (target / "link").read_bytes() == b"x" * 300_000
    assert (target / "run.sh").stat().st_mode & 0o100
    assert not (target / "out").is_symlink()


async def test_a_missing_folder_is_a_tool_error_and_makes_nothing_here(
    connection: Connection, state_dir: Path
) -> None:
    with pytest.raises(ToolError) as caught:
        await connection.download_folder("missing", state_dir / "target")

    assert caught.value.code is ErrorCode.NOT_FOUND
    assert not (state_dir / "target").exists()


async def test_a_folder_larger_than_allowed_is_refused(
    connection: Connection, workspace: Path, state_dir: Path
) -> None:
    (workspace / "big").mkdir()
    with (workspace / "big" / "sparse").open("wb") as file:
        file.truncate(1 << 40)

    with pytest.raises(ToolError) as caught:
        await connection.download_folder("big", state_dir / "target", max_bytes=1 << 20)

    assert caught.value.code is ErrorCode.TOO_LARGE


async def test_watch_reports_changes_in_old_and_new_folders(
    connection: Connection, workspace: Path
) -> None:
    (workspace / "old").mkdir()
    (workspace / "old" / "gone").touch()
    seen: set[tuple[str, str]] = set()
    wanted = {
        ("created", "new"),
        ("created", "new/sub"),
        ("created", "new/sub/file"),
        ("modified", "old/gone"),
        ("deleted", "old/gone"),
    }

    async with asyncio.timeout(5), connection.watch(".") as changes:
        (workspace / "old" / "gone").write_text("x")
        (workspace / "new" / "sub").mkdir(parents=True)
        (workspace / "new" / "sub" / "file").touch()
        (workspace / "old" / "gone").unlink()
        async for change in changes:
            seen.add((change.event, change.path))
            if wanted <= seen:
                break


async def test_watch_without_recursion_stays_at_the_top(
    connection: Connection, workspace: Path
) -> None:
    (workspace / "below").mkdir()

    async with asyncio.timeout(5), connection.watch(".", recursive=False) as changes:
        (workspace / "below" / "file").write_text("x")
        (workspace / "top").write_text("x")

        assert (await anext(changes)).path == "top"


async def test_closing_the_connection_ends_calls_under_way(
    connection: Connection, workspace: Path
) -> None:
    action = Action(tool="test.wait", args={"name": "open"})
    task = asyncio.create_task(connection.execute(action, timeout_s=60))
    await until((workspace / "open.started").exists)

    await connection.aclose()

    with pytest.raises(ConnectionLost):
        await task
    await until((workspace / "open.ended").exists)
    with pytest.raises(ConnectionLost):
        await connection.execute(Action(tool="test.echo"), timeout_s=5)


async def test_nobody_at_the_socket_is_a_lost_connection(state_dir: Path) -> None:
    async with Connection(UnixEndpoint(state_dir / "nobody.sock")) as connection:
        with pytest.raises(ConnectionLost):
            await connection.execute(Action(tool="test.echo"), timeout_s=5)
        with pytest.raises(SandboxGoneError):
            await connection.ready(0.1)


async def test_a_server_that_dies_under_an_action_is_a_lost_connection(server: Server) -> None:
    async with Connection(server.endpoint) as connection:
        await connection.ready()
        action = Action(tool="test.wait", args={"name": "doomed"})
        task = asyncio.create_task(connection.execute(action, timeout_s=60))
        await until((server.workspace / "doomed.started").exists)

        server.process.kill()

        with pytest.raises(ConnectionLost):
            await task


async def test_tcp_with_the_token_does_all_the_same(tcp_server: Server) -> None:
    async with Connection(tcp_server.endpoint) as connection:
        await connection.ready()
        say = Action(tool="test.say", args={"lines": ["one"]})
        events = [event async for event in connection.stream(say, timeout_s=5)]
        await connection.upload("file", b"x" * 1_000_000)
        down = b"".join([piece async for piece in connection.download("file")])

    assert isinstance(events[-1], ObservationEvent)
    assert down == b"x" * 1_000_000


async def test_the_token_is_in_no_environment(tcp_server: Server) -> None:
    async with Connection(tcp_server.endpoint) as connection:
        observation = await connection.execute(Action(tool="test.environ"), timeout_s=5)

    assert observation.data is not None
    assert "SANDBOX_TOKEN" not in observation.data["server"]
    assert not [name for name in observation.data["agent"] if name.startswith("SANDBOX_")]


async def test_a_wrong_token_is_refused(tcp_server: Server) -> None:
    assert isinstance(tcp_server.endpoint, TcpEndpoint)
    endpoint = TcpEndpoint("127.0.0.1", tcp_server.endpoint.port, "wrong")
    async with Connection(endpoint) as connection:
        with pytest.raises(ProtocolError, match="token"):
            await connection.ready()
        with pytest.raises(ProtocolError, match="token"):
            await connection.execute(Action(tool="test.echo"), timeout_s=5)


async def test_a_socket_below_a_long_path_is_reached(server: Server, state_dir: Path) -> None:
    deep = state_dir / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    assert isinstance(server.endpoint, UnixEndpoint)
    async with Connection(server.endpoint) as connection:
        await connection.ready()
    (deep / "s").hardlink_to(server.endpoint.path)

    async with Connection(UnixEndpoint(deep / "s")) as connection:
        assert (await connection.ready()).protocol == PROTOCOL_VERSION


async def test_an_application_that_fails_is_a_protocol_error() -> None:
    async def broken(_scope: object, _receive: object, _send: object) -> None:
        raise ValueError("broken inside")

    async with Connection(AsgiEndpoint(broken)) as connection:
        with pytest.raises(ProtocolError):
            await connection.execute(Action(tool="test.echo"), timeout_s=5)
