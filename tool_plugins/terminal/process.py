"""The record of one command: what it is, what it wrote, how it ended."""

import asyncio
import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.processes import kill_all, send_signal

from .counters import Counters
from .output import Output, Spool
from .pump import LiveSink, Pump

Status = Literal["running", "exited", "timed_out", "killed"]
Ending = Literal["timed_out", "killed"]

# How a shell says "ended by signal n" in an exit code.
SIGNAL_BASE = 128
ESCALATING = frozenset({"TERM", "INT", "HUP", "QUIT", "KILL"})


def signal_name(exit_code: int | None) -> str | None:
    """The signal an exit code tells of by the shell's convention of 128 + n."""
    if exit_code is None or exit_code <= SIGNAL_BASE:
        return None
    try:
        return signal.Signals(exit_code - SIGNAL_BASE).name
    except ValueError:
        return None


def exit_code_of(returncode: int) -> int:
    """The exit code a shell would give for a return code of `subprocess`."""
    return SIGNAL_BASE - returncode if returncode < 0 else returncode


class Process(ABC):
    """One command, from its start until it is forgotten.

    `finished` is set when the command itself has ended; what it left in the background may go on
    and may go on writing to the same streams.
    """

    def __init__(self, *, id: str, command: str, session: str, spool: Spool, counters: Counters):
        self.id = id
        self.command = command
        self.session = session
        self.stdout = Output(spool, f"{id}.stdout")
        self.stderr = Output(spool, f"{id}.stderr")
        self.status: Status = "running"
        self.exit_code: int | None = None
        self.cause: str | None = None
        self.cwd = ""
        self.shell_restarted = False
        self.seen: tuple[int, int] = (0, 0)
        self.finished = asyncio.Event()
        self.started_at = datetime.now(UTC)
        self.ended: float | None = None
        self._started = time.monotonic()
        self._counters = counters
        self._before = counters.read()
        self._pumps: list[Pump] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._ending: Ending | None = None
        # How many are about to end it.
        self._ends = 0
        self._timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def members(self) -> set[int]:
        """The pids that came of this command and live."""

    @abstractmethod
    async def _end(self, grace_signal: int | None, grace_s: float) -> set[int]:
        """Ends the command and all that came of it; gives the pids."""

    async def write(self, data: bytes) -> None:
        """Sends bytes to the standard input.

        Raises:
            ToolError: it has none that can be written to (UNSUPPORTED).
        """
        raise ToolError(
            ErrorCode.UNSUPPORTED,
            f"process {self.id!r} has no standard input to write to",
            hint="start the command with background=true or pty=true to write to it later",
        )

    def close_stdin(self) -> None:  # noqa: B027 - most processes have none to close
        """Ends the standard input, if there is one."""

    @property
    def terminal(self) -> bool:
        """Whether it runs under a terminal of its own."""
        return False

    @property
    def live(self) -> bool:
        """Whether the command runs, or something it left can still write."""
        return not self.finished.is_set() or any(pump.open for pump in self._pumps)

    @property
    def size(self) -> tuple[int, int]:
        """How much it has written to both streams."""
        return self.stdout.total, self.stderr.total

    def state(self) -> dict[str, Any]:
        """The fields every result about a process begins with."""
        name = signal_name(self.exit_code)
        return {
            "process_id": self.id,
            "status": self.status,
            "exit_code": self.exit_code,
            "signal": name,
        }

    def signal(self, number: int) -> None:
        """Sends a signal to the command and all that came of it."""
        send_signal(self.members(), number)

    @property
    def duration_s(self) -> float:
        """Seconds from start to end, or to now."""
        return round((self.ended or time.monotonic()) - self._started, 6)

    def attach(self, stdout: int, stderr: int | None) -> None:
        """Starts reading the descriptors, which are ours from now on."""
        self._pumps = [Pump(stdout, self.stdout, self._changed)]
        if stderr is not None:
            self._pumps.append(Pump(stderr, self.stderr, self._changed))

    def follow(self, stdout: LiveSink | None, stderr: LiveSink | None) -> None:
        """Sends clean text to these as it arrives."""
        for pump, sink in zip(self._pumps, (stdout, stderr), strict=False):
            pump.follow(sink)

    def expire_after(self, seconds: float, expire: Callable[[], Any]) -> None:
        """Calls `expire` then, unless the command has finished before."""
        self._timer = asyncio.get_running_loop().call_later(seconds, expire)

    async def wait_finished(self, seconds: float) -> bool:
        """Waits for the end of the command; gives whether it came.

        If somebody ends it, everything that came of it is gone too.
        """
        if self.finished.is_set() and self._ends == 0:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.finished.wait()
                while self._ends:
                    await self.wait_change(seconds)
        return self.finished.is_set()

    async def wait_change(self, seconds: float) -> None:
        """Waits until it writes or ends, at most so long."""
        future = asyncio.get_running_loop().create_future()
        self._waiters.add(future)
        try:
            await asyncio.wait([future], timeout=max(0.0, seconds))
        finally:
            self._waiters.discard(future)

    async def end(
        self, ending: Ending, *, grace_signal: int | None = None, grace_s: float = 0
    ) -> set[int]:
        """Ends the command with all its descendants, gently first when `grace_signal` is given."""
        self.ending(ending)
        self._ends += 1
        try:
            return await self._end(grace_signal, grace_s)
        finally:
            self._ends -= 1
            self._changed()

    def ending(self, ending: Ending) -> None:
        """Notes why it is about to end, for the first who wants it to."""
        if not self.finished.is_set():
            self._ending = self._ending or ending

    def forget(self) -> None:
        """Lets go of descriptors, memory and files."""
        self.close_stdin()
        for pump in self._pumps:
            pump.close()
        self.stdout.discard()
        self.stderr.discard()

    def _finish(self, exit_code: int | None) -> None:
        """Notes the end. Everything it wrote before its end is in the outputs afterwards."""
        if self.finished.is_set():
            return
        for pump in self._pumps:
            pump.drain()
        self.ended = time.monotonic()
        self.status = self._ending or "exited"
        self.exit_code = None if self._ending == "timed_out" else exit_code
        if self.exit_code != 0:
            self.cause = self._counters.cause_since(self._before)
        if self._timer is not None:
            self._timer.cancel()
        for pump, output in zip(self._pumps, (self.stdout, self.stderr), strict=False):
            if not pump.open:
                output.settle()
        self.close_stdin()
        self.finished.set()
        self._changed()

    def _changed(self) -> None:
        for future in self._waiters:
            if not future.done():
                future.set_result(None)


async def end_members(
    select: Callable[[], set[int]], grace_signal: int | None, grace_s: float
) -> set[int]:
    """Signals what `select` finds, waits up to `grace_s` for its end, then kills what is left."""
    ended: set[int] = set()
    if grace_signal is not None and grace_signal != signal.SIGKILL:
        ended = select()
        send_signal(ended, grace_signal)
        await _wait_gone(ended, grace_s)
    return ended | await kill_all(select)


async def _wait_gone(pids: set[int], seconds: float) -> None:
    """Waits until none of the pids runs, by their descriptors rather than by looking again."""
    loop = asyncio.get_running_loop()
    waits: dict[int, asyncio.Future[None]] = {}
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        waits[fd] = loop.create_future()
        loop.add_reader(fd, _resolve, waits[fd])
    try:
        if waits:
            await asyncio.wait(waits.values(), timeout=seconds)
    finally:
        for fd in waits:
            loop.remove_reader(fd)
            os.close(fd)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
