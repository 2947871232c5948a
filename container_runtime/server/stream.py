"""Live output of one action on its way to one reader.

Pieces are gathered for a moment and sent as lines of JSON. A reader that does not keep up loses
live pieces, and is told so; it never makes the server grow and never holds the executor up. What an
executor asks is no piece of output: somebody waits for the answer, so it goes out at once and is
never lost. Executors bound how much of that there is.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from .asgi import encode
from .protocol import KEEP_ALIVE_S

GATHER_S = 0.05
GATHER_CHARS = 16 * 1024
MAX_PENDING_CHARS = 256 * 1024
# What an event costs beside its text, so that a flood of empty ones is bounded too.
EVENT_COST = 64
ASK = "ask"
NOTICE = "\n… live output skipped …\n"


class Outlet:
    """Takes events from any thread, gives lines to one reader."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pending: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self._size = 0
        self._skipping = False
        self._urgent = False
        self._closed = False
        self._ready = asyncio.Event()
        self._full = asyncio.Event()
        self._sent_at = self._loop.time() - GATHER_S

    def emit(self, event: dict[str, Any]) -> None:
        """Takes one event. Never waits."""
        with self._lock:
            if self._closed:
                return
            first = self._size == 0
            self._add(event)
            full = self._is_full and not self._full.is_set()
        if first or full:
            self._loop.call_soon_threadsafe(self._signal)

    def close(self) -> None:
        """No more events: the reader gets what is left."""
        with self._lock:
            self._closed = True
        self._ready.set()
        self._full.set()

    async def lines(self) -> AsyncIterator[bytes]:
        """Batches of lines until the outlet is closed and empty; blank lines in long silences."""
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await self._ready.wait()
            except TimeoutError:
                yield b"\n"
                continue
            await self._gather()
            batch, closed = self._take()
            if batch:
                yield batch
            self._sent_at = self._loop.time()
            if closed:
                return

    @property
    def _is_full(self) -> bool:
        return self._urgent or self._size >= GATHER_CHARS

    def _add(self, event: dict[str, Any]) -> None:
        text = event.get("text")
        last = self._pending[-1] if self._pending else None
        if event["event"] == ASK:
            self._urgent = True
            self._append(event)
            return
        if text is None:
            # Of several reports of progress only the newest matters.
            if last is not None and last["event"] == event["event"]:
                self._pending[-1] = event
            elif self._size < MAX_PENDING_CHARS:
                self._append(event)
            return
        room = MAX_PENDING_CHARS - self._size
        if self._skipping or room <= 0:
            self._skipping = True
            return
        if last is None or last["event"] != event["event"]:
            self._append({"event": event["event"]})
        self._texts.append(text[:room])
        self._size += min(len(text), room) + EVENT_COST
        self._skipping = len(text) > room

    def _append(self, event: dict[str, Any]) -> None:
        self._join()
        self._pending.append(event)
        self._size += EVENT_COST

    def _join(self) -> None:
        if self._texts:
            self._pending[-1]["text"] = "".join(self._texts)
            self._texts = []

    def _signal(self) -> None:
        self._ready.set()
        if self._is_full:
            self._full.set()

    async def _gather(self) -> None:
        wait = self._sent_at + GATHER_S - self._loop.time()
        if wait <= 0:
            return
        try:
            async with asyncio.timeout(wait):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self) -> tuple[bytes, bool]:
        with self._lock:
            self._join()
            events, self._pending = self._pending, []
            if self._skipping:
                events.append({"event": "stdout", "text": NOTICE})
            self._size, self._skipping, self._urgent = 0, False, False
            closed = self._closed
            if not closed:
                self._ready.clear()
                self._full.clear()
        return b"".join(encode(event) + b"\n" for event in events), closed
