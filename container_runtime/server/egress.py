"""The forwarder: programs inside find a proxy on loopback, which in truth is the host's.

Carries bytes from a loopback port to the unix socket at which the host listens and never looks at
them; what may go out is decided there. Holds no connection to the host while nobody uses one: each
is made by path, so that a host that was restarted is found again.
"""

import asyncio
import errno
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from container_runtime.relay import relay
from tool_plugins.context import Host

logger = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
PORT = 3128
CA_FILE = "ca.pem"
"""Beside the socket, if the host has certificates of its own to trust."""
BUNDLE = "ca-bundle.pem"
BACKLOG = 256
ACCEPTS_AT_ONCE = 32
MAX_CONNECTIONS = 1000
# Two sockets and at most two pipes; the action server lives off the same descriptors.
DESCRIPTORS_PER_CONNECTION = 6
NO_DESCRIPTORS_S = 0.1
CONNECT_TIMEOUT_S = 5.0
CONNECT_AGAIN_S = 0.01
REFUSAL_TIMEOUT_S = 2.0
REFUSAL_READ_BYTES = 64 * 1024

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
LOOPBACK = "localhost,127.0.0.1,::1"
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
)
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True)
class Egress:
    """`socket` is where the host listens; `port` 0 means any that is free."""

    socket: Path
    port: int = PORT


@asynccontextmanager
async def way_out(egress: Egress | None, host: Host) -> AsyncIterator[None]:
    """Forwards while the block lasts, and tells every program of `host` by its environment.

    What the environment says already stays as it is. Without `egress` nothing happens.

    Raises:
        OSError: the port is taken.
    """
    if egress is None:
        yield
        return
    forwarder = Forwarder(
        egress.socket, socket.create_server((ADDRESS, egress.port), backlog=BACKLOG)
    )
    forwarder.start()
    try:
        given = proxy_environment(forwarder.port)
        if bundle := write_bundle(egress.socket.with_name(CA_FILE), host.spool / BUNDLE):
            given |= dict.fromkeys(CA_VARIABLES, str(bundle))
        add_missing(host.environment, given)
        yield
    finally:
        await forwarder.aclose()


def proxy_environment(port: int) -> dict[str, str]:
    """The variables by which programs find a proxy on loopback, in both spellings."""
    url = f"http://{ADDRESS}:{port}"
    upper = {**dict.fromkeys(PROXY_VARIABLES, url), "NO_PROXY": LOOPBACK}
    return upper | {name.lower(): value for name, value in upper.items()}


def add_missing(environment: MutableMapping[str, str], given: dict[str, str]) -> None:
    """Adds what the environment does not say, in whichever spelling, itself."""
    said = {name.upper() for name in environment}
    environment.update({n: value for n, value in given.items() if n.upper() not in said})


def write_bundle(certificates: Path, bundle: Path) -> Path | None:
    """Writes the system's certificates and those of the host to `bundle`.

    None where the host brings none.
    """
    try:
        own = certificates.read_bytes()
    except FileNotFoundError:
        return None
    system = next((file for name in SYSTEM_BUNDLES if (file := Path(name)).is_file()), None)
    parts = [system.read_bytes()] if system is not None else []
    bundle.write_bytes(b"\n".join([*parts, own]))
    return bundle


class Forwarder:
    """Accepts on `listener`, whom it closes, and joins each connection to the socket at `path`."""

    def __init__(self, path: Path, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.port: int = listener.getsockname()[1]
        self._path = str(path)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._connections: set[asyncio.Task[None]] = set()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(1, min(MAX_CONNECTIONS, soft // DESCRIPTORS_PER_CONNECTION))

    def start(self) -> None:
        """Begins to accept."""
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    async def aclose(self) -> None:
        """Closes the listener and ends every connection. Idempotent."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
        if self._pause is not None:
            self._pause.cancel()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                client, _peer = self._listener.accept()
            except OSError as exc:
                if exc.errno in EXHAUSTED:
                    # The connection stays in the queue, so the listener would wake us without end.
                    self._loop.remove_reader(self._listener)
                    self._pause = self._loop.call_later(NO_DESCRIPTORS_S, self.start)
                # Else there is nobody, or whoever came is gone again.
                return
            client.setblocking(False)
            task = self._loop.create_task(self._serve(client))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, client: socket.socket) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self._connections) > self._most:
                await refuse(client, f"the sandbox has {self._most} connections open already")
                return
            try:
                host = await connect(self._path)
            except OSError as exc:
                logger.debug("the host's proxy does not answer: %s", exc)
                await refuse(client, "the proxy of this sandbox does not run on its host")
                return
            with host:
                await relay(client, host)
        except OSError:
            return  # one of the two is gone, and the other learns it by the end of its connection
        finally:
            client.close()


async def connect(path: str) -> socket.socket:
    """A connection to a unix socket.

    Raises:
        OSError: nobody listens, or who does accepts nothing for `CONNECT_TIMEOUT_S`.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    until = loop.time() + CONNECT_TIMEOUT_S
    try:
        while True:
            try:
                made.connect(path)
                return made
            except BlockingIOError:
                # The listener's queue is full. No event tells when it no longer is.
                if loop.time() > until:
                    raise
                await asyncio.sleep(CONNECT_AGAIN_S)
    except BaseException:
        made.close()
        raise


async def refuse(client: socket.socket, message: str) -> None:
    """Answers like a proxy that cannot go on, once the client has asked for something."""
    hint = "try again later"
    body = {"code": "CONNECTION_ERROR", "message": message, "hint": hint, "details": {}}
    content = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 502 {message}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nX-Egress-Error: CONNECTION_ERROR\r\n"
        "Connection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(REFUSAL_TIMEOUT_S):
            await loop.sock_recv(client, REFUSAL_READ_BYTES)
            await loop.sock_sendall(client, head.encode() + content)
            client.shutdown(socket.SHUT_WR)
            # With something unread left, closing would take the answer back.
            while await loop.sock_recv(client, REFUSAL_READ_BYTES):
                pass
