"""What the browser's worker does: keeps one browser, and answers one call after the other.

The browser's events are heard between calls too, in a thread of their own: a dialog would hold the
page up, and what nobody reads would pile up in the driver.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from tool_plugins.worker.child import Call

from . import acting, picture
from .failing import stuck
from .places import Places
from .session import Session

Work = Callable[[Session, "Arguments"], Awaitable[dict[str, Any]]]
Arguments = dict[str, Any]


class Driver:
    """The browser, and the thread that it lives in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._session: Session | None = None

    def handler(self, work: Work) -> Callable[[Arguments, Call], dict[str, Any]]:
        """A handler of the worker that does `work` in the browser's thread."""

        def handle(arguments: Arguments, call: Call) -> dict[str, Any]:
            if not self._loop.is_running():
                threading.Thread(target=self._loop.run_forever, daemon=True).start()
            doing = self._bounded(work, arguments, call.deadline)
            return asyncio.run_coroutine_threadsafe(doing, self._loop).result()

        return handle

    async def _bounded(self, work: Work, arguments: Arguments, deadline: float) -> dict[str, Any]:
        # The deadline is one of time.monotonic(), which asyncio's clock is on Linux.
        seconds = arguments.pop("timeout_s")
        places = Places.of(arguments.pop("places"))
        try:
            async with asyncio.timeout_at(deadline):
                session = await self._opened(places)
                await session.begin(deadline)
                return await work(session, arguments)
        except TimeoutError:
            raise stuck(f"the browser did not answer within {seconds:g} seconds") from None

    async def _opened(self, places: Places) -> Session:
        if self._session is None:
            self._session = await Session.start(places)
        return self._session


async def _open(session: Session, arguments: Arguments) -> dict[str, Any]:
    await session.visit(arguments.pop("url"))
    return await session.report(**arguments)


async def _snapshot(session: Session, arguments: Arguments) -> dict[str, Any]:
    return await session.report(**arguments)


async def _act(session: Session, arguments: Arguments) -> dict[str, Any]:
    shown = arguments.pop("max_chars")
    await acting.act(session, **arguments)
    return await session.report(max_chars=shown)


async def _screenshot(session: Session, arguments: Arguments) -> dict[str, Any]:
    return await picture.take(session, **arguments)


_driver = Driver()
HANDLERS = {
    "open": _driver.handler(_open),
    "snapshot": _driver.handler(_snapshot),
    "act": _driver.handler(_act),
    "screenshot": _driver.handler(_screenshot),
}
