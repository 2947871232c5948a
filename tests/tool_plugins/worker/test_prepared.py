"""Processes that do something once before their first call, and one that is ahead of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.prepared import Crowd, PreparedPool, Spares

from .conftest import PROGRAM, MakePool, lives, started, until

Prepared = Callable[..., PreparedPool]


@pytest.fixture
async def prepared(make_pool: MakePool, host: Host) -> AsyncIterator[Prepared]:
    """Makes pools that load something first. Closed before `make_pool` looks what is left."""
    async with AsyncExitStack() as stack:

        def make(what: str = "a", **options: Any) -> PreparedPool:
            first = ("load", {"what": what, **options.pop("load", {})})
            pool = PreparedPool(host, PROGRAM, first=first, **options)
            stack.push_async_callback(pool.aclose)
            return pool

        yield make


@pytest.fixture
async def spares(make_pool: MakePool, host: Host) -> AsyncIterator[Spares]:
    made = Spares(host, PROGRAM, first=("load", {"what": "spare"}))
    yield made
    await made.aclose()


async def loaded(pool: PreparedPool) -> dict[str, Any]:
    return await pool.call("loaded", {}, timeout_s=10)


async def test_a_process_loads_once_and_before_its_first_call(prepared: Prepared):
    pool = prepared()

    assert [
        (each["loaded"], each["calls"]) for each in (await loaded(pool), await loaded(pool))
    ] == [(["a"], 1), (["a"], 2)]


async def test_each_process_of_a_pool_loads(prepared: Prepared):
    pool = prepared(size=2)
    both = await asyncio.gather(loaded(pool), loaded(pool))

    assert [each["loaded"] for each in both] == [["a"], ["a"]]
    assert both[0]["pid"] != both[1]["pid"]


async def test_what_is_printed_while_loading_belongs_to_the_first_call(prepared: Prepared):
    pool, pieces = prepared(capture=True), []

    for _ in range(2):
        await pool.call("loaded", {}, timeout_s=10, on_output=pieces.append)

    assert pieces == [b"loading\n"]


async def test_a_process_that_cannot_load_is_ended_and_the_next_tries_again(prepared: Prepared):
    pool = prepared(load={"fail": "no good"})
    for _ in range(2):
        with pytest.raises(ToolError, match="no good") as caught:
            await loaded(pool)
        assert ErrorCode.SCHEMA_ERROR is caught.value.code
        assert set() == started()


async def test_loading_takes_part_of_the_time_of_the_call(prepared: Prepared):
    with pytest.raises(ToolError) as caught:
        await prepared(load={"sleep": 100}).call("loaded", {}, timeout_s=1)

    assert ErrorCode.TIMEOUT is caught.value.code
    assert set() == started()


async def test_a_process_ends_after_so_many_calls(prepared: Prepared):
    pool = prepared(max_calls=2)
    calls = [await loaded(pool) for _ in range(4)]

    assert [each["calls"] for each in calls] == [1, 2, 1, 2]
    assert set() == started()


async def test_a_spare_is_taken_over_and_replaced(prepared: Prepared, spares: Spares):
    spares.warm()
    spares.warm()
    await until(lambda: spares.running)
    one, other = prepared("a", spares=spares), prepared("b", spares=spares)

    first = await loaded(one)
    await until(lambda: spares.running)
    second = await loaded(other)

    assert [first["loaded"], second["loaded"]] == [["spare", "a"], ["spare", "b"]]
    assert first["pid"] == (await loaded(one))["pid"]
    await until(lambda: spares.running)


async def test_without_a_spare_a_process_starts(prepared: Prepared, spares: Spares):
    pool = prepared("a", spares=spares)

    assert (await loaded(pool))["loaded"] == ["a"]


async def test_a_spare_that_is_busy_is_nobodys(prepared: Prepared, spares: Spares):
    begun = asyncio.Event()
    busy = asyncio.create_task(
        spares.call("sleep", {}, timeout_s=60, on_event=lambda _event: begun.set())
    )
    await begun.wait()

    assert (await loaded(prepared("a", spares=spares)))["loaded"] == ["a"]
    busy.cancel()
    await asyncio.wait([busy])


async def test_an_unused_spare_ends(make_pool: MakePool, host: Host):
    spares = Spares(host, PROGRAM, first=("load", {"what": "spare"}), idle_s=0.1)
    spares.warm()
    await until(lambda: spares.running)

    await until(lambda: not spares.running and not started())
    await spares.aclose()


async def test_a_spare_that_died_is_not_handed_over(prepared: Prepared, spares: Spares):
    pid = (await loaded(spares))["pid"]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not lives(pid) and not spares.running)

    assert (await loaded(prepared("a", spares=spares)))["loaded"] == ["a"]


async def test_a_spare_that_cannot_begin_is_no_harm(make_pool: MakePool, host: Host):
    spares = Spares(host, PROGRAM, first=("load", {"what": "spare", "fail": "no good"}))
    spares.warm()
    pool = PreparedPool(host, PROGRAM, first=("load", {"what": "a"}), spares=spares)

    assert (await loaded(pool))["loaded"] == ["a"]
    await pool.aclose()
    await spares.aclose()
    assert set() == started()


async def test_closing_ends_a_spare_that_is_being_made(make_pool: MakePool, host: Host):
    spares = Spares(host, PROGRAM, first=("load", {"what": "spare", "sleep": 100}))
    pool = PreparedPool(host, PROGRAM, first=("load", {"what": "a"}), spares=spares)
    spares.warm()
    call = asyncio.create_task(loaded(pool))
    await until(lambda: started())

    await pool.aclose()
    await spares.aclose()

    assert set() == started()
    with pytest.raises(ToolError, match="ending"):
        await call
    spares.warm()
    assert not spares.running


async def test_a_pool_that_closes_meanwhile_gets_no_spare(make_pool: MakePool, host: Host):
    spares = Spares(host, PROGRAM, first=("load", {"what": "spare", "sleep": 0.3}))
    pool = PreparedPool(host, PROGRAM, first=("load", {"what": "a"}), spares=spares)
    spares.warm()
    call = asyncio.create_task(loaded(pool))
    await until(lambda: started())

    await pool.aclose()

    with pytest.raises(ToolError, match="ending"):
        await call
    await spares.aclose()


async def test_of_all_that_wait_only_so_many_stay(prepared: Prepared):
    crowd = Crowd(2)
    pools = [prepared(name, crowd=crowd) for name in "abc"]
    pids = [(await loaded(pool))["pid"] for pool in pools]

    await until(lambda: not lives(pids[0]))
    assert [pool.running for pool in pools] == [False, True, True]
    assert pids[1] == (await loaded(pools[1]))["pid"]
    await loaded(pools[0])
    await until(lambda: not lives(pids[2]))
    assert pids[1] == (await loaded(pools[1]))["pid"]
