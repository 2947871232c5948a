"""A sandbox that answers anything but the protocol costs the host one clear error."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from container_runtime.connection import Connection, ConnectionLost
from container_runtime.spec import UnixEndpoint
from tool_plugins.contract import Action, Observation
from tool_plugins.errors import ProtocolError

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

ACTION = Action(tool="test.echo", id="a1")
GROWTH_LIMIT = 48 * 1024 * 1024
MIB = bytes(1024 * 1024)


@asynccontextmanager
async def sandbox(folder: Path, answer: Answer) -> AsyncIterator[Connection]:
    """A connection to something that reads a request and then answers as told."""
    path = folder / "fake.sock"
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await answer(writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        async with server, Connection(UnixEndpoint(path)) as connection:
            yield connection
            await connection.aclose()
            if busy:
                await asyncio.wait(busy, timeout=5)
    finally:
        server.close()


def says(*pieces: bytes, close: bool = False) -> Answer:
    """An answer of fixed bytes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces))
        await writer.drain()
        if close:
            writer.close()

    return answer


def repeats(head: bytes, piece: bytes) -> Answer:
    """An answer that does not end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()

    return answer


def ok(body: bytes, kind: str = "application/json") -> bytes:
    """A well-formed answer around a body."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def observation(**changes: object) -> bytes:
    """A well-formed observation of ACTION with some fields changed."""
    fields = {"action_id": "a1", "tool": "test.echo", "data": {}, "duration_s": 0.1}
    return json.dumps(fields | changes).encode()


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
DEEP = b"[" * 100_000 + b"]" * 100_000

