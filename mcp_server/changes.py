"""Tells clients that a list changed; changes that come together are told once."""

import asyncio
from collections.abc import Awaitable, Callable

INTERVAL_S = 0.25
"""Between two announcements: a folder of tools that is copied changes the list many times."""


class Announcer:
    """Calls `announce()` after `changed()`: at once, but at most once in each interval."""

    def __init__(
        self, announce: Callable[[], Awaitable[None]], *, interval_s: float = INTERVAL_S
    ) -> None:
        self._announce = announce
        self._interval_s = interval_s
        self._pending = False
        self._stopped = False
        self._running: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """Notes a change. Call it in the event loop."""
        self._pending = True
        if not self._stopped and (self._running is None or self._running.done()):
            self._running = asyncio.create_task(self._run(), name="announce changes")

    def stop(self) -> None:
        """Announces nothing more: an end changes lists too, and nobody is left to hear of it."""
        self._stopped = True
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        while self._pending:
            self._pending = False
            await self._announce()
            await asyncio.sleep(self._interval_s)
