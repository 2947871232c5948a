"""Pools whose processes do something once, before their first call, and one process ahead of them.

A program that loads much is quick only if somebody loaded it already: a *spare* has done what every
pool of that program needs, and waits to be taken over by the next pool that lacks a process.
"""

import asyncio
from contextlib import suppress
from typing import Any

from tool_plugins.errors import ToolError

from .pool import WorkerPool
from .process import Ears, Worker

WARM_TIMEOUT_S = 60.0

First = tuple[str, dict[str, Any]]
"""A verb and its arguments."""


class Crowd:
    """Lets at most so many processes of several pools wait: the one waiting longest must end."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._workers: dict[Worker, None] = {}

    def enter(self, worker: Worker) -> None:
        """It begins to wait."""
        self._workers[worker] = None
        if len(self._workers) > self._most:
            oldest = next(iter(self._workers))
            self.leave(oldest)
            oldest.end("ended because others were used since")

    def leave(self, worker: Worker) -> None:
        """It waits no longer."""
        self._workers.pop(worker, None)


class PreparedPool(WorkerPool):
    """A pool whose processes begin with the call `first`; where it fails, so does theirs.

    A process ends after `max_calls` calls. New ones come from `spares`, if one is there.
    """

    def __init__(
        self,
        *arguments: Any,
        first: First,
        spares: "Spares | None" = None,
        max_calls: int | None = None,
        crowd: Crowd | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._first = first
        self._spares = spares
        self._max_calls = max_calls
        self._crowd = crowd

    async def _take(self, deadline: float, ears: Ears) -> Worker:
        worker = self._waiting()
        if worker is None and self._spares is not None:
            worker = await self._spares.hand_over(self)
        if worker is None:
            worker = self._start()
        if not worker.prepared:
            verb, args = self._first
            await self._prepare(worker, verb, args, deadline, ears)
        return worker

    def adopt(self, worker: Worker) -> None:
        """Takes over a process of another pool that has nothing to do."""
        worker.on_end = self._forget
        worker.prepared, worker.served = False, 0
        self._workers.add(worker)

    async def _prepare(
        self, worker: Worker, verb: str, args: dict[str, Any], deadline: float, ears: Ears
    ) -> None:
        heard = Ears(on_output=ears.on_output)
        try:
            await self._do(worker, verb, args, deadline, ears=heard)
        except BaseException:
            # It may be half prepared.
            await asyncio.shield(worker.end("ended because it could not begin"))
            raise
        worker.prepared = True

    async def _put_back(self, worker: Worker) -> None:
        worker.served += 1
        if worker.served == 1 and self._spares is not None:
            self._spares.warm()
        if self._max_calls is not None and worker.served >= self._max_calls:
            await asyncio.shield(worker.end("ended because it has done its calls"))
        await super()._put_back(worker)
        if self._crowd is not None and worker.usable:
            self._crowd.enter(worker)

    def _waiting(self) -> Worker | None:
        worker = super()._waiting()
        if self._crowd is not None and worker is not None:
            self._crowd.leave(worker)
        return worker

    def _forget(self, worker: Worker) -> None:
        super()._forget(worker)
        if self._crowd is not None:
            self._crowd.leave(worker)


class Spares(PreparedPool):
    """Keeps one process that has done `first`, and hands it over whole."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, size=1, **options)
        self._warming: asyncio.Task[None] | None = None

    def warm(self) -> None:
        """Begins to make one, unless there is one. Never waits."""
        if self._warming is None and not self.running and not self.closed:
            self._warming = asyncio.get_running_loop().create_task(self._warm())

    async def hand_over(self, pool: PreparedPool) -> Worker | None:
        """Gives the process to that pool; None if there is none to be had soon."""
        if self._warming is not None:
            await asyncio.wait([self._warming])
        worker = None if pool.closed else self._waiting()
        if worker is not None:
            self._workers.discard(worker)
            pool.adopt(worker)
        return worker

    async def aclose(self) -> None:
        """Ends the process at once."""
        await super().aclose()
        if self._warming is not None:
            await asyncio.wait([self._warming])

    async def _warm(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WARM_TIMEOUT_S
        try:
            # Nobody waits for it: who needs a process will be told what is wrong.
            with suppress(ToolError, TimeoutError):
                async with asyncio.timeout_at(deadline), self._room:
                    await self._put_back(await self._take(deadline, Ears()))
        finally:
            self._warming = None
