"""Asks the host's name service, without letting slow names hold up others.

Nothing is kept between calls: the system says nothing of how long an answer holds. Callers that ask
for the same name at the same time share one look-up.
"""

import asyncio
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address

from .addresses import IPAddress, canonical

MAX_LOOKUPS = 64
"""At the same time, of all sandboxes. Each holds a thread until the system gives up on it."""

MAX_LOOKUPS_PER_OWNER = 8
MAX_ADDRESSES = 64

LookUp = Callable[[str], Iterable[str]]


class DnsError(Exception):
    """A name has no address, as far as can be told. `message` is fit for a model to read."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


_Answer = tuple[IPAddress, ...] | DnsError


def system_look_up(host: str) -> list[str]:
    """All addresses of a name, of both families, as the host's own programs would find them.

    Raises:
        OSError: there is no answer, or a negative one.
    """
    # As bytes: a str would be encoded once more, by older rules than ours.
    found = socket.getaddrinfo(host.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(each[4][0]) for each in found]


class Resolver:
    """The name service, for all sandboxes of a group.

    A look-up cannot be ended once it runs, so each has a thread of its own that nobody has to wait
    for; how many there are is bounded, in all and for each owner.
    """

    def __init__(self, look_up: LookUp = system_look_up) -> None:
        self._look_up = look_up
        self._running: dict[str, asyncio.Future[_Answer]] = {}
        self._busy: Counter[str] = Counter()
        self._line: deque[tuple[str, asyncio.Future[None]]] = deque()
        self._closed = False

    async def resolve(
        self,
        host: str,
        hosts: Mapping[str, tuple[str, ...]],
        timeout_s: float,
        *,
        owner: str = "",
    ) -> tuple[IPAddress, ...]:
        """The addresses of a name, at least one, in the order in which to try them.

        `host` is in its one form (see `rules.parse_host`). `hosts` is asked first. `owner` is whose
        look-up it is, such as a sandbox's id: one owner's cannot take all threads.

        Raises:
            DnsError: there is no such name, or no answer in time.
        """
        if host in hosts:
            return tuple(canonical(ip_address(each)) for each in hosts[host])
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._ask(host, owner)
        except TimeoutError:
            raise DnsError(
                f"the name service did not answer for {host!r} within {timeout_s:g} s",
                hint="try again later, or another host",
            ) from None
        if isinstance(answer, DnsError):
            # A fresh one for each caller: they would write into one traceback.
            raise DnsError(answer.message, hint=answer.hint)
        return answer

    async def aclose(self) -> None:
        """Answers all who wait, and leaves look-ups that still run to themselves. Idempotent."""
        self._closed = True
        while self._line:
            owner, turn = self._line.popleft()
            if not turn.done():
                self._busy[owner] += 1
                turn.set_result(None)
        for answer in self._running.values():
            if not answer.done():
                answer.set_result(_closed())

    async def _ask(self, host: str, owner: str) -> _Answer:
        if (answer := self._running.get(host)) is None:
            await self._turn(owner)
            answer = self._running.get(host)
            if answer is None and not self._closed:
                answer = self._start(host, owner)
            else:
                self._end(owner)
        return _closed() if answer is None else await asyncio.shield(answer)

    def _start(self, host: str, owner: str) -> asyncio.Future[_Answer]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()

        def finish(found: _Answer) -> None:
            self._running.pop(host, None)
            self._end(owner)
            if not answer.done():
                answer.set_result(found)

        def run() -> None:
            found = self._find(host)
            try:
                loop.call_soon_threadsafe(finish, found)
            except RuntimeError:
                return  # the loop is closed: nobody is left to hear it

        self._running[host] = answer
        try:
            threading.Thread(target=run, name="sandbox-resolver", daemon=True).start()
        except RuntimeError:
            finish(DnsError("this host cannot look up names now", hint="try again later"))
        return answer

    def _find(self, host: str) -> _Answer:
        """Looks up in this thread. Never raises."""
        try:
            found = dict.fromkeys(_addresses(self._look_up(host)))
        except socket.gaierror as exc:
            return _failure(host, exc)
        except Exception as exc:
            return DnsError(f"the name {host!r} cannot be looked up: {type(exc).__name__}")
        if not found:
            return DnsError(f"the name {host!r} has no address")
        return tuple(found)[:MAX_ADDRESSES]

    async def _turn(self, owner: str) -> None:
        """Returns when another look-up of the owner may run; `_end` must follow."""
        if self._closed or self._has_room(owner):
            self._busy[owner] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((owner, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end(owner)
            else:
                self._line.remove((owner, turn))
            raise

    def _has_room(self, owner: str) -> bool:
        own = MAX_LOOKUPS_PER_OWNER if owner else MAX_LOOKUPS
        return self._busy.total() < MAX_LOOKUPS and self._busy[owner] < own

    def _end(self, owner: str) -> None:
        """Gives a turn back, and passes it on to who has waited longest and may have it."""
        self._busy[owner] -= 1
        if self._busy[owner] <= 0:
            del self._busy[owner]
        for place in tuple(self._line):
            waiting, turn = place
            if not turn.done() and self._has_room(waiting):
                self._line.remove(place)
                self._busy[waiting] += 1
                turn.set_result(None)
                return


def _closed() -> DnsError:
    return DnsError("the resolver is closed")


def _addresses(texts: Iterable[str]) -> Iterable[IPAddress]:
    for text in texts:
        yield canonical(ip_address(text.partition("%")[0]))


def _failure(host: str, error: socket.gaierror) -> DnsError:
    if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)):
        return DnsError(
            f"there is no host named {host!r}, or it has no address", hint="check its spelling"
        )
    if error.errno == socket.EAI_AGAIN:
        return DnsError(
            f"the name service gives no answer for {host!r} now", hint="try again later"
        )
    return DnsError(f"the name {host!r} cannot be looked up: {error.strerror}")
