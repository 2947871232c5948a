"""The sandbox as a function sees it: its `ctx`."""

import asyncio
from typing import Any

import pytest

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.tool.asking import PLUGINS
from tool_plugins.worker.process import Ask
from tool_plugins.worker.wire import MAX_ASKS

from .conftest import Load

HEAD = """
import asyncio
from datetime import date
from pathlib import Path
from tool_plugins.authoring import AsyncContext, Context, ToolError
"""
READ = (
    HEAD
    + '''
def read(path: str, *, ctx: Context) -> list[str]:
    """Reads a file."""
    data = ctx.filesystem.read(path, max_lines=2)
    return [data.content, data["lines"][0].text, data.lines.__class__.__name__]

async def later(path: str, ctx: AsyncContext) -> str:
    """Reads a file."""
    return (await ctx.filesystem.read(Path(path), since=date(2026, 5, 4))).content
'''
)
REFUSAL = ToolError(ErrorCode.NOT_FOUND, "no file 'a'", hint="look elsewhere")


async def test_a_tool_is_asked_for_by_its_name_and_arguments(load: Load):
    file = load(READ)
    data = {"content": "text", "lines": [{"text": "first"}]}
    file.answer = lambda ask: ask.reply({"data": data})

    assert await file.call("read", path="a") == ["text", "first", "list"]
    assert await file.call("later", path="a") == "text"
    assert file.asks == [
        {"tool": "filesystem.read", "positional": ["a"], "named": {"max_lines": 2}},
        {"tool": "filesystem.read", "positional": ["a"], "named": {"since": "2026-05-04"}},
    ]


@pytest.mark.parametrize("function", ["read", "later"])
async def test_what_a_tool_refuses_is_raised_and_told_if_nobody_catches_it(
    load: Load, function: str
):
    file = load(READ)
    file.answer = lambda ask: ask.reply({"error": REFUSAL.as_dict()})
    error = await file.refused(function, path="a")

    assert (error.code, error.message) == (ErrorCode.TOOL_RAISED, "no file 'a'")
    assert error.hint == "look elsewhere"
    assert error.details == {"type": "ToolError", "code": "NOT_FOUND"}


async def test_a_refusal_can_be_caught(load: Load):
    file = load(
        HEAD
        + '''
def look(ctx: Context) -> list[str]:
    """Looks."""
    try:
        ctx.web.fetch("http://localhost")
    except ToolError as exc:
        return [exc.code, exc.message, exc.hint]
    return []
'''
    )
    file.answer = lambda ask: ask.reply({"error": REFUSAL.as_dict()})

    assert await file.call("look") == ["NOT_FOUND", "no file 'a'", "look elsewhere"]


async def test_an_async_function_asks_for_several_at_once_and_goes_on_meanwhile(load: Load):
    file = load(
        HEAD
        + '''
async def several(count: int, ctx: AsyncContext) -> list[int]:
    """Asks for many."""
    turns = 0
    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)
    turning = asyncio.create_task(turn())
    found = await asyncio.gather(*(ctx.database.query(n) for n in range(count)))
    turning.cancel()
    return [data.number for data in found] if turns > 1 else []
'''
    )
    waiting: list[Ask] = []
    sizes: list[int] = []

    def answer(ask: Ask) -> None:
        # Nobody is answered until as many as may be have asked, and then the last one first.
        waiting.append(ask)
        if len(waiting) == MAX_ASKS:
            sizes.append(len(waiting))
            while waiting:
                last = waiting.pop()
                last.reply({"data": {"number": last.request["positional"][0]}})

    file.answer = answer

    count = 3 * MAX_ASKS
    assert await file.call("several", count=count) == list(range(count))
    assert sizes == [MAX_ASKS] * 3


async def test_an_ask_that_is_given_up_is_not_in_the_way(load: Load):
    file = load(
        HEAD
        + '''
async def impatient(ctx: AsyncContext) -> str:
    """Does not wait."""
    try:
        await asyncio.wait_for(ctx.terminal.run("sleep 100"), 0.01)
    except TimeoutError:
        return "gave up"
    return "waited"

async def patient(ctx: AsyncContext) -> int:
    """Waits."""
    return (await ctx.terminal.run("true")).exit_code
'''
    )
    file.answer = lambda _ask: None
    assert await file.call("impatient") == "gave up"
    file.answer = lambda ask: ask.reply({"data": {"exit_code": 0}})
    assert await asyncio.wait_for(file.call("patient"), 10) == 0


async def test_progress_and_logs_reach_the_caller(load: Load):
    file = load(
        HEAD
        + '''
def work(ctx: Context) -> str:
    """Works."""
    ctx.progress(1)
    ctx.progress(1.5, 3, "half " + "x" * 1000)
    ctx.log("a line")
    assert ctx.workspace == Path.cwd()
    return ctx.workspace.name

async def later(ctx: AsyncContext) -> None:
    """Works."""
    ctx.progress(2, total=2)
    ctx.log("another")

def wrong(ctx: Context) -> None:
    """Tells nonsense."""
    ctx.progress(float("nan"))
'''
    )
    assert await file.call("work") == file.workspace.name
    await file.call("later")
    error = await file.refused("wrong")

    assert [(each["progress"], each["total"]) for each in file.events] == [
        (1.0, None), (1.5, 3.0), (2.0, 2.0),
    ]  # fmt: skip
    assert file.events[1]["message"].startswith("half xxx")
    assert {each["event"] for each in file.events} == {"progress"}
    assert file.logs == "a line\nanother\n"
    assert error.message == "ValueError: progress is a number, not nan"


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("ctx.filesystem.write('a', object())", "the arguments of filesystem.write cannot be sent"),
        ("ctx.filesystem.write('a', float('nan'))", "the arguments of filesystem.write cannot"),
        ("ctx.filesystem.write('a', 'x' * 2_000_000)", "the arguments of filesystem.write cannot"),
        ("ctx.browser.open('a')", "AttributeError: ctx has no 'browser': its tools are those of"),
        ("ctx.tool.call('a')", "AttributeError: ctx has no 'tool'"),
        ("ctx.filesystem.__len__()", "AttributeError: __len__"),
    ],
)
async def test_what_cannot_be_asked_for_is_told_and_never_sent(load: Load, use: str, message: str):
    file = load(f"{HEAD}\ndef ask(ctx: Context) -> None:\n    'Asks.'\n    {use}\n")
    error = await file.refused("ask")

    assert error.code is ErrorCode.TOOL_RAISED
    assert error.message.startswith(message)
    assert file.asks == []


async def test_a_forked_process_cannot_ask(load: Load):
    file = load(
        HEAD
        + '''
import os

def split(ctx: Context) -> str:
    """Asks in a child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            ctx.filesystem.read("a")
        except BaseException as exc:
            os.write(writing, str(exc).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reading, 100).decode()
'''
    )

    assert await file.call("split") == "the call is over"
    assert file.asks == []


def test_the_plugins_are_those_that_authors_are_told_of():
    expected: list[Any] = ["filesystem", "terminal", "web", "document", "database", "vector"]

    assert list(PLUGINS) == expected
