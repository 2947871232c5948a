"""The threads in which blocking work runs.

They are started from the main thread, whose file system identity they inherit. A pool of the
standard library would do, at twice the time per call (measured: 0.2 ms more per small read).
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from tool_plugins.context import Host

MAX_THREADS = 16

Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Workers:
    """Up to `MAX_THREADS` threads, started as they are needed; further work waits its turn."""

    def __init__(self, _host: Host) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        # Agent code may take every process the sandbox has left; one thread is there before it.
        self._start()

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`function(*args, **kwargs)` in a worker thread.

        Cancelling it stops the waiting only; the function runs to its end.
        """
        loop = asyncio.get_running_loop()
        self._busy += 1
        if self._busy > len(self._threads) < MAX_THREADS:
            with suppress(RuntimeError):  # no process left: the threads there are take turns
                self._start()
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put((loop, future, partial(function, *args, **kwargs)))
        return await future

    async def run_to_end(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As `run`, but a cancellation waits too: nobody closes a file that is still in use."""
        task = asyncio.ensure_future(self.run(function, *args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def aclose(self) -> None:
        """Ends each thread after what it does now. Nothing waits for them."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _start(self) -> None:
        # A daemon: a thread that waits for a disk must not keep the server from ending.
        thread = threading.Thread(target=self._work, name="worker", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, call = job
            try:
                outcome, failure = call(), None
            except BaseException as exc:
                outcome, failure = None, exc
            try:
                loop.call_soon_threadsafe(self._deliver, future, outcome, failure)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more
            del job, future, call, outcome, failure

    def _deliver(
        self, future: "asyncio.Future[Any]", outcome: Any, failure: BaseException | None
    ) -> None:
        self._busy -= 1
        if future.done():
            return
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(outcome)
