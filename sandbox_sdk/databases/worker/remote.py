"""The host's end of one worker."""

import asyncio
import json
import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from sandbox_sdk.databases.provisioner import Copy
from tool_plugins.errors import ErrorCode, ToolError

from .driver import Caps
from .pipe import Pieces, Pipe, WorkerLost
from .protocol import FrameError, frame, receive_packet, send_packet

MOST_CHANNELS = 16
GRACE_S = 1.0
"""After its deadline, or after it was cancelled, a call has so long to answer."""
END_S = 2.0
OPEN_S = 60.0

NO_CAPS = Caps(rows=0, bytes=0, cell_chars=0)

# ASCII: half of a surrogate pair gets through, and the worker refuses it by name.
_dump = json.JSONEncoder(separators=(",", ":")).encode

logger = logging.getLogger(__name__)


class Listener(Protocol):
    """Who hears what happens in a worker."""

    def transaction_ended(self, transaction_id: str, reason: str) -> None:
        """A transaction ended by itself, or was ended."""
        ...

    async def stuck(self, database: str) -> None:
        """A call on that database does not stop; the worker is killed, its server goes on."""
        ...

    def lost(self, worker: "Worker", reason: str) -> None:
        """The worker ended, asked to or not."""
        ...


class Worker:
    """One sandbox's worker process. Made by `Workers.spawn`; of no more use after `lost`."""

    def __init__(
        self,
        name: str,
        pid: int,
        control: socket.socket,
        kill: Callable[[int], None],
        listener: Listener,
    ) -> None:
        self.name = name
        self.pid = pid
        self.lost = False
        self._control = control
        self._kill = kill
        self._listener = listener
        self._channels = 0
        self._pipes: list[Pipe] = []
        self._idle: list[Pipe] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._deliberate = False
        self._gone = asyncio.Event()
        self._stuck_work: set[asyncio.Future[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(control.fileno(), self._read)

    async def open(self, database: str, copy: Copy) -> None:
        """Opens a database; one that is open under that name is closed first.

        Raises:
            ToolError: the driver refused.
            WorkerLost: the worker ended.
        """
        arguments = {"driver": copy.driver, "settings": copy.settings}
        await self.request("open", database, arguments, caps=NO_CAPS, timeout_s=OPEN_S)

    async def close(self, database: str) -> None:
        """Closes a database; its transactions are rolled back."""
        await self.request("close", database, {}, caps=NO_CAPS, timeout_s=OPEN_S)

    async def request(
        self,
        verb: str,
        database: str,
        arguments: dict[str, Any],
        *,
        caps: Caps,
        timeout_s: float,
        pieces: Pieces | None = None,
    ) -> dict[str, Any]:
        """Has the worker do something. When this is cancelled, so is that.

        Raises:
            ToolError: what the worker answered; BUSY when no channel became free; TIMEOUT.
            WorkerLost: the worker ended.
        """
        pipe = self._idle.pop() if self._idle else await self._channel(timeout_s)
        pipe.requests += 1
        fields = {
            "number": pipe.requests,
            "verb": verb,
            "database": database,
            "arguments": arguments,
            "rows": caps.rows,
            "bytes": caps.bytes,
            "cell_chars": caps.cell_chars,
            "timeout_s": timeout_s,
        }
        try:
            body = _framed(fields)
        except BaseException:
            self._free(pipe)
            raise
        answer = pipe.send(body, pieces)
        pipe.guard = self._loop.call_later(
            timeout_s + GRACE_S, self._stuck, pipe, database, timeout_s
        )
        # A worker that waits for somebody to take its file would not see its own deadline.
        late = self._loop.call_later(timeout_s, pieces.abandon) if pieces is not None else None
        try:
            return _taken(await answer)
        except asyncio.CancelledError:
            self._cancel(pipe, database, timeout_s, pieces)
            raise
        finally:
            if late is not None:
                late.cancel()

    async def end(self) -> None:
        """Ends the process; open transactions are rolled back. Idempotent."""
        if not self.lost:
            self._deliberate = True
            with suppress(OSError):
                send_packet(self._control, {"end": True})
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await self._gone.wait()
        self.kill("it was ended")
        if self._stuck_work:
            await asyncio.wait(self._stuck_work)

    def kill(self, reason: str) -> None:
        """Ends the process at once. What runs in it fails with `WorkerLost`."""
        if not self.lost:
            self._deliberate = True
            self._kill(self.pid)
            self._lose(reason)

    async def _channel(self, timeout_s: float) -> Pipe:
        """A channel nobody uses: a new one, or the first that becomes free."""
        if self.lost:
            raise WorkerLost("it ended", deliberate=self._deliberate)
        if len(self._pipes) < MOST_CHANNELS:
            return await self._connect()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            raise ToolError(
                ErrorCode.BUSY,
                f"{MOST_CHANNELS} calls are running already",
                hint="wait for some of them",
            ) from None
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiter)
        return self._idle.pop() if self._idle else await self._channel(timeout_s)

    async def _connect(self) -> Pipe:
        self._channels += 1
        pipe = Pipe(self._channels, self._free, self._break)
        self._pipes.append(pipe)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                send_packet(self._control, {"channel": pipe.number}, theirs.fileno())
            await self._loop.create_unix_connection(lambda: pipe, sock=ours)
        except OSError as exc:
            ours.close()
            self._break(f"it takes no channel: {exc}")
        except BaseException:
            ours.close()
            self._pipes.remove(pipe)
            raise
        if self.lost:
            error = WorkerLost("it ended", deliberate=self._deliberate)
            pipe.fail(error)
            raise error
        return pipe

    def _free(self, pipe: Pipe) -> None:
        self._idle.append(pipe)
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def _cancel(self, pipe: Pipe, database: str, timeout_s: float, pieces: Pieces | None) -> None:
        if pipe.guard is None:
            return
        if pieces is not None:
            pieces.abandon()
        pipe.guard.cancel()
        pipe.guard = self._loop.call_later(GRACE_S, self._stuck, pipe, database, timeout_s)
        with suppress(OSError):
            send_packet(self._control, {"cancel": pipe.number, "number": pipe.requests})

    def _stuck(self, pipe: Pipe, database: str, timeout_s: float) -> None:
        logger.warning(
            "worker %s: a call on %s cannot be cancelled; ending it", self.name, database
        )
        pipe.guard = None
        pipe.fail(
            ToolError(
                ErrorCode.TIMEOUT,
                f"the database did not answer within {timeout_s:g} s, nor stop when asked to",
                hint="ask for less at once; open transactions were rolled back",
            )
        )
        self.kill("another call in it could not be stopped")
        task = asyncio.ensure_future(self._listener.stuck(database))
        self._stuck_work.add(task)
        task.add_done_callback(self._stuck_work.discard)

    def _read(self) -> None:
        try:
            packet = receive_packet(self._control)
        except BlockingIOError:
            return
        except (FrameError, OSError) as exc:
            self._break(f"it broke the protocol: {exc}")
            return
        if packet is None:
            self._lose("it ended")
        elif {"ended", "reason"} <= packet[0].keys():
            self._listener.transaction_ended(str(packet[0]["ended"]), str(packet[0]["reason"]))

    def _break(self, reason: str) -> None:
        if not self.lost:
            self._kill(self.pid)
            self._lose(reason)

    def _lose(self, reason: str) -> None:
        if self.lost:
            return
        self.lost = True
        if not self._deliberate:
            logger.warning("database worker %s (process %d): %s", self.name, self.pid, reason)
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        self._idle.clear()
        error = WorkerLost(reason, deliberate=self._deliberate)
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        for pipe in self._pipes:
            pipe.fail(error)
        self._gone.set()
        self._listener.lost(self, reason)


def _framed(fields: dict[str, Any]) -> bytes:
    try:
        return frame(_dump(fields).encode())
    except FrameError as exc:
        raise ToolError(
            ErrorCode.TOO_LARGE, f"the arguments are too large: {exc}", hint="send less at once"
        ) from None
    except (TypeError, ValueError, RecursionError) as exc:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"a parameter is no JSON: {exc}",
            hint='send dates and decimals as strings, and bytes as {"base64": "..."}',
        ) from None


def _taken(fields: dict[str, Any]) -> dict[str, Any]:
    """The answer in a message of a worker."""
    if isinstance(fields.get("ok"), dict):
        return fields["ok"]
    if "traceback" in fields:
        logger.error("a database driver failed:\n%s", fields["traceback"])
    error = fields.get("error")
    if not isinstance(error, dict) or error.get("code") not in set(ErrorCode):
        raise ToolError(ErrorCode.INTERNAL, "the database worker gave no proper answer")
    raise ToolError(
        ErrorCode(error["code"]),
        str(error.get("message", "")),
        hint=str(error.get("hint", "")),
        details=error.get("details") if isinstance(error.get("details"), dict) else None,
    )
