"""One worker process, as the server sees it: started, asked, ended with all that came of it."""

import array
import asyncio
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.processes import Trees, kill_all, spawn
from tool_plugins.terminal.counters import Counters

from .capture import Capture, Output
from .wire import MAX_ASKS, RECEIVE_BYTES, Frames, WireError, pack

ROOT = str(Path(__file__).resolve().parents[2])
BOOT = """
import sys
sys.path.append(sys.argv[1])
from tool_plugins.worker.child import main
main(int(sys.argv[2]))
"""
EXIT_S = 0.5
"""How long a process that closed its channel may take to end, so that its exit can tell why."""

LAST_READS = 4
"""How often at most to read from a process that has ended: more than its socket can hold."""

Event = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Program:
    """What a worker runs. `name` is that of a module with `HANDLERS` (see `child.py`).

    `memory_mb` bounds what the process may have of its own; None leaves that to the sandbox. Each
    call begins in `folder`. With `capture` what is printed can be read, otherwise it is lost.
    """

    name: str
    memory_mb: int | None = None
    folder: Path = Path("/")
    capture: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """What a worker wants to know in the midst of a call. Nothing in `request` has been looked at.

    `reply` takes {"data": {...}} or {"error": {...}}, once, and only as long as the call runs;
    later it does nothing. It raises TooLongError when that is too long, and can be called again.
    """

    request: dict[str, Any]
    reply: Callable[[dict[str, Any]], None]


