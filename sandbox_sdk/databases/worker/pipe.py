"""The host's end of one channel: sends a request, takes pieces of a file and the answer."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from .protocol import PIECE, FrameError, Frames, parse

MOST_PIECES = 4


class WorkerLost(Exception):
    """The worker ended before it answered. `deliberate`: the host ended it, for another's sake."""

    def __init__(self, reason: str, *, deliberate: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.deliberate = deliberate


class Pieces:
    """The pieces of a file on their way. While nobody takes them the worker waits."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._abandoned = False
        self._channel: Pipe | None = None

    @property
    def waiting(self) -> bool:
        """Whether there are pieces now."""
        return bool(self._pieces)

    async def begun(self) -> None:
        """Waits for the first piece, or the end."""
        await self._changed.wait()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                if self._channel is not None and len(self._pieces) < MOST_PIECES:
                    self._channel.resume()
                yield piece
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()

    def abandon(self) -> None:
        """Takes no more: what comes is thrown away, so that the worker can go on to its end."""
        self._abandoned = True
        self._pieces.clear()
        if self._channel is not None:
            self._channel.resume()

    def feed(self, piece: bytes, channel: "Pipe") -> None:
        """A piece has come."""
        if self._abandoned:
            return
        self._channel = channel
        self._pieces.append(piece)
        if len(self._pieces) >= MOST_PIECES:
            channel.pause()
        self._changed.set()

    def let_go(self) -> None:
        """The channel has its answer. Another may send pieces if the request is made again."""
        self._channel = None

    def end(self) -> None:
        """There are no more. Called by whoever made the request, when it is done."""
        self._ended = True
        self._changed.set()


class Pipe(asyncio.Protocol):
    """A channel. `free` is called when it has its answer, even if nobody waits for that."""

    def __init__(self, number: int, free: Callable[["Pipe"], None], lost: Callable[[str], None]):
        self.number = number
        self.requests = 0
        self.guard: asyncio.TimerHandle | None = None
        self._free = free
        self._lost = lost
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._pieces: Pieces | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, body: bytes, pieces: Pieces | None) -> asyncio.Future[dict[str, Any]]:
        """Sends a framed request. The future is its answer."""
        if self._transport is None:
            raise WorkerLost("its channel was never opened", deliberate=False)
        self._answer = asyncio.get_running_loop().create_future()
        self._pieces = pieces
        self._transport.write(body)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        try:
            for kind, body in self._frames.feed(data):
                if kind == PIECE:
                    if self._pieces is not None:
                        self._pieces.feed(body, self)
                else:
                    self._take(parse(body))
        except FrameError as exc:
            self._lost(f"it broke the protocol: {exc}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._lost("it ended")

    def fail(self, error: Exception) -> None:
        """Ends the request that is on its way, and the channel."""
        answer, self._answer = self._answer, None
        self._release()
        if answer is not None and not answer.done():
            answer.set_exception(error)
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Reads no more for now."""
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def _take(self, fields: dict[str, Any]) -> None:
        if self._answer is None:
            raise FrameError("an answer nobody asked for")
        answer, self._answer = self._answer, None
        self._release()
        if not answer.done():
            answer.set_result(fields)
        self._free(self)

    def _release(self) -> None:
        if self.guard is not None:
            self.guard.cancel()
            self.guard = None
        if self._pieces is not None:
            self._pieces.let_go()
            self._pieces = None