MALFORMED = {
    "garbage": says(b"\x00\xff\x13 what is this\r\n\r\n"),
    "another protocol": says(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "switching protocols": says(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    ),
    "endless continues": repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless headers": repeats(b"HTTP/1.1 200 OK\r\n", b"x-many: " + b"y" * 100 + b"\r\n"),
    "one endless header": repeats(b"HTTP/1.1 200 OK\r\nx-one: ", b"y" * 65_536),
    "an endless status line": repeats(b"HTTP/1.1 200 ", b"O" * 65_536),
    "endless trailers": repeats(CHUNKED + b"0\r\n", b"x-many: " + b"y" * 100 + b"\r\n"),
    "one endless trailer": repeats(CHUNKED + b"0\r\nx-one: ", b"y" * 65_536),
    "an endless chunk extension": repeats(CHUNKED + b"5;", b"y" * 65_536),
    "an endless chunked body": repeats(CHUNKED, b"100000\r\n" + MIB + b"\r\n"),
    "a body as long as it says": repeats(
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", MIB
    ),
    "a negative length": says(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"),
    "two lengths": says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}x"),
    "more than its length": says(ok(observation()), b"and more"),
    "two answers": says(ok(observation()), ok(observation())),
    "no JSON": says(ok(b"hello")),
    "not a number": says(ok(observation(data={"x": 1}).replace(b"1}", b"NaN}"))),
    "infinity": says(ok(observation(data={"x": 1}).replace(b"1}", b"-Infinity}"))),
    "deep JSON": says(ok(DEEP)),
    "deep JSON in place": says(ok(b'{"action_id":"a1","tool":"test.echo","data":' + DEEP + b"}")),
    "a number of many digits": says(ok(b'{"action_id":' + b"9" * 10_000 + b"}")),
    "bad text": says(ok(b'{"action_id":"\xff\xfe"}')),
    "half a surrogate": says(ok(b'{"action_id":"a1","tool":"test.echo","data":{"x":"\\uD800"}}')),
    "an empty body": says(ok(b"")),
    "a list": says(ok(b"[]")),
    "an unknown field": says(ok(observation(surprise=1))),
    "a wrong type": says(ok(observation(duration_s="soon"))),
    "another action": says(ok(observation(action_id="a2"))),
    "another tool": says(ok(observation(tool="test.other"))),
    "neither data nor error": says(ok(observation(data=None))),
    "an error without a code": says(ok(observation(data=None, error={"message": "x"}))),
    "a server error": says(b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno"),
    "an odd error": says(b"HTTP/1.1 400 Oh\r\ncontent-length: 14\r\n\r\n", b'{"error": "x"}'),
    "an unknown code": says(
        b"HTTP/1.1 400 Oh\r\ncontent-length: 44\r\n\r\n",
        b'{"error": {"code": "EVIL", "message": "m"}} ',
    ),
}

LOST = {
    "nothing": says(close=True),
    "half a head": says(b"HTTP/1.1 200 OK\r\ncontent-le", close=True),
    "half a body": says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", close=True),
    "half a chunk": says(CHUNKED, b"64\r\n{", close=True),
    "a body without an end": says(b"HTTP/1.1 200 OK\r\n\r\n", observation(), close=True),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_malformed_answer_is_a_protocol_error(state_dir: Path, name: str) -> None:
    before = psutil.Process().memory_info().rss
    async with sandbox(state_dir, MALFORMED[name]) as connection:
        with pytest.raises(ProtocolError):
            await connection.execute(ACTION, timeout_s=10)

    assert psutil.Process().memory_info().rss - before < GROWTH_LIMIT


@pytest.mark.parametrize("name", LOST)
async def test_an_answer_that_breaks_off_is_a_lost_connection(state_dir: Path, name: str) -> None:
    async with sandbox(state_dir, LOST[name]) as connection:
        with pytest.raises(ConnectionLost):
            await connection.execute(ACTION, timeout_s=10)


async def test_the_well_formed_twin_is_accepted(state_dir: Path) -> None:
    async with sandbox(state_dir, says(ok(observation(data={"x": "\U0001f600"})))) as connection:
        answer = await connection.execute(ACTION, timeout_s=10)

    assert answer == Observation(
        action_id="a1", tool="test.echo", data={"x": "\U0001f600"}, duration_s=0.1
    )


STREAMS = {
    "no JSON": b"hello\n",
    "an unknown event": b'{"event":"dance"}\n',
    "not a number": b'{"event":"progress","progress":NaN}\n',
    "deep JSON": DEEP + b"\n",
    "another action": b'{"event":"observation","observation":%s}\n' % observation(action_id="z"),
}


@pytest.mark.parametrize("name", STREAMS)
async def test_a_malformed_event_is_a_protocol_error(state_dir: Path, name: str) -> None:
    async with sandbox(state_dir, says(ok(STREAMS[name]))) as connection:
        with pytest.raises(ProtocolError):
            _ = [event async for event in connection.stream(ACTION, timeout_s=10)]


async def test_an_endless_line_is_a_protocol_error(state_dir: Path) -> None:
    answer = repeats(CHUNKED, b"100000\r\n" + b"x" * len(MIB) + b"\r\n")
    async with sandbox(state_dir, answer) as connection:
        with pytest.raises(ProtocolError, match="line"):
            _ = [event async for event in connection.stream(ACTION, timeout_s=30)]


@pytest.mark.parametrize("tail", [b"", b'{"event":"observ'])
async def test_a_stream_that_ends_without_its_observation_is_lost(
    state_dir: Path, tail: bytes
) -> None:
    async with sandbox(
        state_dir, says(ok(b'{"event":"stdout","text":"x"}\n' + tail))
    ) as connection:
        with pytest.raises(ConnectionLost):
            _ = [event async for event in connection.stream(ACTION, timeout_s=10)]


async def test_blank_lines_do_not_extend_a_deadline(state_dir: Path) -> None:
    async with sandbox(state_dir, repeats(CHUNKED, b"1\r\n\n\r\n")) as connection:
        with pytest.raises(TimeoutError):
            _ = [event async for event in connection.stream(ACTION, timeout_s=0.3)]


async def test_silence_ends_at_the_deadline(state_dir: Path) -> None:
    async with sandbox(state_dir, says(b"HTTP/1.1 200 OK\r\n")) as connection:
        with pytest.raises(TimeoutError):
            await connection.execute(ACTION, timeout_s=0.2)


async def test_a_reader_that_waits_makes_the_sandbox_wait(state_dir: Path) -> None:
    sent = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        while True:
            writer.write(b"100000\r\n" + MIB + b"\r\n")
            await writer.drain()
            sent += 1

    async with sandbox(state_dir, answer) as connection:
        download = connection.download("file")
        await anext(download)
        before = -1
        async with asyncio.timeout(5):
            while before != sent:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.2)
        await download.aclose()

    assert sent <= 4


async def test_a_connection_is_used_again(state_dir: Path) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def answer(writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(ok(observation()))

    async with sandbox(state_dir, answer) as connection:
        for _ in range(5):
            await connection.execute(ACTION, timeout_s=5)

    assert len(writers) == 5
    assert len(set(map(id, writers))) == 1


async def test_a_connection_the_sandbox_closed_is_not_used_again(state_dir: Path) -> None:
    answers = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        answers += 1
        writer.write(ok(observation()))
        await writer.drain()
        writer.close()

    async with sandbox(state_dir, answer) as connection:
        for _ in range(3):
            await connection.execute(ACTION, timeout_s=5)
            await asyncio.sleep(0.05)  # lets the close arrive: nothing announces it

    assert answers == 3


async def test_nothing_stays_open_after_close(state_dir: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with sandbox(state_dir, says(ok(observation()))) as connection:
        await asyncio.gather(*(connection.execute(ACTION, timeout_s=5) for _ in range(20)))
    await asyncio.sleep(0)

    assert len(os.listdir("/proc/self/fd")) <= len(before) + 1
