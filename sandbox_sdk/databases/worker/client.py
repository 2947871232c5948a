"""The workers of a group: a zygote, and a process for each sandbox that uses a database."""

import asyncio
import socket
from collections.abc import Iterable

from sandbox_sdk.tasks import finish
from tool_plugins.errors import EngineError

from .nursery import Nursery
from .protocol import control_pair
from .remote import MOST_CHANNELS, Listener, Worker

__all__ = ("MOST_CHANNELS", "Listener", "Worker", "Workers")


class Workers:
    """The workers of one group. The zygote they come from starts with the first."""

    def __init__(self, preload: Iterable[str] = ()) -> None:
        self._preload = tuple(preload)
        self._nursery: Nursery | None = None
        self._lock = asyncio.Lock()
        self._workers: set[Worker] = set()
        self._closed = False

    async def start(self) -> None:
        """Starts the zygote now, so that the first worker need not wait for it.

        Raises:
            EngineError: it cannot be started.
        """
        async with self._lock:
            await self._living()

    async def spawn(self, name: str, listener: Listener) -> Worker:
        """Forks a worker.

        Raises:
            EngineError: no process can be had.
        """
        ours, theirs = control_pair()
        ours.setblocking(False)
        with theirs:
            try:
                # The zygote's answer is awaited in any case: it forks for every sandbox.
                nursery, pid = await finish(asyncio.ensure_future(self._fork(name, theirs)))
            except BaseException:
                # A worker that is there already sees that and ends.
                ours.close()
                raise
        self._workers = {each for each in self._workers if not each.lost}
        worker = Worker(name, pid, ours, nursery.kill, listener)
        self._workers.add(worker)
        return worker

    async def aclose(self) -> None:
        """Ends every worker and the zygote. Idempotent."""
        self._closed = True
        await asyncio.gather(*(each.end() for each in self._workers))
        async with self._lock:
            nursery, self._nursery = self._nursery, None
            if nursery is not None:
                await nursery.aclose()

    async def _fork(self, name: str, control: socket.socket) -> tuple[Nursery, int]:
        async with self._lock:
            nursery = await self._living()
            try:
                return nursery, await nursery.fork(name, control)
            except EngineError:
                if not nursery.lost:
                    raise
            nursery = await self._living()
            return nursery, await nursery.fork(name, control)

    async def _living(self) -> Nursery:
        if self._closed:
            raise EngineError("the group is closed")
        nursery = self._nursery
        if nursery is not None and nursery.lost:
            self._nursery = None
            await nursery.aclose()
        if self._nursery is None:
            self._nursery = await Nursery.start(self._preload)
        return self._nursery
