"""The relay: bytes arrive whole and in order, ends are passed on, nothing is left behind."""

import asyncio
import hashlib
import os
import random
import socket
import sys
import tracemalloc
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvloop

from container_runtime import relay as module
from container_runtime.relay import carry, relay
from tests.fakes import eventually

MIB = 2**20
LARGE = 100 * MIB
PATIENCE_S = 30

Loop = Callable[[], AbstractEventLoop]
Pair = tuple[socket.socket, socket.socket]


def unix_pair() -> Pair:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def tcp_pair() -> Pair:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


class Ends:
    """What a relay joins: `left` and `right` are its users' ends, blocking."""

    def __init__(self, a: Callable[[], Pair], b: Callable[[], Pair]) -> None:
        self.left, self.a = a()
        self.b, self.right = b()
        for end in (self.left, self.right):
            end.settimeout(PATIENCE_S)
        for end in (self.a, self.b):
            end.setblocking(False)

    def close(self) -> None:
        for end in (self.left, self.a, self.b, self.right):
            end.close()


@contextmanager
def joined(a: Callable[[], Pair] = tcp_pair, b: Callable[[], Pair] = unix_pair) -> Iterator[Ends]:
    ends = Ends(a, b)
    try:
        yield ends
    finally:
        ends.close()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    return request.param


def run(loop: Loop, coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(coroutine, 2 * PATIENCE_S))


def send(end: socket.socket, size: int, seed: int) -> bytes:
    """Sends pieces of every size, then ends; the digest of it all."""
    digest, dice = hashlib.blake2b(), random.Random(seed)
    stock = dice.randbytes(2 * MIB)
    while size:
        at, piece = dice.randrange(MIB), min(size, dice.choice((1, 500, 65_536, 65_537, MIB)))
        end.sendall(stock[at : at + piece])
        digest.update(stock[at : at + piece])
        size -= piece
    end.shutdown(socket.SHUT_WR)
    return digest.digest()


def receive(end: socket.socket, most: int = 2**60) -> tuple[int, bytes]:
    """Reads to the end: how much there was, and its digest."""
    digest, size = hashlib.blake2b(), 0
    while size < most and (data := end.recv(300_000)):
        digest.update(data)
        size += len(data)
    return size, digest.digest()


@pytest.mark.parametrize("splice", [True, False], ids=["splice", "copy"])
@pytest.mark.parametrize(("a", "b"), [(tcp_pair, unix_pair), (unix_pair, unix_pair),
                                      (tcp_pair, tcp_pair)])  # fmt: skip
