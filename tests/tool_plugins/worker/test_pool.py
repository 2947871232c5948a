"""Calls into worker processes, and how those live and end."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tool_plugins.context import Host, Identity
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.processes import Trees
from tool_plugins.worker.pool import WorkerPool

from .conftest import MakePool, lives, started, until


async def test_a_call_gives_what_its_handler_gives(pool: WorkerPool):
    args = {"text": 'ö"\n\U0001f600', "list": [1, 2.5, None, True, {"a": []}]}

    data = await pool.call("echo", args, timeout_s=10)

    assert data["args"] == args
    assert data["pid"] != os.getpid()


async def test_calls_meet_the_same_process_while_it_is_warm(pool: WorkerPool):
    first, second = [await pool.call("echo", {}, timeout_s=10) for _ in range(2)]

    assert (first["pid"], 1, 2) == (second["pid"], first["calls"], second["calls"])


async def test_a_worker_is_the_agents_and_bounded(
    make_pool: MakePool, host: Host, identity: Identity | None, monkeypatch: pytest.MonkeyPatch
):
    for folder in (str(host.workspace), str(host.tmp / "lib"), "", "relative"):
        monkeypatch.syspath_prepend(folder)
    host.environment["PYTHONPATH"] = str(host.workspace)

    seen = await make_pool(memory_mb=200).call("look", {}, timeout_s=10)

    assert (identity.uid if identity else os.getuid()) == seen["uid"]
    assert identity is None or [str(host.service(Trees).new().tag - 1)] == seen["groups"]
    assert (seen["data"], seen["core"]) == (200 * 1024**2, 0)
    assert seen["oom"] == "900"
    assert seen["cwd"] == "/"
    assert host.environment.items() <= seen["environment"].items()
    assert [fd for fd in seen["fds"] if fd < 3] == [0, 1, 2]
    # The channel, and the folder of descriptors that it looks at.
    assert len([fd for fd in seen["fds"] if fd > 2]) == 2
    assert 9 < seen["left"] < 10
    # What the kernel gives to root nobody else of the same user can read or write.
    assert seen["owner"] == 0
    strange = [path for path in seen["path"] if not os.path.isabs(path)]
    assert strange == []
    assert [path for path in seen["path"] if Path(path).is_relative_to(host.workspace.parent)] == []


async def test_an_error_of_a_handler_arrives_whole_and_the_process_stays(pool: WorkerPool):
    before = await pool.call("echo", {}, timeout_s=10)
    with pytest.raises(ToolError) as caught:
        await pool.call("refuse", {}, timeout_s=10)

    expected = {
        "code": "UNSUPPORTED_CONTENT",
        "message": "not this",
        "hint": "that",
        "details": {"kind": "this"},
    }
    assert expected == caught.value.as_dict()
    assert before["pid"] == (await pool.call("echo", {}, timeout_s=10))["pid"]


async def test_events_arrive_in_order_and_before_the_answer(pool: WorkerPool):
    events: list[int] = []

    await pool.call(
        "tell", {"count": 5000}, timeout_s=10, on_event=lambda event: events.append(event["number"])
    )

    assert [*range(5000), -1] == events


async def test_events_that_nobody_wants_are_dropped(pool: WorkerPool):
    assert await pool.call("tell", {"count": 100}, timeout_s=10) == {}


async def test_a_listener_that_fails_fails_the_call(pool: WorkerPool):
    def fail(event: dict) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await pool.call("sleep", {}, timeout_s=10, on_event=fail)

    assert set() == started()


@pytest.mark.parametrize("close", [False, True])
async def test_descriptors_are_handed_over_and_closed(pool: WorkerPool, tmp_path: Path, close):
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_text(file.name)
    before = await pool.call("fds", {}, timeout_s=10)
    descriptors = [os.open(file, os.O_RDONLY) for file in files]
    try:
        data = await pool.call("read", {"close": close}, timeout_s=10, descriptors=descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)

    assert list("abc") == data["texts"]
    assert not any(data["inherited"])
    assert before == await pool.call("fds", {}, timeout_s=10)


async def test_the_very_first_call_may_bring_descriptors(make_pool: MakePool, tmp_path: Path):
    (tmp_path / "a").write_text("text")
    for _ in range(5):
        with open(tmp_path / "a") as file:  # noqa: ASYNC230
            data = await make_pool().call(
                "read", {"close": False}, timeout_s=10, descriptors=[file.fileno()]
            )
        assert data["texts"] == ["text"]


async def test_as_many_calls_as_may_run_run_at_once_and_others_wait(make_pool: MakePool):
    pool = make_pool(size=2)
    begun: list[int] = []

    def sleeping() -> "asyncio.Task":
        call = pool.call("sleep", {}, timeout_s=60, on_event=lambda e: begun.append(e["pid"]))
        return asyncio.create_task(call)

    sleepers = [sleeping(), sleeping()]
    await until(lambda: len(begun) == 2)
    waiting = asyncio.create_task(pool.call("echo", {}, timeout_s=60))
    with pytest.raises(ToolError) as caught:
        await pool.call("echo", {}, timeout_s=0.05)

    assert ErrorCode.TIMEOUT is caught.value.code
    assert len(set(begun)) == 2
    assert not waiting.done()
    sleepers[0].cancel()
    assert (await waiting)["pid"] not in begun
    sleepers[1].cancel()
    await asyncio.wait(sleepers)


async def test_an_unused_process_is_ended_with_what_it_left(make_pool: MakePool):
    pool = make_pool(idle_s=0.2)
    left = (await pool.call("leave", {}, timeout_s=10))["pid"]
    pid = (await pool.call("echo", {}, timeout_s=10))["pid"]
    assert lives(pid)
    assert lives(left)

    await until(lambda: not pool.running)
    await until(lambda: not lives(pid) and not lives(left))

    assert pid != (await pool.call("echo", {}, timeout_s=10))["pid"]


async def test_a_process_in_use_is_not_unused(make_pool: MakePool):
    pool = make_pool(idle_s=0.05)
    await pool.call("echo", {}, timeout_s=10)
    with pytest.raises(ToolError) as caught:
        await pool.call("sleep", {}, timeout_s=0.5)

    assert ErrorCode.TIMEOUT is caught.value.code


async def test_reset_ends_the_process_and_the_call_that_runs(make_pool: MakePool):
    pool = make_pool(size=1, idle_s=3600)
    begun = asyncio.Event()
    call = asyncio.create_task(
        pool.call("sleep", {}, timeout_s=60, on_event=lambda _event: begun.set())
    )
    await begun.wait()
    assert pool.running

    await pool.reset()

    assert not pool.running
    assert set() == started()
    with pytest.raises(ToolError, match="ended by another call"):
        await call
    assert (await pool.call("echo", {}, timeout_s=10))["calls"] == 1
    await pool.reset()
    await pool.reset()
    assert set() == started()


async def test_closing_ends_everything_at_once(make_pool: MakePool):
    pool = make_pool(size=3)
    begun: list[int] = []
    calls = [
        asyncio.create_task(
            pool.call("sleep", {}, timeout_s=60, on_event=lambda e: begun.append(e["pid"]))
        )
        for _ in range(4)
    ]
    await until(lambda: len(begun) == 3)

    await pool.aclose()

    assert set() == started()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(each, ToolError) for each in outcomes] == [True] * 4
    with pytest.raises(ToolError, match="ending"):
        await pool.call("echo", {}, timeout_s=10)


async def test_a_process_that_was_killed_while_unused_is_replaced(pool: WorkerPool):
    data = await pool.call("leave", {}, timeout_s=10)
    pid = (await pool.call("echo", {}, timeout_s=10))["pid"]

    os.kill(pid, signal.SIGKILL)
    await until(lambda: not pool.running and not lives(data["pid"]))

    assert pid != (await pool.call("echo", {}, timeout_s=10))["pid"]


async def test_terminals_and_workers_share_no_tag(host: Host):
    trees = host.service(Trees)

    assert host.service(Trees) is trees
    if host.identity is not None:
        assert trees.new().tag != trees.new().tag


async def test_a_host_keeps_a_pool_as_its_service(host: Host, make_pool: MakePool):
    def echoing(given: Host) -> WorkerPool:
        return WorkerPool(given, "tests.tool_plugins.worker.program")

    first = await host.service(echoing).call("echo", {}, timeout_s=10)
    second = await host.service(echoing).call("echo", {}, timeout_s=10)
    await host.aclose()

    assert first["pid"] == second["pid"]
    assert not lives(first["pid"])
