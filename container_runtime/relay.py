"""Carries bytes between two connected sockets, and never looks at them.

On Linux what comes in bulk goes by splice(2) through a pipe, without passing through this process;
elsewhere, and in small pieces, it is copied. At most one piece for each direction is on its way
here: who reads slowly slows the sender. An idle connection holds no pipe and no buffer.
"""

import asyncio
import errno
import fcntl
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

PIECE_BYTES = 64 * 1024
"""What is copied at once. A piece this large is a sign of more to come: a pipe is opened."""
PIPE_BYTES = 1024 * 1024
UNIX_BUFFER_BYTES = 512 * 1024
"""Room in a unix socket once there is much to carry; the kernel may allow less. With what it gives
by default, carrying takes twice the processor time."""
# Through a smaller pipe it would cost more calls than copying. The kernel makes such pipes for a
# user who has many (pipe-user-pages-soft).
LEAST_PIPE_BYTES = 32 * 1024
# After so many pieces the other connections of the loop have their turn.
ROUNDS = 8
TIDY_S = 1.0
SPLICE = sys.platform == "linux"
SPLICE_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if SPLICE else 0
# What a kernel, a filter of system calls or a kind of socket answers that does not splice.
REFUSALS = {errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP}
TRY_AGAIN = (BlockingIOError, InterruptedError)

Count = Callable[[int, int], None]


async def relay(
    a: socket.socket,
    b: socket.socket,
    *,
    idle_timeout_s: float | None = None,
    count: Count | None = None,
) -> None:
    """Carries bytes between `a` and `b` until both have ended, and closes both, however it ends.

    Both are connected stream sockets, non-blocking, that no transport uses. The end of one
    direction is passed on (`shutdown`) while the other goes on. `count(a_to_b, b_to_a)` is told the
    bytes of each piece once the kernel has taken it, one of the two being 0; what it raises ends
    the relay and is raised here.

    Raises:
        TimeoutError: nothing moved in either direction for `idle_timeout_s`.
        OSError: one end was reset, or did not take all that the other had sent.
    """
    there = _Flow(a, b, None if count is None else lambda size: count(size, 0))
    back = _Flow(b, a, None if count is None else lambda size: count(0, size))
    try:
        await _Relay((there, back), idle_timeout_s).run()
    finally:
        a.close()
        b.close()


async def carry(
    source: socket.socket, sink: socket.socket, *, count: Callable[[int], None] | None = None
) -> None:
    """Carries bytes one way until `source` has ended, or was reset. Both stay open.

    As in `relay`, of which this is one half; but the end is not passed on. Nobody else may wait
    for `source` to have something, or for `sink` to have room, meanwhile.

    Raises:
        OSError: `sink` takes no more.
    """
    await _Relay((_Flow(source, sink, count, passes_end=False),), None).run()


