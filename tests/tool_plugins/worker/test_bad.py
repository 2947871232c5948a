"""Workers that crash, hang, eat, flood and lie. Each must be a clear error, and leave nothing."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.pool import WorkerPool

from .conftest import MakePool, lives, started, until

ROOT = Path(__file__).parents[3]


async def refused(pool: WorkerPool, verb: str, timeout_s: float = 20, **args: Any) -> ToolError:
    """The error of a call that must fail, after which the next one must not."""
    with pytest.raises(ToolError) as caught:
        await pool.call(verb, args, timeout_s=timeout_s)
    assert (await pool.call("echo", {}, timeout_s=10))["args"] == {}
    assert len(caught.value.message) <= 4001
    return caught.value


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("exit", "ended with code 7"),
        ("segv", "ended by SIGSEGV"),
        ("abort", "ended by SIGABRT"),
        ("kill", "ended by SIGKILL"),
        ("close", "ended with code 1"),
        ("shutdown", "ended by SIGKILL"),
    ],
)
async def test_a_process_that_dies_is_told_and_replaced(pool: WorkerPool, how: str, says: str):
    error = await refused(pool, "die", how=how)

    assert ErrorCode.INTERNAL is error.code
    assert says in error.message


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("exit", ErrorCode.INTERNAL),
        ("error", ErrorCode.INTERNAL),
        ("recursion", ErrorCode.TOO_LARGE),
        ("import", ErrorCode.UNSUPPORTED),
        ("large", ErrorCode.NOT_FOUND),
    ],
)
async def test_what_a_handler_raises_is_an_error_and_the_process_stays(
    pool: WorkerPool, what: str, code: ErrorCode, caplog: pytest.LogCaptureFixture
):
    before = await pool.call("echo", {}, timeout_s=10)
    error = await refused(pool, "raising", what=what)

    assert code is error.code
    assert "secret" not in error.message
    assert before["pid"] == (await pool.call("echo", {}, timeout_s=10))["pid"]
    logged = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert (what in ("exit", "error", "import")) == bool(logged)
    assert not any("\x1b" in each for each in logged)


async def test_an_unknown_verb_and_a_missing_program_are_errors(make_pool: MakePool):
    assert ErrorCode.INTERNAL is (await refused(make_pool(), "no_such_verb")).code
    with pytest.raises(ToolError, match=r"'tests\.no_such_program' is not installed") as caught:
        await make_pool("tests.no_such_program").call("echo", {}, timeout_s=10)
    assert ErrorCode.UNSUPPORTED is caught.value.code


async def test_print_never_disturbs_the_answer(pool: WorkerPool):
    assert await pool.call("shout", {}, timeout_s=20) == {}


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("large", ErrorCode.TOO_LARGE),
        ("nan", ErrorCode.INTERNAL),
        ("object", ErrorCode.INTERNAL),
        ("list", ErrorCode.INTERNAL),
        ("deep", ErrorCode.INTERNAL),
        ("many", ErrorCode.TOO_LARGE),
    ],
)
async def test_a_result_that_cannot_be_taken_is_an_error(pool: WorkerPool, what, code):
    assert code is (await refused(pool, "give", what=what, size=50_000_000)).code


async def test_large_text_that_looks_like_many_values_is_taken(pool: WorkerPool):
    data = await pool.call("give", {"what": "text"}, timeout_s=10)

    assert data == {"text": "a,[{" * 1_000_000}


async def test_text_that_is_no_text_arrives_as_text(pool: WorkerPool):
    assert await pool.call("give", {"what": "surrogate"}, timeout_s=10) == {"text": "a?b"}


async def test_a_call_that_is_too_large_is_refused_before_it_is_sent(pool: WorkerPool):
    before = await pool.call("echo", {}, timeout_s=10)
    error = await refused(pool, "echo", text="x" * 20_000_000)

    assert ErrorCode.TOO_LARGE is error.code
    assert before["pid"] == (await pool.call("echo", {}, timeout_s=10))["pid"]


async def test_a_large_call_and_answer_pass(pool: WorkerPool):
    text = "ö" * 4_000_000

    assert {"text": text} == (await pool.call("echo", {"text": text}, timeout_s=20))["args"]


async def test_memory_beyond_the_limit_is_refused_and_given_back(make_pool: MakePool):
    pool = make_pool(memory_mb=100)
    pid = (await pool.call("echo", {}, timeout_s=10))["pid"]
    error = await refused(pool, "eat")

    assert ErrorCode.TOO_LARGE is error.code
    assert "100 MB" in error.message
    assert not lives(pid)


@pytest.mark.parametrize("args", [{}, {"stopped": True}, {"busy": True}], ids=str)
async def test_a_timeout_ends_the_whole_tree(pool: WorkerPool, args: dict[str, Any]):
    seen: list[dict[str, Any]] = []
    with pytest.raises(ToolError) as caught:
        await pool.call("sleep", args, timeout_s=1.5, on_event=seen.append)

    assert ErrorCode.TIMEOUT is caught.value.code
    assert "1.5 seconds" in caught.value.message
    assert len(seen) == 1
    assert set() == started()
    await pool.call("echo", {}, timeout_s=10)


async def test_a_cancelled_call_ends_the_whole_tree(pool: WorkerPool):
    begun = asyncio.Event()
    call = asyncio.create_task(
        pool.call("sleep", {}, timeout_s=60, on_event=lambda _event: begun.set())
    )
    await begun.wait()
    await until(lambda: len(started()) >= 5)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert set() == started()


async def test_a_call_cancelled_twice_still_ends_its_tree(pool: WorkerPool):
    begun = asyncio.Event()
    call = asyncio.create_task(
        pool.call("sleep", {}, timeout_s=60, on_event=lambda _event: begun.set())
    )
    await begun.wait()

    call.cancel()
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])

    await until(lambda: not started())


async def test_processes_that_keep_moving_are_ended(pool: WorkerPool):
    begun = asyncio.Event()
    call = asyncio.create_task(
        pool.call("flee", {}, timeout_s=60, on_event=lambda _event: begun.set())
    )
    await begun.wait()

    call.cancel()
    await asyncio.wait([call])

    assert set() == started()


async def test_a_flood_of_events_holds_nobody_up(pool: WorkerPool):
    with pytest.raises(ToolError) as caught:
        await pool.call("tell_for_ever", {}, timeout_s=1)

    assert ErrorCode.TIMEOUT is caught.value.code


async def test_an_event_that_is_too_large_fails_the_handler(pool: WorkerPool):
    assert ErrorCode.INTERNAL is (await refused(pool, "tell_too_much")).code


@pytest.mark.parametrize(
    "pieces",
    [
        ["no JSON"],
        ["[]"],
        ['{"id":1,"data":{"a":NaN}}'],
        ["[" * 100_000],
        [{"id": 2, "data": {}}],
        [{"data": {}}],
        [{"id": 1, "data": []}],
        [{"id": 1}],
        [{"id": 1, "event": []}],
        ["\xff\xfe"],
        [""],
    ],
    ids=repr,
)
async def test_a_worker_that_breaks_the_protocol_is_ended(pool: WorkerPool, pieces: list[Any]):
    error = await refused(pool, "say", pieces=pieces, sleep=True)

    assert ErrorCode.INTERNAL is error.code
    assert "broke the protocol" in error.message


@pytest.mark.parametrize("piece", ["\x7fxxx", "\x02\x00\x00\x00"], ids=repr)
async def test_a_message_that_claims_to_be_huge_is_not_awaited(pool: WorkerPool, piece: str):
    error = await refused(pool, "say", pieces=[piece], raw=True, sleep=True)

    assert "broke the protocol" in error.message


async def test_an_answer_with_something_after_it_ends_the_worker(pool: WorkerPool):
    begun = [{"id": 1, "data": {"first": True}}]
    with contextlib.suppress(ToolError):
        await pool.call("say", {"pieces": begun, "sleep": True, "half": True}, timeout_s=10)

    await until(lambda: not pool.running)
    await until(lambda: set() == started())


async def test_half_a_message_and_silence_is_a_timeout(pool: WorkerPool):
    error = await refused(
        pool, "say", pieces=["\x00\x00\x01\x00{"], raw=True, sleep=True, timeout_s=1
    )

    assert ErrorCode.TIMEOUT is error.code


@pytest.mark.parametrize("error", [None, [], "x", {"code": 7, "message": {}, "details": []}])
async def test_an_error_that_makes_no_sense_is_an_internal_one(pool: WorkerPool, error: Any):
    forged = {"id": 1, "error": error, "trace": 7, "spent": "yes"}

    assert ErrorCode.INTERNAL is (await refused(pool, "say", pieces=[forged], sleep=True)).code


@pytest.mark.parametrize("verb", ["say_values", "say_quotes"])
async def test_values_that_would_fill_the_server_are_not_made(pool: WorkerPool, verb: str):
    error = await refused(pool, verb)

    assert "broke the protocol" in error.message


SERVER = """
import asyncio, sys
from pathlib import Path
from tool_plugins.context import Host
from tool_plugins.worker.pool import WorkerPool

