"""Speaks to a Qdrant server over HTTP. Blocking; used by the host and by workers.

Qdrant's own client is not used for this: it takes 60 MB and a second to import, which the group's
process should not pay, and knows no deadline for a whole request, nor how to give one up from
another thread.
"""

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

DEFAULT_PORT = 6333
MAX_ANSWER_BYTES = 64 * 1024 * 1024
Cancelling = Callable[[Callable[[], None]], AbstractContextManager[None]]


class Unreachable(Exception):
    """No answer: no connection, or it broke. `sent`: the server may have acted."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Slow(Exception):
    """No answer within the time given; the server may have acted."""


class Exhausted(Exception):
    """All connections stayed in use for `pool_timeout`; nothing was sent."""


class Oversized(Exception):
    """The answer is larger than `MAX_ANSWER_BYTES`."""


class Refused(Exception):
    """The server answered with an error: its status and its own words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a server is and how it is spoken to. Times are seconds, as in `ConnectionPool`."""

    url: str
    key: str | None = None
    ca_file: str | None = None
    pool_size: int = 2
    max_overflow: int = 2
    pool_timeout: float = 10.0
    pool_recycle: float = 1800.0
    connection_timeout: float = 10.0


class RestClient:
    """Connections to one server with one key or token. Thread-safe."""

    def __init__(self, server: Server) -> None:
        """Reads `ca_file`; connects later.

        Raises:
            OSError: `ca_file` cannot be read or holds no certificate.
        """
        parts = urlsplit(server.url)
        self._server = server
        self._address = parts.hostname or "", parts.port or DEFAULT_PORT
        self._prefix = parts.path.rstrip("/")
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            if server.ca_file is not None and not Path(server.ca_file).is_file():
                raise FileNotFoundError(f"ca_file {server.ca_file!r} is no file")
            self._tls = ssl.create_default_context(cafile=server.ca_file)
        self._free = threading.BoundedSemaphore(server.pool_size + server.max_overflow)
        self._lock = threading.Lock()
        self._idle: list[tuple[HTTPConnection, float]] = []
        self._closed = False

    def request(
        self,
        method: str,
        *path: str,
        body: Any = None,
        query: dict[str, Any] | None = None,
        timeout_s: float,
        cancelling: Cancelling | None = None,
    ) -> Any:
        """The `result` of the server's answer. `path` are segments; none needs to be quoted.

        A request that met a connection the server had closed meanwhile is sent again, once: every
        request of this package has the same effect twice.

        Raises:
            Refused, Unreachable, Slow, Exhausted, Oversized: see there.
        """
        target = self._prefix + "".join(f"/{quote(each, safe='')}" for each in path)
        if query:
            target += f"?{urlencode(query)}"
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        ends = time.monotonic() + timeout_s
        if not self._free.acquire(timeout=min(self._server.pool_timeout, timeout_s)):
            raise Exhausted(f"no connection to qdrant became free within {timeout_s:g} s")
        try:
            return self._ask(method, target, content, ends, cancelling or (lambda _: nullcontext()))
        finally:
            self._free.release()

    def close(self) -> None:
        """Closes what is idle, and what is in use as soon as it is not. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _ask(
        self, method: str, target: str, content: bytes | None, ends: float, cancelling: Cancelling
    ) -> Any:
        reused = self._take()
        if reused is not None:
            try:
                return self._exchange(reused, method, target, content, ends, cancelling)
            except _Stale:
                pass
        connection, born = self._connect(ends), time.monotonic()
        try:
            return self._exchange((connection, born), method, target, content, ends, cancelling)
        except _Stale as exc:
            raise Unreachable(f"qdrant closed the connection: {exc}", sent=True) from exc

    def _exchange(
        self,
        pooled: tuple[HTTPConnection, float],
        method: str,
        target: str,
        content: bytes | None,
        ends: float,
        cancelling: Cancelling,
    ) -> Any:
        connection, born = pooled
        keep = False
        try:
            with cancelling(lambda: _interrupt(connection)):
                connection.sock.settimeout(_left(ends))
                connection.request(method, target, content, self._headers())
                answer = connection.getresponse()
                data = _read(answer, connection, ends)
            keep = not answer.will_close
        except TimeoutError:
            raise Slow from None
        except (ConnectionError, EOFError) as exc:
            raise _Stale(str(exc) or type(exc).__name__) from exc
        except (OSError, HTTPException) as exc:
            raise Unreachable(f"the connection to qdrant broke: {exc}", sent=True) from exc
        finally:
            self._give_back(connection, born, keep=keep)
        return _result(answer, data)

    def _connect(self, ends: float) -> HTTPConnection:
        host, port = self._address
        timeout = min(self._server.connection_timeout, _left(ends))
        connection = (
            HTTPConnection(host, port, timeout=timeout)
            if self._tls is None
            else HTTPSConnection(host, port, timeout=timeout, context=self._tls)
        )
        try:
            connection.connect()
        except OSError as exc:
            connection.close()
            _left(ends)
            reason = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
            raise Unreachable(f"qdrant cannot be reached: {reason}", sent=False) from exc
        return connection

    def _take(self) -> tuple[HTTPConnection, float] | None:
        with self._lock:
            while self._idle:
                connection, born = self._idle.pop()
                if time.monotonic() - born < self._server.pool_recycle:
                    return connection, born
                connection.close()
        return None

    def _give_back(self, connection: HTTPConnection, born: float, *, keep: bool) -> None:
        with self._lock:
            if keep and not self._closed and len(self._idle) < self._server.pool_size:
                self._idle.append((connection, born))
                return
        connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._server.key is not None:
            headers["api-key"] = self._server.key
        return headers


class _Stale(Exception):
    """The server had closed the connection before it answered."""


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise Slow
    return left


def _interrupt(connection: HTTPConnection) -> None:
    """Ends what another thread waits for on that connection."""
    if connection.sock is not None:
        with suppress(OSError):
            # Not SSLSocket's own: it takes the TLS state away from the thread that reads.
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


def _read(answer: HTTPResponse, connection: HTTPConnection, ends: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(1 << 18):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise Oversized(f"qdrant's answer is larger than {MAX_ANSWER_BYTES:,} bytes")
        if connection.sock is not None:
            connection.sock.settimeout(_left(ends))
    if answer.length:
        raise EOFError("it ended within an answer")
    answer.close()
    return b"".join(parts)


def _result(answer: HTTPResponse, data: bytes) -> Any:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        parsed = None
    if answer.status in (200, 201, 202) and isinstance(parsed, dict) and "result" in parsed:
        return parsed["result"]
    status = parsed.get("status") if isinstance(parsed, dict) else None
    words = status.get("error") if isinstance(status, dict) else None
    text = words if isinstance(words, str) else data[:500].decode("utf-8", "replace").strip()
    raise Refused(answer.status, text or answer.reason)
