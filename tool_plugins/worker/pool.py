"""Calls into libraries that meet input nobody vouches for: each in a process of the agent's user.

The server only ever takes JSON from them, bounded in size and time.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.terminal.counters import Counters

from .capture import Output
from .process import DEAF, Ears, Event, OnAsk, Program, Worker, WorkerLost
from .wire import MAX_BODY_BYTES, MAX_DESCRIPTORS, MAX_TRACE_CHARS, TooLongError, parse_error

DEFAULT_SIZE = 2
DEFAULT_IDLE_S = 60.0
DEFAULT_MEMORY_MB = 320
"""Of the 512 MB that a sandbox has by default. Every library for documents together takes 70."""

logger = logging.getLogger(__name__)


class HostCounters(Counters):
    """The counters of the sandbox, read through the same descriptors by all pools of a host."""

    def __init__(self, _host: Host) -> None:
        super().__init__()

    async def aclose(self) -> None:
        """Closes the descriptors."""
        self.close()


class WorkerPool:
    """Up to `size` processes of one program; they start when needed and stay for `idle_s`.

    `program` names a module with `HANDLERS` (see `child.py`). `memory_mb` bounds what one process
    may have of its own; None leaves that to the sandbox. With `size=1` every call meets the same
    process while it lives, so a program may keep state between calls. Each call begins in `folder`;
    with `capture` its caller may have what it prints. Made as a service of a host: a subclass, or a
    function of the host, that names the program.
    """

    def __init__(
        self,
        host: Host,
        program: str,
        *,
        size: int = DEFAULT_SIZE,
        idle_s: float = DEFAULT_IDLE_S,
        memory_mb: int | None = DEFAULT_MEMORY_MB,
        folder: Path = Path("/"),
        capture: bool = False,
    ) -> None:
        self._host = host
        self._program = Program(program, memory_mb, folder, capture)
        self._idle_s = idle_s
        self._counters = host.service(HostCounters)
        self._room = asyncio.Semaphore(size)
        self._workers: set[Worker] = set()
        # Since when they wait. The one used last comes last, and is used next: the others may
        # become idle.
        self._free: dict[Worker, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self.closed = False

    @property
    def running(self) -> bool:
        """Whether there is a process now: with `size=1`, whether it keeps its state."""
        return any(worker.usable for worker in self._workers)

    async def call(
        self,
        verb: str,
        args: dict[str, Any],
        *,
        timeout_s: float,
        grace_s: float = 0.0,
        on_event: Event | None = None,
        on_ask: OnAsk | None = None,
        on_output: Output | None = None,
        descriptors: Sequence[int] = (),
    ) -> dict[str, Any]:
        """What the handler of `verb` gives. It gets `args`, and copies of the descriptors.

        `timeout_s` bounds everything, a wait for a free process too; a handler that keeps to its
        deadline itself has `grace_s` more to say so. Nothing of what comes back, neither answer nor
        events, has been looked at: only that it is an object within bounds. `on_output` gets what
        is printed until the answer is there, if the pool captures it. Without `on_ask` a program
        that asks for something (`Call.ask`) is ended.

        Raises:
            ToolError: the handler's own; TIMEOUT; TOO_LARGE for what is too much, memory too; or
                INTERNAL when the process ended. After all but the first, and when the call is
                cancelled, nothing that came of the call is left.
        """
        if len(descriptors) > MAX_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors are more than {MAX_DESCRIPTORS}")
        deadline = asyncio.get_running_loop().time() + timeout_s
        limit = asyncio.timeout_at(deadline + grace_s)
        try:
            async with limit, self._room:
                ears = Ears(on_event, on_ask, on_output)
                worker = await self._take(deadline, ears)
                try:
                    return await self._do(worker, verb, args, deadline, descriptors, ears)
                finally:
                    await self._put_back(worker)
        except TimeoutError as exc:
            if not limit.expired():
                raise
            raise ToolError(
                ErrorCode.TIMEOUT,
                f"it took longer than {timeout_s:g} seconds",
                hint="give it more time, or less to do",
            ) from exc

    async def reset(self) -> None:
        """Ends every process; a call that runs fails. The next call gets a new one."""
        ends = [worker.end("ended by another call") for worker in self._workers]
        if ends:
            await asyncio.wait(ends)

    async def aclose(self) -> None:
        """Ends every process at once. No call is taken any more."""
        self.closed = True
        await self.reset()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _do(
        self,
        worker: Worker,
        verb: str,
        args: dict[str, Any],
        deadline: float,
        descriptors: Sequence[int] = (),
        ears: Ears = DEAF,
    ) -> dict[str, Any]:
        """One call of that worker, which is ended unless it can do another one."""
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        request = {"verb": verb, "args": args, "timeout_s": left}
        try:
            answer = await worker.call(request, descriptors, ears)
            outcome = self._outcome(answer)
        except TooLongError as exc:
            limit = MAX_BODY_BYTES // 1024**2
            raise ToolError(ErrorCode.TOO_LARGE, f"the call is larger than {limit} MB") from exc
        except WorkerLost:
            await asyncio.shield(worker.end("ended because it broke the protocol"))
            raise worker.failure() from None
        except BaseException:
            await asyncio.shield(worker.end("ended because its call was given up"))
            raise
        if answer.get("spent"):
            await asyncio.shield(worker.end("ended because it is spent"))
        if isinstance(outcome, ToolError):
            raise outcome
        return outcome

    def _outcome(self, answer: dict[str, Any]) -> dict[str, Any] | ToolError:
        if isinstance(trace := answer.get("trace"), str):
            shown = "".join(c if c.isprintable() or c == "\n" else "?" for c in trace)
            logger.error("a call of %s failed:\n%s", self._program.name, shown[-MAX_TRACE_CHARS:])
        if "error" in answer:
            return parse_error(answer["error"])
        if not isinstance(answer.get("data"), dict):
            raise WorkerLost
        return answer["data"]

    async def _take(self, deadline: float, ears: Ears) -> Worker:
        """A worker for one call: the one that was used last, or a new one."""
        return self._waiting() or self._start()

    async def _put_back(self, worker: Worker) -> None:
        """Takes a worker back after its call, if it can do another one."""
        if worker.usable:
            loop = asyncio.get_running_loop()
            self._free[worker] = loop.time()
            # One timer for all, and none for each call.
            if self._sweeper is None:
                self._sweeper = loop.call_later(self._idle_s, self._sweep)

    def _sweep(self) -> None:
        """Ends those that wait for too long; they wait in the order in which they began to."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        for worker, since in list(self._free.items()):
            if since + self._idle_s > loop.time():
                self._sweeper = loop.call_at(since + self._idle_s, self._sweep)
                break
            del self._free[worker]
            worker.end("ended because it was idle")

    def _waiting(self) -> Worker | None:
        while self._free:
            worker, _ = self._free.popitem()
            if worker.usable:
                return worker
        return None

    def _start(self) -> Worker:
        if self.closed:
            raise ToolError(ErrorCode.INTERNAL, "the sandbox is ending")
        worker = Worker(self._host, self._program, counters=self._counters, on_end=self._forget)
        self._workers.add(worker)
        return worker

    def _forget(self, worker: Worker) -> None:
        self._workers.discard(worker)
        self._free.pop(worker, None)
