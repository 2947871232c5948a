"""Background work with an owner. Nothing runs that nobody waits for."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Tasks:
    """The tasks of one group. An `asyncio.TaskGroup` cannot span `start` and `end` calls."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Answer], *, name: str) -> asyncio.Task[Answer]:
        """Starts work that `drain` will wait for. What it raises and nobody takes is logged."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def drain(self, timeout_s: float) -> bool:
        """Waits until everything is done. False when work was left and has been cancelled."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._tasks:
            left = deadline - asyncio.get_running_loop().time()
            _, pending = await asyncio.wait(set(self._tasks), timeout=max(0.0, left))
            if pending and left <= 0:
                for task in pending:
                    task.cancel()
                await asyncio.wait(pending)
                return False
        return True

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("task %s ended with %r", task.get_name(), error)


async def finish(task: asyncio.Task[Answer]) -> Answer:
    """Waits for the task to its end even when the caller is cancelled; then passes that on."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        raise cancelled
    return task.result()