def test_much_arrives_whole_both_ways_at_once(
    loop: Loop, a: Callable[[], Pair], b: Callable[[], Pair], splice: bool, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "SPLICE", splice and sys.platform == "linux")
    size = LARGE if splice else LARGE // 4
    moved = [0, 0]

    def count(a_to_b: int, b_to_a: int) -> None:
        moved[0] += a_to_b
        moved[1] += b_to_a

    async def scene() -> None:
        with joined(a, b) as ends, ThreadPoolExecutor(4) as threads:
            there = threads.submit(send, ends.left, size, 1)
            back = threads.submit(send, ends.right, size // 2, 2)
            arrived = threads.submit(receive, ends.right)
            returned = threads.submit(receive, ends.left)
            await relay(ends.a, ends.b, count=count)
            assert (size, there.result()) == arrived.result()
            assert (size // 2, back.result()) == returned.result()
        assert [size, size // 2] == moved

    run(loop, scene())


def test_end_of_one_direction_is_passed_on_while_the_other_goes_on(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            task = asyncio.ensure_future(relay(ends.a, ends.b))
            ends.left.sendall(b"question")
            ends.left.shutdown(socket.SHUT_WR)
            assert await asyncio.to_thread(ends.right.recv, 100) == b"question"
            assert await asyncio.to_thread(ends.right.recv, 100) == b""
            for answer in (b"an", b"swer"):
                ends.right.sendall(answer)
                assert answer == await asyncio.to_thread(ends.left.recv, 100)
            assert not task.done()
            ends.right.close()
            assert await asyncio.to_thread(ends.left.recv, 100) == b""
            await task

    run(loop, scene())


def fill(end: socket.socket) -> int:
    """Sends for as long as somebody takes it: how much."""
    sent, quiet = 0, b"x" * MIB
    end.settimeout(1)
    with suppress(TimeoutError):
        while True:
            sent += end.send(quiet)
    return sent


@pytest.mark.parametrize("splice", [True, False], ids=["splice", "copy"])
def test_a_slow_reader_stops_the_sender(loop: Loop, splice: bool, monkeypatch: Any) -> None:
    """What is under way is what the kernel's buffers hold and one piece."""
    monkeypatch.setattr(module, "SPLICE", splice and sys.platform == "linux")

    async def scene() -> None:
        with joined(unix_pair, unix_pair) as ends:
            task = asyncio.ensure_future(relay(ends.a, ends.b))
            tracemalloc.start()
            sent = await asyncio.to_thread(fill, ends.left)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert sent < 3 * MIB
            assert peak < 3 * MIB  # of which one is what this test sends
            ends.left.close()
            assert sent == (await asyncio.to_thread(receive, ends.right))[0]
            ends.right.close()
            await task

    run(loop, scene())


def descriptors() -> list[str]:
    """What is open, by what it is."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
    return sorted(found)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_cancelling_closes_both_ends_and_the_pipes(loop: Loop) -> None:
    async def scene() -> None:
        await asyncio.to_thread(int)  # its thread pool stays
        before = descriptors()
        for _ in range(20):
            with joined() as ends:
                task = asyncio.ensure_future(relay(ends.a, ends.b))
                sending = asyncio.ensure_future(asyncio.to_thread(fill, ends.left))
                await eventually(lambda: descriptors().count("pipe") > before.count("pipe"))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (ends.a.fileno(), ends.b.fileno()) == (-1, -1)
                with suppress(OSError):
                    await sending
        assert before == descriptors()

    run(loop, scene())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_idle_connection_holds_no_pipe(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            before = descriptors().count("pipe")
            task = asyncio.ensure_future(relay(ends.a, ends.b))
            await asyncio.sleep(0)
            assert before == descriptors().count("pipe")
            sending = asyncio.ensure_future(asyncio.to_thread(ends.left.sendall, bytes(MIB * 8)))
            got = 0
            while got < 8 * MIB:
                got += len(await asyncio.to_thread(ends.right.recv, MIB))
            await sending
            await eventually(lambda: before == descriptors().count("pipe"))
            ends.left.sendall(b"again")
            assert await asyncio.to_thread(ends.right.recv, 100) == b"again"
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    run(loop, scene())


def test_nothing_moved_for_too_long_ends_it(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            with pytest.raises(TimeoutError):
                await relay(ends.a, ends.b, idle_timeout_s=0.1)
            assert ends.left.recv(1) == b""
            assert ends.right.recv(1) == b""

    run(loop, scene())


def test_either_direction_keeps_it_alive(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            task = asyncio.ensure_future(relay(ends.a, ends.b, idle_timeout_s=1))
            began, sent = asyncio.get_running_loop().time(), 0
            while asyncio.get_running_loop().time() < began + 1.5:
                sent += ends.right.send(b".")
                await asyncio.sleep(0.02)
            assert not task.done()
            with pytest.raises(TimeoutError):
                await task
            assert ends.left.recv(1000) == sent * b"."

    run(loop, scene())


def test_a_reader_that_stops_for_too_long_ends_it(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            task = asyncio.ensure_future(relay(ends.a, ends.b, idle_timeout_s=0.3))
            sending = asyncio.ensure_future(asyncio.to_thread(fill, ends.left))
            with pytest.raises(TimeoutError):
                await task
            with suppress(OSError):
                await sending

    run(loop, scene())


class EnoughError(ConnectionError):
    """Of the family that the relay itself handles."""


def test_what_the_counter_raises_ends_it(loop: Loop) -> None:
    def count(a_to_b: int, b_to_a: int) -> None:
        raise EnoughError

    async def scene() -> None:
        with joined() as ends:
            ends.left.sendall(b"x")
            with pytest.raises(EnoughError):
                await relay(ends.a, ends.b, count=count)
            assert (ends.a.fileno(), ends.b.fileno()) == (-1, -1)

    run(loop, scene())


def test_a_reset_is_an_error(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            task = asyncio.ensure_future(relay(ends.a, ends.b))
            await asyncio.sleep(0)
            ends.left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            ends.left.close()
            with pytest.raises(ConnectionResetError):
                await task
            assert ends.right.recv(1) == b""

    run(loop, scene())


def test_an_answer_to_an_upload_that_nobody_wants_arrives(loop: Loop) -> None:
    """A server may refuse before it has read everything, and then read no more."""

    async def scene() -> None:
        with joined() as ends:
            task = asyncio.ensure_future(relay(ends.a, ends.b))
            ends.right.sendall(b"413 too large")
            sending = asyncio.ensure_future(asyncio.to_thread(send, ends.left, 8 * MIB, 1))
            await asyncio.to_thread(ends.right.recv, 100)
            ends.right.close()
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                await task
            assert await asyncio.to_thread(ends.left.recv, 100) == b"413 too large"
            with suppress(OSError):
                await sending

    run(loop, scene())


@pytest.mark.parametrize("refused", ["fill", "drain"])
def test_where_a_socket_cannot_be_spliced_it_is_copied(
    loop: Loop, refused: str, monkeypatch: Any
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(module._Pipe, refused, refuse)

    async def scene() -> None:
        with joined() as ends, ThreadPoolExecutor(2) as threads:
            there = threads.submit(send, ends.left, 5 * MIB, 3)
            arrived = threads.submit(receive, ends.right)
            ends.right.shutdown(socket.SHUT_WR)
            await relay(ends.a, ends.b)
            assert (5 * MIB, there.result()) == arrived.result()

    run(loop, scene())


@pytest.mark.parametrize("size", [4096, 65_536])
def test_small_pipes_of_a_user_who_has_many_do(loop: Loop, size: int, monkeypatch: Any) -> None:
    """The kernel refuses to enlarge a pipe, or makes it small."""
    monkeypatch.setattr(module, "PIPE_BYTES", size)

    async def scene() -> None:
        with joined() as ends, ThreadPoolExecutor(2) as threads:
            there = threads.submit(send, ends.left, 5 * MIB, 4)
            arrived = threads.submit(receive, ends.right)
            ends.right.shutdown(socket.SHUT_WR)
            await relay(ends.a, ends.b)
            assert (5 * MIB, there.result()) == arrived.result()

    run(loop, scene())


def test_without_descriptors_it_is_copied(loop: Loop, monkeypatch: Any) -> None:
    def none_left() -> None:
        raise OSError(24, "Too many open files")

    async def scene() -> None:
        with joined() as ends, ThreadPoolExecutor(2) as threads:
            monkeypatch.setattr(module, "_Pipe", none_left)
            there = threads.submit(send, ends.left, 5 * MIB, 5)
            arrived = threads.submit(receive, ends.right)
            ends.right.shutdown(socket.SHUT_WR)
            await relay(ends.a, ends.b)
            assert (5 * MIB, there.result()) == arrived.result()

    run(loop, scene())


def test_one_busy_connection_leaves_others_their_turn(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as busy, joined() as small, ThreadPoolExecutor(2) as threads:
            both = [asyncio.ensure_future(relay(each.a, each.b)) for each in (busy, small)]
            there = threads.submit(send, busy.left, 40 * MIB, 6)
            arrived = threads.submit(receive, busy.right)
            turns = 0
            while not arrived.done():
                small.left.sendall(b"ping")
                assert await asyncio.to_thread(small.right.recv, 100) == b"ping"
                turns += 1
            assert turns > 3
            assert there.result() == arrived.result()[1]
            for end in (small.left, small.right, busy.right):
                end.close()
            await asyncio.gather(*both)

    run(loop, scene())


# One way.


def test_one_way_leaves_both_ends_open(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends, ThreadPoolExecutor(2) as threads:
            counted: list[int] = []
            there = threads.submit(send, ends.left, 5 * MIB, 7)
            arrived = threads.submit(receive, ends.right, 5 * MIB)
            await carry(ends.a, ends.b, count=counted.append)
            assert arrived.result() == (5 * MIB, there.result())
            assert sum(counted) == 5 * MIB
            ends.b.send(b"more")
            assert ends.right.recv(100) == b"more"
            ends.a.send(b"back")
            assert ends.left.recv(100) == b"back"

    run(loop, scene())


def test_one_way_a_reset_of_the_source_is_its_end(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            task = asyncio.ensure_future(carry(ends.a, ends.b))
            await asyncio.sleep(0)
            ends.left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            ends.left.close()
            await task
            ends.b.send(b"open")
            assert ends.right.recv(100) == b"open"

    run(loop, scene())


def test_one_way_a_sink_that_takes_no_more_is_an_error(loop: Loop) -> None:
    async def scene() -> None:
        with joined() as ends:
            ends.right.close()
            ends.left.sendall(b"x")
            with pytest.raises(BrokenPipeError):
                await carry(ends.a, ends.b)

    run(loop, scene())