async def main():
    folder = Path(sys.argv[1])
    host = Host(folder, folder, folder, environment={"PATH": "/usr/bin:/bin"})
    pool = WorkerPool(host, "tests.tool_plugins.worker.program")
    print((await pool.call("echo", {}, timeout_s=20))["pid"], flush=True)
    if sys.argv[2] == "busy":
        await pool.call("sleep", {"busy": True}, timeout_s=60)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_a_server_that_is_killed_leaves_no_worker(tmp_path: Path, state: str):
    server = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", SERVER, str(tmp_path), state], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        pid = int(await asyncio.to_thread(server.stdout.readline))
        assert lives(pid)
    finally:
        server.kill()
        server.communicate()

    await until(lambda: not lives(pid))


async def test_a_worker_that_speaks_unasked_is_ended(pool: WorkerPool):
    await pool.call("say_later", {}, timeout_s=10)

    await until(lambda: not pool.running)
    await until(lambda: set() == started())


async def test_a_stopped_worker_does_not_stop_the_pool(pool: WorkerPool):
    pid = (await pool.call("echo", {}, timeout_s=10))["pid"]
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(ToolError) as caught:
        await pool.call("echo", {"text": "x" * 5_000_000}, timeout_s=0.5)

    assert ErrorCode.TIMEOUT is caught.value.code
    assert pid != (await pool.call("echo", {}, timeout_s=10))["pid"]
