"""What a program asks in the midst of a call, and who answers."""

import asyncio
from typing import Any

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.pool import WorkerPool
from tool_plugins.worker.process import Ask
from tool_plugins.worker.wire import MAX_ASKS, TooLongError

from .conftest import MakePool, started, until


async def test_an_answer_reaches_the_program(pool: WorkerPool):
    request = {"tool": "filesystem.read", "positional": ["ö\U0001f600"], "named": {"a": [None]}}

    def answer(ask: Ask) -> None:
        ask.reply({"data": {"heard": ask.request}})

    data = await pool.call("ask", {"request": request}, timeout_s=10, on_ask=answer)

    assert {"answer": {"heard": request}} == data


async def test_an_answer_may_be_large_and_come_late(pool: WorkerPool):
    asked: asyncio.Queue[Ask] = asyncio.Queue()
    call = asyncio.create_task(
        pool.call("ask", {"request": {}}, timeout_s=20, on_ask=asked.put_nowait)
    )
    ask = await asked.get()
    with pytest.raises(TooLongError):
        ask.reply({"data": {"text": "x" * 17_000_000}})
    ask.reply({"data": {"text": "x" * 7_000_000}})
    ask.reply({"data": {"text": "a second answer"}})

    assert len((await call)["answer"]["text"]) == 7_000_000
    ask.reply({"data": {"text": "after the call"}})
    assert (await pool.call("echo", {}, timeout_s=10))["args"] == {}


async def test_a_refusal_is_raised_in_the_program(pool: WorkerPool):
    error = ToolError(ErrorCode.NOT_FOUND, "no file 'a'", hint="look elsewhere")

    data = await pool.call(
        "ask_refused", {}, timeout_s=10, on_ask=lambda ask: ask.reply({"error": error.as_dict()})
    )

    assert data == {"type": "ToolError", "text": "no file 'a'", "hint": "look elsewhere"}


async def test_a_request_that_is_too_large_is_never_sent(pool: WorkerPool):
    asked: list[Ask] = []

    data = await pool.call("ask_refused", {"size": 2_000_000}, timeout_s=10, on_ask=asked.append)

    assert data["type"] == "ValueError"
    assert asked == []


@pytest.mark.parametrize("reverse", [False, True])
async def test_many_threads_ask_at_once_and_each_gets_its_own_answer(
    make_pool: MakePool, reverse: bool
):
    # The stacks of so many threads count as memory.
    pool, count, most = make_pool(memory_mb=None), 5 * MAX_ASKS, 0
    waiting: list[Ask] = []

    def answer_all() -> None:
        while waiting:
            ask = waiting.pop(-1 if reverse else 0)
            ask.reply({"data": {"number": ask.request["number"]}})

    def answer(ask: Ask) -> None:
        nonlocal most
        waiting.append(ask)
        most = max(most, len(waiting))
        if len(waiting) == MAX_ASKS:
            answer_all()

    data = await pool.call("ask_at_once", {"count": count}, timeout_s=20, on_ask=answer)

    assert [*range(count)] == data["answers"]
    assert most == MAX_ASKS


async def test_threads_that_outlive_their_call_disturb_no_other(pool: WorkerPool):
    asked: list[Ask] = []
    await pool.call("ask_later", {}, timeout_s=10, on_ask=asked.append)
    events: list[Any] = []

    later = await pool.call(
        "what_later", {}, timeout_s=10, on_event=events.append, on_ask=asked.append
    )

    assert later == {"said": ["the call is over", "the call is over", "told"]}
    assert events == []
    assert len(asked) <= 1


async def test_a_forked_process_cannot_speak(pool: WorkerPool):
    events: list[Any] = []

    assert await pool.call("fork", {}, timeout_s=10, on_event=events.append) == {"status": 0}
    assert (await pool.call("echo", {}, timeout_s=10))["args"] == {}
    assert events == []


async def test_a_call_that_waits_for_an_answer_can_be_given_up(pool: WorkerPool):
    with pytest.raises(ToolError) as caught:
        await pool.call("ask", {"request": {}}, timeout_s=0.5, on_ask=lambda _ask: None)

    assert ErrorCode.TIMEOUT is caught.value.code
    assert set() == started()


@pytest.mark.parametrize(
    "pieces",
    [
        [{"id": 1, "ask": "a", "request": {}}],
        [{"id": 1, "ask": True, "request": {}}],
        [{"id": 1, "ask": 1, "request": []}],
        [{"id": 1, "ask": 1}],
        [{"id": 1, "ask": 1, "request": {}}] * 2,
        [{"id": 1, "ask": number, "request": {}} for number in range(MAX_ASKS + 1)],
        [{"id": 1, "ask": 1, "request": {"text": "x" * 1_100_000}}],
    ],
    ids=["no number", "boolean", "no object", "nothing", "twice", "too many", "too large"],
)
async def test_a_program_that_asks_in_a_wrong_way_is_ended(pool: WorkerPool, pieces: list[Any]):
    with pytest.raises(ToolError, match="broke the protocol") as caught:
        await pool.call(
            "say", {"pieces": pieces, "sleep": True}, timeout_s=10, on_ask=lambda _ask: None
        )

    assert ErrorCode.INTERNAL is caught.value.code
    await until(lambda: set() == started())


async def test_a_program_that_asks_where_nobody_answers_is_ended(pool: WorkerPool):
    with pytest.raises(ToolError, match="broke the protocol"):
        await pool.call("ask", {"request": {}}, timeout_s=10)
