"""The pipe to a worker: requests, cancelling, and what happens when a driver misbehaves."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.worker.client import MOST_CHANNELS, Worker, Workers
from sandbox_sdk.databases.worker.driver import Caps
from sandbox_sdk.databases.worker.pipe import Pieces, WorkerLost
from tool_plugins.errors import ErrorCode, ToolError

from .conftest import CAPS, Listener, Query, copy_of, querying, until


async def code_of(asking: Any) -> ErrorCode:
    with pytest.raises(ToolError) as caught:
        await asking
    return caught.value.code


async def test_a_request_is_answered(query: Query) -> None:
    fields = await query("rows 2 3")

    assert fields == {
        "columns": [{"name": "n", "type": "integer"}, {"name": "text", "type": "text"}],
        "rows": [[0, "xxx"], [1, "xxx"]],
        "row_count": 2,
        "truncated": False,
        "truncated_by": None,
        "clipped_cells": 0,
    }


async def test_values_and_parameters_keep_their_meaning(query: Query) -> None:
    assert (await query("typed"))["rows"] == [
        ["1.10", "2024-01-02T03:04:05", {"base64": "AP8="}, None]
    ]
    params = [1, 2**60, None, "ä\U0001f600", {"base64": "AP8="}, {"a": [1.5]}]
    assert (await query("echo", params=params))["rows"] == [
        [[1, str(2**60), None, "ä\U0001f600", {"base64": "AP8="}, {"a": [1.5]}]]
    ]


@pytest.mark.parametrize(
    ("text", "params"),
    [("echo", ["a\x00"]), ("echo", ["\ud800"]), ("echo", [{1, 2}]), ("echo \ud800", None)],
)
async def test_what_cannot_be_sent_is_refused_and_the_next_works(
    query: Query, text: str, params: Any
) -> None:
    assert await code_of(query(text, params=params)) == ErrorCode.INVALID_ARGUMENT
    assert (await query("rows 1 1"))["row_count"] == 1


async def test_a_request_that_is_too_large_is_refused_and_the_next_works(query: Query) -> None:
    assert await code_of(query("echo", params=["x" * 2**25])) == ErrorCode.TOO_LARGE
    assert (await query("echo", params=["x" * 2**20], caps=Caps(1, 2**21, 10)))["row_count"] == 1


async def test_an_answer_that_is_too_large_is_an_error(query: Query) -> None:
    boundless = Caps(rows=100_000, bytes=2**30, cell_chars=2**30)
    assert await code_of(query(f"rows 40 {2**20}", caps=boundless)) == ErrorCode.TOO_LARGE
    assert (await query(f"rows 20 {2**20}", caps=boundless))["row_count"] == 20


async def test_calls_run_side_by_side_up_to_a_bound(query: Query, tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(MOST_CHANNELS)]
    running = [asyncio.create_task(query(f"wait {file}")) for file in files]
    for file in files:
        await until(file.exists)

    assert await code_of(query("rows 1 1", timeout_s=0.05)) == ErrorCode.BUSY
    waiting = asyncio.create_task(query("rows 1 1"))
    running[3].cancel()
    assert (await waiting)["row_count"] == 1
    for each in running:
        each.cancel()
    await asyncio.wait(running)
    assert (await query("rows 1 1"))["row_count"] == 1


async def test_a_call_ends_at_its_deadline_and_the_worker_goes_on(
    query: Query, worker: Worker
) -> None:
    with pytest.raises(ToolError, match=r"within 0\.05 s") as caught:
        await query("wait", timeout_s=0.05)

    assert caught.value.code == ErrorCode.TIMEOUT
    assert (await query("rows 1 1"))["row_count"] == 1
    assert not worker.lost


async def test_a_cancelled_call_is_cancelled_in_the_worker(
    query: Query, worker: Worker, tmp_path: Path
) -> None:
    running = asyncio.create_task(query(f"wait {tmp_path / 'begun'}", timeout_s=600))
    await until((tmp_path / "begun").exists)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await until(lambda: worker._idle)
    assert not worker.lost


async def test_a_call_that_does_not_stop_ends_the_worker_and_gets_a_timeout(
    query: Query, listener: Listener, worker: Worker, tmp_path: Path
) -> None:
    other = asyncio.create_task(query(f"wait {tmp_path / 'begun'}"))
    await until((tmp_path / "begun").exists)

    assert await code_of(query("stubborn", timeout_s=0.05)) == ErrorCode.TIMEOUT
    with pytest.raises(WorkerLost, match="another call") as caught:
        await other
    assert caught.value.deliberate
    await listener.until(lambda: listener.stuck_databases)
    assert listener.stuck_databases == ["db"]
    assert worker.lost
    with pytest.raises(WorkerLost):
        await query("rows 1 1")


async def test_a_cancelled_call_that_does_not_stop_ends_the_worker(
    query: Query, listener: Listener, tmp_path: Path
) -> None:
    running = asyncio.create_task(query(f"stubborn {tmp_path / 'begun'}", timeout_s=600))
    await until((tmp_path / "begun").exists)
    running.cancel()
    await listener.until(lambda: listener.stuck_databases)

    assert listener.reasons == ["another call in it could not be stopped"]


async def test_too_much_memory_is_an_error_and_no_end(query: Query, worker: Worker) -> None:
    for _ in range(2):
        assert await code_of(query("eat")) == ErrorCode.TOO_LARGE
    assert (await query("rows 1 1"))["row_count"] == 1
    assert not worker.lost


@pytest.mark.parametrize("text", ["raise", "systemexit"])
async def test_a_broken_driver_shows_only_in_the_log(
    query: Query, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ToolError) as caught:
        await query(text)

    assert caught.value.code == ErrorCode.INTERNAL
    assert "secret" not in str(caught.value.as_dict())
    assert f"in do_{text}" in caplog.text
    assert (await query("rows 1 1"))["row_count"] == 1


@pytest.mark.parametrize("text", ["crash", "exit"])
async def test_a_worker_that_dies_is_noticed_at_once(
    workers: Workers, listener: Listener, worker: Worker, text: str
) -> None:
    query = querying(worker)
    with pytest.raises(WorkerLost) as caught:
        await query(text)

    assert not caught.value.deliberate
    assert listener.reasons == ["it ended"]
    another = await workers.spawn("sandbox-1", listener)
    await another.open("db", copy_of())
    assert (await querying(another)("rows 1 1"))["row_count"] == 1


async def test_a_driver_settles_after_the_answer(query: Query) -> None:
    await query("rows 1 1")
    # Its channel is the next call's too: that call comes after what the first left to do.
    events = [row[0] for row in (await query("journal"))["rows"]]

    assert events[-4:] == ["begin read None", "rollback", "settled", "begin read None"]


async def test_a_database_can_be_opened_anew_and_closed(
    worker: Worker, query: Query, tmp_path: Path
) -> None:
    marker = tmp_path / "closed"
    await worker.open("db", copy_of(closed_file=str(marker)))
    await worker.open("db", copy_of())
    assert marker.read_text() == "closed\n"
    await worker.close("db")
    assert await code_of(query("rows 1 1")) == ErrorCode.DATABASE_UNAVAILABLE
    await worker.open("db", copy_of())
    assert (await query("rows 1 1"))["row_count"] == 1


async def test_a_driver_that_refuses_to_open_leaves_the_rest(worker: Worker, query: Query) -> None:
    assert await code_of(worker.open("other", copy_of(refuse="no such user"))) == (
        ErrorCode.DATABASE_UNAVAILABLE
    )
    assert await code_of(worker.open("other", copy_of("NoDriver"))) == ErrorCode.INTERNAL
    assert (await query("rows 1 1"))["row_count"] == 1


async def test_ending_closes_the_databases(worker: Worker, tmp_path: Path) -> None:
    marker = tmp_path / "closed"
    await worker.open("db", copy_of(closed_file=str(marker)))
    await worker.end()
    await worker.end()

    assert marker.read_text() == "closed\n"
    assert worker.lost


async def test_vectors_are_passed_on_within_the_caps(worker: Worker) -> None:
    await worker.open("points", copy_of("PointsDriver"))

    async def ask(verb: str, **arguments: Any) -> dict[str, Any]:
        caps = Caps(rows=10, bytes=1000, cell_chars=100)
        return await worker.request(verb, "points", arguments, caps=caps, timeout_s=20)

    assert (await ask("search", limit=1))["hits"][0]["score"] == "NaN"
    found = await ask("search", limit=5)
    assert (len(found["hits"]), found["truncated_by"]) == (2, "bytes")
    changed = await ask("upsert", collection="c", points=[1, 2])
    assert changed == {"collection": "c", "changed": 2, "count": 2}
    assert (await ask("delete", collection="c"))["changed"] is None
    assert await code_of(ask("query", query="SELECT 1")) == ErrorCode.UNSUPPORTED
    with pytest.raises(ToolError, match="no vector database"):
        await worker.request("search", "db", {}, caps=CAPS, timeout_s=20)


async def test_a_file_comes_in_pieces_that_wait_for_their_reader(query: Query) -> None:
    pieces = Pieces()
    asking = asyncio.create_task(query("rows 20000 1000", file="csv", pieces=pieces))
    asking.add_done_callback(lambda done: pieces.end())
    await pieces.begun()
    # Nobody reads: what is on its way stays far below the 20 MB of the file.
    channel = pieces._channel
    assert channel is not None
    await until(lambda: not channel._transport.is_reading())
    assert len(pieces._pieces) < 10
    size = 0
    async for piece in pieces:
        size += len(piece)

    fields = await asking
    assert fields["row_count"] == 20000
    assert fields["bytes"] == size > 20_000_000


async def test_a_file_nobody_reads_ends_at_the_deadline(query: Query, worker: Worker) -> None:
    pieces = Pieces()
    asking = asyncio.create_task(
        query("rows 1000000 1000", file="csv", pieces=pieces, timeout_s=0.2)
    )

    assert await code_of(asking) == ErrorCode.TIMEOUT
    assert not worker.lost
