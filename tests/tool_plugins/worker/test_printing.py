"""What a worker and its children print, where the pool wants to have it."""

import asyncio
import os

import pytest

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.capture import READ_BYTES, Capture
from tool_plugins.worker.pool import WorkerPool

from .conftest import MakePool, started, until


@pytest.fixture
async def printing(make_pool: MakePool, host: Host) -> WorkerPool:
    return make_pool(capture=True, folder=host.workspace)


async def printed(pool: WorkerPool, verb: str, timeout_s: float = 10, **args: object) -> str:
    pieces: list[bytes] = []
    await pool.call(verb, args, timeout_s=timeout_s, on_output=pieces.append)
    return b"".join(pieces).decode("utf-8", "replace")


async def test_everything_that_is_printed_arrives_with_the_answer(printing: WorkerPool):
    text = await printed(printing, "printing", times=3)

    lines = text.splitlines()
    assert [f"python {n}" for n in range(3)] == [each for each in lines if "python" in each]
    assert [f"error {n}" for n in range(3)] == [each for each in lines if "error" in each]
    assert [lines.count(each) for each in ("write", "library", "child")] == [3, 3, 6]
    assert lines.index("python 0") < lines.index("error 0") < lines.index("child")


async def test_half_a_line_arrives_too_and_only_with_its_own_call(printing: WorkerPool):
    assert "python 0" in (await printed(printing, "printing", end=""))
    assert await printed(printing, "where") == "here\n"


async def test_much_that_is_printed_at_once_arrives_whole(printing: WorkerPool):
    assert await printed(printing, "print_ahead", size=700_000) == "x" * 700_000


async def test_output_arrives_while_the_call_runs(printing: WorkerPool):
    seen = asyncio.Event()
    call = asyncio.create_task(
        printing.call(
            "print_for_ever", {"here": True}, timeout_s=60, on_output=lambda _piece: seen.set()
        )
    )
    await seen.wait()
    call.cancel()
    await asyncio.wait([call])

    assert set() == started()


async def test_bytes_that_are_no_text_arrive_as_they_are(printing: WorkerPool):
    pieces: list[bytes] = []

    await printing.call("print_bytes", {}, timeout_s=10, on_output=pieces.append)

    assert b"".join(pieces) == b"\xff\x00\x1b[31m\xc3\\ud800\n"


async def test_a_flood_is_read_to_the_deadline_and_no_longer(printing: WorkerPool):
    size = 0

    def count(piece: bytes) -> None:
        nonlocal size
        size += len(piece)

    with pytest.raises(ToolError) as caught:
        await printing.call("print_for_ever", {"here": True}, timeout_s=1, on_output=count)

    assert ErrorCode.TIMEOUT is caught.value.code
    assert size > 1_000_000
    assert set() == started()


async def test_a_child_that_goes_on_printing_holds_nothing_up(printing: WorkerPool):
    await printing.call("print_for_ever", {"here": False}, timeout_s=10)

    # Both floods at once: the answers still arrive.
    for _ in range(5):
        assert "here\n" in await printed(printing, "where")


async def test_a_call_that_closes_its_output_and_leaves_harms_only_itself(
    printing: WorkerPool, host: Host
):
    pieces: list[bytes] = []
    assert (await printing.call("unprint", {}, timeout_s=10))["fd"] == 1

    data = await printing.call("where", {}, timeout_s=10, on_output=pieces.append)

    assert {"folder": str(host.workspace)} == data
    assert pieces == [b"here\n"]


async def test_what_nobody_listens_to_is_read_all_the_same(printing: WorkerPool):
    assert await printing.call("shout", {}, timeout_s=20) == {}


async def test_what_a_process_prints_before_it_dies_arrives(printing: WorkerPool):
    pieces: list[bytes] = []
    with pytest.raises(ToolError):
        await printing.call("print_and_die", {}, timeout_s=10, on_output=pieces.append)

    assert pieces == [b"last words"]
    await until(lambda: set() == started())


async def test_reading_what_is_there_ends_though_there_is_always_more():
    ours, theirs = os.pipe()
    capture, pieces = Capture(ours), 0

    def refill(piece: bytes) -> None:
        nonlocal pieces
        pieces += 1
        os.write(theirs, piece)

    os.write(theirs, bytes(READ_BYTES))
    capture.sink = refill
    capture.drain()

    assert pieces < 100
    capture.close()
    os.close(theirs)
