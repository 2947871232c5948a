"""The proxy of one sandbox: a unix socket on the host, its only way to the network.

HTTP requests, CONNECT and SOCKS5 come in on the same socket and are told apart by their first
byte. It never sends anything to an address that the policy did not allow, and never looks a name
up twice.
"""

import asyncio
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

from . import socks
from .connection import Connection, EndedError
from .decision import EgressDecision, Reason
from .forward import forward
from .gate import Gate
from .http import parse_authority, read_head
from .log import DecisionLog, Entry
from .policy import EgressPolicy
from .refusal import RefusedError, http_answer
from .resolver import Resolver
from .tunnel import ESTABLISHED, tunnel

logger = logging.getLogger(__name__)

PATIENCE_S = 15.0
CLOSE_TIMEOUT_S = 1.0
BACKLOG = 256
ACCEPTED_AT_ONCE = 16
# Beyond those that the policy lets run: still asking, or reading why they were refused.
SPARE_CONNECTIONS = 64
RETRY_S = 0.2
COMPLAIN_EVERY_S = 1.0
TOO_MANY = RefusedError(Reason.LIMIT, "this sandbox has too many connections open")


class EgressProxy:
    """Listens for one sandbox. Without a policy it lets nothing out.

    `name` is for the log. `patience_s` is how long a program may take to say what it wants.
    """

    def __init__(
        self,
        policy: EgressPolicy | None,
        resolver: Resolver,
        *,
        name: str,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._patience_s = patience_s
        self._name = name
        self._log = DecisionLog(name)
        self._gate = Gate(policy, resolver, self._log)
        self._complain_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None

    async def listen(self, path: Path) -> None:
        """Takes connections at `path`, whose folder is made and is open to all to enter.

        Raises:
            OSError: the socket cannot be made there.
        """
        self._listener = await asyncio.to_thread(_bind, path)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def set_policy(self, policy: EgressPolicy | None) -> None:
        """Replaces the policy at once, and closes connections that the new one does not allow."""
        self._gate.set_policy(policy)

    def decisions(self) -> tuple[EgressDecision, ...]:
        """The last 1000 decisions, oldest first, those on open connections included."""
        return self._log.decisions()

    async def aclose(self) -> None:
        """Stops listening and ends every connection. Idempotent."""
        self._pause()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=CLOSE_TIMEOUT_S)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if self._listener is None:
                return
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:  # no descriptor or no memory left: it may find some later
                logger.warning("%s: cannot take a connection: %s", self._name, exc)
                self._pause()
                self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._resume)
                return
            client.setblocking(False)
            if len(self._tasks) >= self._gate.limits.max_connections + SPARE_CONNECTIONS:
                self._turn_away(client)
                continue
            task = asyncio.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Also for a task that is cancelled before it has begun.
            task.add_done_callback(lambda _, client=client: client.close())

    def _pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)

    def _resume(self) -> None:
        self._retry = None
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _turn_away(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.send(http_answer(TOO_MANY, "", 0))
        now = asyncio.get_running_loop().time()
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY_S
            entry = Entry()
            entry.refuse(TOO_MANY)
            self._log.end(entry)

    async def _serve(self, client: socket.socket) -> None:
        connection = Connection(client)
        try:
            refused = await self._attend(connection)
            self._gate.release(connection)
            if refused is not None:
                connection.entry.refuse(refused)
                self._log.end(connection.entry)
                await connection.refuse(refused)
        except (OSError, EndedError) as exc:
            logger.debug("%s: a connection ended: %r", self._name, exc)
        finally:
            self._gate.release(connection)
            connection.close()
            self._log.end(connection.entry)

    async def _attend(self, connection: Connection) -> RefusedError | None:
        """Serves a connection to its end; why it was refused or cut, if it was."""
        try:
            await self._talk(connection)
            await connection.settle()
        except RefusedError as exc:
            return exc
        except asyncio.CancelledError:
            return connection.was_cut()
        except (OSError, EndedError):
            raise
        except Exception:  # whatever came in, the next connection is to be served
            logger.exception("%s: a connection failed", self._name)
            return RefusedError(Reason.UNREACHABLE, "the proxy failed at this request")
        return None

    async def _talk(self, connection: Connection) -> None:
        async with connection.asking(self._patience_s):
            connection.ahead = await connection.receive()
        if connection.ahead[:1] == bytes((socks.VERSION,)):
            await self._talk_socks(connection)
        elif connection.ahead:
            await self._talk_http(connection)

    async def _talk_socks(self, connection: Connection) -> None:
        async with connection.asking(self._patience_s):
            host, port = await socks.read_request(connection)
        await self._open(connection, host, port, socks.GRANTED)

    async def _talk_http(self, connection: Connection) -> None:
        async with connection.asking(self._patience_s):
            parser, request = await read_head(connection)
        if request.method != b"CONNECT":
            return await forward(connection, self._gate, parser, request)
        host, port = parse_authority(request.target.decode())
        connection.entry.ask("connect", "CONNECT", host, port)
        connection.ahead = parser.trailing_data[0]
        return await self._open(connection, host, port, ESTABLISHED)

    async def _open(self, connection: Connection, host: str, port: int, granted: bytes) -> None:
        with await self._gate.admit(connection, host, port) as upstream:
            await connection.send(granted)
            await tunnel(
                connection,
                upstream,
                self._gate.counter(connection),
                patience_s=self._patience_s,
            )


def _bind(path: Path) -> socket.socket:
    """A listening socket; one that a server that died left there goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A socket's address holds 108 bytes, less than the path of a folder may have.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        short = Path(f"/proc/self/fd/{folder}")
        short.chmod(0o711)
        place = short / path.name
        place.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(str(place))
            place.chmod(0o666)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    finally:
        os.close(folder)
    return listener