OnAsk = Callable[[Ask], None]


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears what a worker says before it answers: events, questions, and what is printed.

    Without `on_ask` a program that asks is ended; without the others nothing is kept.
    """

    on_event: Event | None = None
    on_ask: OnAsk | None = None
    on_output: Output | None = None


DEAF = Ears()


class ProcessEnded(ToolError):
    """The process of a call ended, or had to be ended: it was `why`."""

    def __init__(self, why: str) -> None:
        super().__init__(
            ErrorCode.INTERNAL,
            f"the process that did this was {why}",
            hint="a new process does the next call",
        )
        self.why = why


class WorkerLost(Exception):
    """The process ended, or had to be ended, before it answered."""


class Worker:
    """Does one call at a time. `on_end` is called once it, and all that came of it, has ended.

    `prepared` and `served` are its pool's: whether it did its first call, and how many since.
    """

    def __init__(
        self,
        host: Host,
        program: Program,
        *,
        counters: Counters,
        on_end: Callable[["Worker"], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._counters = counters
        self._before = counters.read()
        self._capture: Capture | None = None
        self.on_end = on_end
        self.prepared = False
        self.served = 0
        self._tree = host.service(Trees).new()
        self._frames = Frames()
        self._unsent: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._messages: deque[dict[str, Any]] = deque()
        self._news: asyncio.Future[None] | None = None
        self._number = 0
        self._asks: set[int] = set()
        self._busy = False
        self._why = ""
        self._ending: asyncio.Task[None] | None = None
        self._socket = self._start(host, program)
        self._fd = self._socket.fileno()
        self._loop.add_reader(self._fd, self._readable)
        setup = {
            "program": program.name,
            "memory_mb": program.memory_mb,
            "folder": str(program.folder),
            "capture": program.capture,
            "path": trusted_path(host),
            "mark": self._tree.next_mark(),
        }
        self._send(pack({"setup": setup}), ())

    def _start(self, host: Host, program: Program) -> socket.socket:
        with ExitStack() as theirs, ExitStack() as ours:
            channel, their_channel = socket.socketpair()
            ours.callback(channel.close)
            theirs.callback(their_channel.close)
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            theirs.callback(os.close, null)
            output = null
            if program.capture:
                printed, output = os.pipe2(os.O_CLOEXEC)
                theirs.callback(os.close, output)
                self._capture = Capture(printed)
                ours.callback(self._capture.close)
            self._child = spawn(
                # Isolated: neither the environment nor the current folder names what to import.
                [sys.executable, "-IS", "-c", BOOT, ROOT, str(their_channel.fileno())],
                tree=self._tree,
                environment=host.environment,
                folder=program.folder,
                stdio=(null, output, output),
                keep=(their_channel.fileno(),),
                on_exit=self._exited,
            )
            ours.pop_all()
        channel.setblocking(False)
        return channel

    @property
    def usable(self) -> bool:
        """Whether it can do another call."""
        return self._ending is None

    async def call(
        self, request: dict[str, Any], descriptors: Sequence[int], ears: Ears
    ) -> dict[str, Any]:
        """Asks, and waits for the message that answers. The caller bounds the wait.

        Raises:
            WorkerLost: there will be no answer; `failure` tells why once `end` is through.
            TooLongError: the request is too long. Nothing was sent.
        """
        self._number += 1
        message = pack({"id": self._number, **request, "descriptors": len(descriptors)})
        if self._capture is not None:
            self._capture.sink = ears.on_output
        self._busy = True
        self._send(message, descriptors)
        # While the worker begins: reading them takes a while.
        self._before = self._counters.read()
        try:
            while True:
                answer = await self._next()
                if "event" in answer:
                    _heard(answer, ears.on_event)
                elif "ask" in answer:
                    self._asked(answer, ears.on_ask)
                else:
                    break
        finally:
            if self._capture is not None:
                self._capture.drain()
                self._capture.sink = None
        self._busy = False
        self._asks.clear()
        if self._messages or self._frames.partial:
            self.end("ended because it said more than it was asked")
        return answer

    def _asked(self, message: dict[str, Any], on_ask: OnAsk | None) -> None:
        number, request = message["ask"], message.get("request")
        if type(number) is not int or number in self._asks or not isinstance(request, dict):
            raise WorkerLost
        if on_ask is None or len(self._asks) >= MAX_ASKS:
            raise WorkerLost
        self._asks.add(number)
        on_ask(Ask(request, partial(self._answer, self._number, number)))

    def _answer(self, call: int, ask: int, fields: dict[str, Any]) -> None:
        if not self._busy or self._number != call or ask not in self._asks:
            return
        message = pack({"id": call, "answer": ask, **fields})
        self._asks.remove(ask)
        self._send(message, ())

    def end(self, why: str) -> "asyncio.Task[None]":
        """Ends the process and all that came of it, which goes on if the caller is cancelled.

        `why` completes "the process was ...". The first one counts; "" if its exit is to tell.
        """
        if self._ending is None:
            self._why = why
            self._unsent.clear()
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._tell()
            self._ending = self._loop.create_task(self._end())
        return self._ending

    def failure(self) -> ToolError:
        """What to tell of a call that had no answer."""
        code = self._child.returncode or 0
        if code == -signal.SIGKILL and self._counters.cause_since(self._before) == "oom":
            return ToolError(
                ErrorCode.TOO_LARGE,
                "the sandbox ran out of memory over this",
                hint="try a part of it, or end programs that use much memory",
            )
        exit = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return ProcessEnded(self._why or exit)

    async def _end(self) -> None:
        try:
            if not self._why and not await self._exit():
                self._why = "ended because it closed its channel"
            self._socket.close()
            await kill_all(self._tree.members)
            await self._exit()
        finally:
            self._socket.close()
            if self._capture is not None:
                self._capture.close()
            self.on_end(self)

    async def _exit(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(EXIT_S):
                await self._child.exited.wait()
        return self._child.exited.is_set()

    def _exited(self) -> None:
        # What it said last is still there.
        for _ in range(LAST_READS):
            if self.usable:
                self._readable()
        self.end("")

    def _readable(self) -> None:
        try:
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                self.end("")
                return
            self._take(data)
        except BlockingIOError:
            return
        except OSError:
            self.end("")
        except WireError as exc:
            self.end(f"ended because it broke the protocol: {exc}")
        self._tell()

    def _take(self, data: bytes) -> None:
        if not self._busy:
            raise WireError("it said something unasked")
        messages = self._frames.feed(data)
        if any(message.get("id") != self._number for message in messages):
            raise WireError("an answer to another call")
        self._messages += messages

    async def _next(self) -> dict[str, Any]:
        while not self._messages:
            if self._ending is not None:
                raise WorkerLost
            self._news = self._loop.create_future()
            await self._news
        return self._messages.popleft()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        self._unsent.append((memoryview(message), descriptors))
        self._flush()

    def _flush(self) -> None:
        while self._unsent:
            left, descriptors = self._unsent[0]
            try:
                sent = self._send_some(left, descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._fd, self._flush)
                return
            except OSError:
                # It is gone. The end of what it says tells that too.
                self._unsent.clear()
                break
            if sent == len(left):
                self._unsent.popleft()
            else:
                self._unsent[0] = (left[sent:], ())
        self._loop.remove_writer(self._fd)

    def _send_some(self, data: memoryview, descriptors: Sequence[int]) -> int:
        if not descriptors:
            return self._socket.send(data)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        return self._socket.sendmsg([data], [rights])


def _heard(message: dict[str, Any], on_event: Event | None) -> None:
    event = message["event"]
    if not isinstance(event, dict):
        raise WorkerLost
    if on_event is not None:
        on_event(event)


def trusted_path(host: Host) -> list[str]:
    """Where this server finds its modules, without what an agent may write to."""
    folders = (host.workspace, host.tmp, host.spool)
    return [
        path
        for path in sys.path
        if os.path.isabs(path) and not any(Path(path).is_relative_to(each) for each in folders)
    ]