class _Relay:
    """Flows, and what they have in common: the clock, and how it all ends."""

    def __init__(self, flows: "tuple[_Flow, ...]", idle_timeout_s: float | None) -> None:
        self._flows = flows
        self._idle_timeout_s = idle_timeout_s
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._moved_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Until all flows have ended."""
        try:
            for flow in self._flows:
                flow.start(self)
            self.watch()
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for flow in self._flows:
                flow.stop()

    def fail(self, error: Exception) -> None:
        """Ends the relay with an error."""
        if not self._over.done():
            self._over.set_exception(error)

    def ended(self) -> None:
        """One flow has nothing more to deliver."""
        if not all(flow.ended for flow in self._flows) or self._over.done():
            return
        failures = [flow.failure for flow in self._flows if flow.failure is not None]
        if failures:
            self._over.set_exception(failures[0])
        else:
            self._over.set_result(None)

    def watch(self) -> None:
        """Sets the timer for what is due next: the end of idle ends, or of pipes no longer used."""
        if self._timer is not None:
            self._timer.cancel()
        due = []
        if self._idle_timeout_s is not None:
            due.append(self._moved_at + self._idle_timeout_s)
        if any(flow.has_pipe for flow in self._flows):
            due.append(self._loop.time() + TIDY_S)
        self._timer = self._loop.call_at(min(due), self._look) if due else None

    def _look(self) -> None:
        quiet_s = self._loop.time() - self._moved_at
        if self._idle_timeout_s is not None and quiet_s >= self._idle_timeout_s:
            self.fail(TimeoutError(f"nothing moved for {self._idle_timeout_s:g} s"))
            return
        if quiet_s >= TIDY_S:
            for flow in self._flows:
                flow.tidy()
        self.watch()

    def moved(self) -> None:
        """Notes that something moved."""
        self._moved_at = self._loop.time()


class _Flow:
    """One direction. It waits for its source to have something, or for its sink to have room."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        count: Callable[[int], None] | None,
        *,
        passes_end: bool = True,
    ) -> None:
        self.ended = False
        self.failure: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._source, self._sink = source, sink
        # Numbers: an event loop of asyncio writes out a socket's addresses to look it up.
        self._from, self._to = source.fileno(), sink.fileno()
        self._count = count
        self._passes_end = passes_end
        self._waits_for: Literal["source", "sink"] | None = None
        self._data = memoryview(b"")
        self._pipe: _Pipe | None = None
        self._may_splice = SPLICE
        self._bulk = False

    @property
    def has_pipe(self) -> bool:
        """Whether it holds a pipe now."""
        return self._pipe is not None

    def start(self, relay: _Relay) -> None:
        """Moves what is there already, and waits for more."""
        self._relay = relay
        self._ready()

    def stop(self) -> None:
        """Waits for nothing any more; what was on its way is lost."""
        self._wait_for(None)
        self._drop()

    def tidy(self) -> None:
        """Gives an empty pipe back."""
        if self._pipe is not None and not self._pipe.filled:
            self._drop()

    def _drop(self) -> None:
        self._data = memoryview(b"")
        self._bulk = False
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    @property
    def _holds_any(self) -> bool:
        return bool(self._data) or (self._pipe is not None and self._pipe.filled > 0)

    def _wait_for(self, what: Literal["source", "sink"] | None) -> None:
        if what == self._waits_for:
            return
        if self._waits_for == "source":
            self._loop.remove_reader(self._from)
        elif self._waits_for == "sink":
            self._loop.remove_writer(self._to)
        self._waits_for = what
        if what == "source":
            self._loop.add_reader(self._from, self._ready)
        elif what == "sink":
            self._loop.add_writer(self._to, self._ready)

    def _ready(self) -> None:
        try:
            self._move()
        except Exception as exc:  # what `count` raised, too
            self._wait_for(None)
            self._relay.fail(exc)

    def _move(self) -> None:
        for _ in range(ROUNDS):
            if not self._holds_any:
                taken = self._take()
                if taken == 0:
                    self._end()
                    return
                if taken is None:
                    break
            else:
                taken = PIECE_BYTES
            if not self._deliver():
                self._wait_for("sink")
                return
            if taken < PIECE_BYTES:  # another look would most likely find nothing
                break
        self._wait_for("source")

    def _end(self) -> None:
        self._wait_for(None)
        self._drop()
        self.ended = True
        if self._passes_end:
            with suppress(OSError):  # it is gone: the other direction finds out
                self._sink.shutdown(socket.SHUT_WR)
        self._relay.ended()

    def _take(self) -> int | None:
        """Takes one piece from the source: its size, 0 at the end, None when there is nothing."""
        try:
            if self._bulk and (pipe := self._open_pipe()):
                try:
                    return pipe.fill(self._from)
                except OSError as exc:
                    self._check_refusal(exc)
            data = self._source.recv(PIECE_BYTES)
        except TRY_AGAIN:
            return None
        except ConnectionResetError:
            if self._passes_end:
                raise
            return 0
        if self.failure is None:
            self._data = memoryview(data)
            self._bulk = self._may_splice and len(data) == PIECE_BYTES
        return len(data)

    def _open_pipe(self) -> "_Pipe | None":
        if self._pipe is None:
            try:
                self._pipe = _Pipe()
            except OSError:  # no descriptor left
                return None
            if self._pipe.size < LEAST_PIPE_BYTES:
                self._drop()
                return None
            if self._sink.family == socket.AF_UNIX:
                self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_BUFFER_BYTES)
            self._relay.watch()
        return self._pipe

    def _deliver(self) -> bool:
        """Hands what was taken to the sink; False when it has no room for all of it now."""
        while self._holds_any:
            try:
                sent = self._send()
            except TRY_AGAIN:
                return False
            except OSError as exc:
                self._lose_sink(exc)
                return True
            self._relay.moved()
            if self._count is not None:
                self._count(sent)
        return True

    def _send(self) -> int:
        if self._pipe is not None and self._pipe.filled:
            try:
                return self._pipe.drain(self._to)
            except OSError as exc:
                self._check_refusal(exc)
                self._data = memoryview(self._pipe.read())
        sent = self._sink.send(self._data)
        self._data = self._data[sent:]
        return sent

    def _check_refusal(self, error: OSError) -> None:
        """Goes on copying where one of the two sockets cannot be spliced."""
        if error.errno not in REFUSALS:
            raise error
        self._may_splice = self._bulk = False

    def _lose_sink(self, error: OSError) -> None:
        # What the source still sends is taken and dropped: it may not listen before it has sent
        # all, and the other direction may hold the reason.
        self._drop()
        self.failure = error
        self.ended = True
        self._relay.ended()


class _Pipe:
    """A pipe of the kernel's: `size` bytes of room, `filled` of them taken."""

    def __init__(self) -> None:
        self.filled = 0
        self._reader, self._writer = os.pipe()
        try:
            self.size = fcntl.fcntl(self._writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:  # this user has many large ones already
            self.size = fcntl.fcntl(self._writer, fcntl.F_GETPIPE_SZ)

    def fill(self, source: int) -> int:
        """Moves what the source has, as much as has room: the bytes moved, 0 at its end."""
        self.filled = os.splice(source, self._writer, self.size, flags=SPLICE_FLAGS)
        return self.filled

    def drain(self, sink: int) -> int:
        """Moves to the sink what it has room for: the bytes moved."""
        sent = os.splice(self._reader, sink, self.filled, flags=SPLICE_FLAGS)
        self.filled -= sent
        return sent

    def read(self) -> bytes:
        """All that is in it."""
        pieces = []
        while self.filled:
            pieces.append(os.read(self._reader, self.filled))
            self.filled -= len(pieces[-1])
        return b"".join(pieces)

    def close(self) -> None:
        """Both ends."""
        os.close(self._reader)
        os.close(self._writer)
