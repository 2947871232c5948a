"""Live output of a running call as MCP progress notifications: coalesced, bounded, never silent."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tool_plugins.contract import OutputEvent, ProgressEvent

MIN_INTERVAL_S = 0.1
HEARTBEAT_S = 10.0
"""Clients give up on a silent call, and start to count anew with every notification."""
MAX_MESSAGE_CHARS = 8_000
"""Of one notification. A program that prints faster loses the middle; the result has the totals."""

Send = Callable[[float, float | None, str | None], Awaitable[None]]


class ProgressReporter:
    """Takes events as fast as they come and sends notifications at a bounded rate.

    `progress` is the number of seconds since the call began: it always grows, as the protocol
    demands, and means something to a person. Run `run()` beside the call and cancel it at its end.
    """

    def __init__(
        self,
        send: Send,
        *,
        clock: Callable[[], float] = time.monotonic,
        min_interval_s: float = MIN_INTERVAL_S,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._send = send
        self._clock = clock
        self._min_interval_s = min_interval_s
        self._heartbeat_s = heartbeat_s
        self._began = clock()
        self._last = 0.0
        self._pending = ""
        self._skipped = 0
        self._news = asyncio.Event()

    def add(self, event: OutputEvent | ProgressEvent) -> None:
        """Takes an event of the running call."""
        self.say(event.text if isinstance(event, OutputEvent) else _words(event))

    def say(self, text: str) -> None:
        """Takes text for the next notification."""
        self._pending += text
        if len(self._pending) > 2 * MAX_MESSAGE_CHARS:
            kept = self._pending[-MAX_MESSAGE_CHARS:]
            self._skipped += len(self._pending) - len(kept)
            self._pending = kept
        self._news.set()

    async def run(self) -> None:
        """Sends what there is, and a sign of life where there is nothing. Ends by cancellation."""
        while True:
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._news.wait()
            except TimeoutError:
                await self._notify(None)
                continue
            await self.flush()
            await asyncio.sleep(self._min_interval_s)

    async def flush(self) -> None:
        """Sends what is pending now, in as many notifications as it takes."""
        self._news.clear()
        if self._skipped:
            self._pending = f"[... {self._skipped} characters skipped ...]\n{self._pending}"
            self._skipped = 0
        while self._pending:
            piece = self._pending[:MAX_MESSAGE_CHARS]
            self._pending = self._pending[MAX_MESSAGE_CHARS:]
            await self._notify(piece)

    async def _notify(self, message: str | None) -> None:
        # Two notifications within the clock's resolution must still differ.
        self._last = max(round(self._clock() - self._began, 3), round(self._last + 0.001, 3))
        await self._send(self._last, None, message)


def _words(event: ProgressEvent) -> str:
    total = "" if event.total is None else f"/{event.total:g}"
    return f"{event.progress:g}{total} {event.message}".rstrip() + "\n"
