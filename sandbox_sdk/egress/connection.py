"""One connection of a program in the sandbox: its socket, its clock, its line in the log."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from .decision import Reason
from .judge import IPAddress, Verdict
from .log import Entry
from .policy import EgressLimits, HeaderInjection
from .refusal import RefusedError

PIECE_BYTES = 64 * 1024
LINGER_S = 2.0
HALF_CLOSED_IDLE_S = 15.0
"""A program that was killed looks, through the pipe between, like one that only ended its half."""

Refusal = Callable[[RefusedError], bytes]


class EndedError(Exception):
    """The program is gone, or never asked for anything: there is nobody to answer."""


class Connection:
    """The program's end, and what the proxy knows of it.

    `ahead` holds bytes that were read and not yet used. `refusal` puts a refusal in the words of
    the protocol in use; None once that would end up inside an answer. The other fields below are
    what a new policy is compared with; `unseen` is a tunnel into which nobody looked.
    """

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.ahead = b""
        self.refusal: Refusal | None = None
        self.entry = Entry()
        self.verdict: Verdict | None = None
        self.addresses: tuple[IPAddress, ...] = ()
        self.injection: HeaderInjection | None = None
        self.unseen = False
        self._cut = False
        self._cut_by: RefusedError | None = None
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._moved_at = self._opened_at = self._loop.time()
        self._half_closed = False

    @asynccontextmanager
    async def asking(self, timeout_s: float) -> AsyncIterator[None]:
        """Gives the program until so long after it connected to say what it wants."""
        try:
            async with asyncio.timeout_at(self._opened_at + timeout_s):
                yield
        except TimeoutError:
            if self.refusal is None:
                raise EndedError from None
            message = f"the request did not arrive within {timeout_s:g} s"
            raise RefusedError(Reason.BAD_REQUEST, message) from None

    async def receive(self) -> bytes:
        """What comes next, `ahead` first; nothing at the end."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        return await self._loop.sock_recv(self.client, PIECE_BYTES)

    async def exactly(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            EndedError: the program ended before.
        """
        data = await self.receive() if size else b""
        while len(data) < size:
            more = await self._loop.sock_recv(self.client, size - len(data))
            if not more:
                raise EndedError
            data += more
        self.ahead = data[size:] + self.ahead
        return data[:size]

    async def send(self, data: bytes) -> None:
        """Hands bytes to the program."""
        await self._loop.sock_sendall(self.client, data)

    def touch(self) -> None:
        """Notes that something moved."""
        self._moved_at = self._loop.time()

    def cut(self, refused: RefusedError | None) -> None:
        """Ends it from outside; None where there is no reason to give. The first one counts."""
        if not self._cut and self._task is not None:
            self._cut, self._cut_by = True, refused
            self._task.cancel()

    def was_cut(self) -> RefusedError | None:
        """Why it was cut. To be asked when it is cancelled.

        Raises:
            EndedError: it was, without a reason.
            CancelledError: it was not: the proxy is closing.
        """
        if not self._cut or self._task is None or self._task.uncancel() > 0:
            raise asyncio.CancelledError
        if self._cut_by is None:
            raise EndedError
        return self._cut_by

    async def settle(self) -> None:
        """Lets a cut that came at the last moment take effect."""
        if self._cut:
            await asyncio.sleep(0)

    def watch(self, limits: EgressLimits) -> None:
        """Ends it once it is idle or old."""
        idle_s, age_s = limits.idle_timeout_s, limits.max_connection_s
        if self._half_closed:
            idle_s = min(idle_s, HALF_CLOSED_IDLE_S)
        now = self._loop.time()
        idle_at = self._moved_at + idle_s
        old_at = self._opened_at + age_s if age_s is not None else idle_at
        self.unwatch()
        if now >= idle_at:
            self.cut(RefusedError(Reason.TIMEOUT, f"nothing moved for {idle_s:g} s"))
        elif age_s is not None and now >= old_at:
            self.cut(RefusedError(Reason.TIMEOUT, f"open for more than {age_s:g} s"))
        else:
            self._timer = self._loop.call_at(min(idle_at, old_at), self.watch, limits)

    def retime(self, limits: EgressLimits) -> None:
        """Applies other limits, if it is watched already."""
        if self._timer is not None:
            self.watch(limits)

    def expect_the_end(self, limits: EgressLimits) -> None:
        """From now on nothing but the program's end is of interest.

        What it sends is left unread, so that a second request goes nowhere.
        """
        # By its number: asyncio would write out the socket, with its addresses, to say it is new.
        self._loop.add_reader(self.client.fileno(), self._look, limits)

    def stop_expecting(self) -> None:
        """Undoes `expect_the_end`."""
        self._loop.remove_reader(self.client.fileno())

    def _look(self, limits: EgressLimits) -> None:
        self.stop_expecting()
        try:
            if self.client.recv(1, socket.MSG_PEEK):
                return
        except OSError:
            self.cut(None)
            return
        if _is_gone(self.client):
            self.cut(None)
        else:
            self._half_closed = True
            self.watch(limits)

    def has_unread(self) -> bool:
        """Whether the program sent something that nobody has read."""
        try:
            return bool(self.client.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    async def refuse(self, refused: RefusedError) -> None:
        """Tells the program, where that can be told, and lets it read it."""
        self.unwatch()
        refusal, self.refusal = self.refusal, None
        if refusal is None:
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self.send(refusal(refused))
                await self.linger()

    async def linger(self) -> None:
        """Closes gently: to close on unread bytes could cost the program its answer."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_S):
                self.client.shutdown(socket.SHUT_WR)
                while await self._loop.sock_recv(self.client, PIECE_BYTES):
                    pass

    def close(self) -> None:
        """Closes the program's end. Idempotent."""
        self.unwatch()
        self.client.close()

    def unwatch(self) -> None:
        """Undoes `watch`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_gone(end: socket.socket) -> bool:
    """Whether the other side closed its end, rather than one half of it."""
    poll = select.poll()
    poll.register(end, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
