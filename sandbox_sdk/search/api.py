"""Asks an HTTP API that answers JSON. Never follows a redirect, never quotes an answer.

The client is `http.client`, in threads: it costs nothing to import, and a search is one request. A
thread that hangs in a name look-up keeps its place, so there are never more than `MAX_AT_ONCE`.
They are daemons: none keeps the program from ending.
"""

import asyncio
import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tool_plugins.errors import ConfigurationError, ErrorCode, ToolError

from .settings import ProviderSettings, endpoint_of

MAX_AT_ONCE = 16
MAX_ANSWER_BYTES = 2 * 1024 * 1024
PIECE_BYTES = 64 * 1024
MAX_RETRY_S = 30 * 24 * 3600
PLACE_POLL_S = 0.05
MISCONFIGURED = "only the operator can mend this; go on without web_search"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `headers` in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Explain = Callable[[Answer], ToolError | None]
"""What a provider itself knows of an answer that is not 200."""


class Api:
    """One API. `name` is what errors call it."""

    def __init__(self, name: str, settings: ProviderSettings, explain: Explain) -> None:
        """Reads the `ca_file` of an operator's settings; connects later.

        Raises:
            ConfigurationError: it holds no certificate.
        """
        self._name = name
        self._endpoint = endpoint_of(settings.url.get_secret_value())
        self._timeout_s = settings.timeout_s
        self._explain = explain
        self._places = threading.BoundedSemaphore(MAX_AT_ONCE)
        self._tls = _context(settings.ca_file) if self._endpoint.tls else None

    async def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        """The JSON value at a path.

        Raises:
            ToolError: there is none.
        """
        return await self._ask("GET", f"{path}?{urlencode(query)}", headers, None)

    async def post(self, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        """The JSON value that a path answers to another one.

        Raises:
            ToolError: there is none.
        """
        sent = {"Content-Type": "application/json", **headers}
        return await self._ask("POST", path, sent, json.dumps(body).encode())

    async def _ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> Any:
        exchange = _Exchange(self._name, self._connection(), time.monotonic() + self._timeout_s)
        request = (method, self._endpoint.path + target, body, {**self._headers(), **headers})
        try:
            async with asyncio.timeout(self._timeout_s):
                # Polled, because threads give places back, and one may outlive its loop.
                while not self._places.acquire(blocking=False):  # noqa: ASYNC110
                    await asyncio.sleep(PLACE_POLL_S)
                return await _in_thread(
                    lambda: self._data(exchange.run(*request)), self._places.release
                )
        except TimeoutError:
            message = f"{self._name} did not answer within {self._timeout_s:g} s"
            raise ToolError(ErrorCode.TIMEOUT, message, hint="try again later") from None
        finally:
            exchange.give_up()

    def _connection(self) -> HTTPConnection:
        where = self._endpoint
        if self._tls is None:
            return HTTPConnection(where.host, where.port, timeout=self._timeout_s)
        return HTTPSConnection(where.host, where.port, timeout=self._timeout_s, context=self._tls)

    def _headers(self) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "sandbox-sdk",
        }
        if self._endpoint.user is not None:
            pair = f"{self._endpoint.user}:{self._endpoint.password or ''}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def _data(self, answer: Answer) -> Any:
        if answer.status != 200:
            raise self._explain(answer) or http_error(self._name, answer)
        try:
            if answer.headers.get("content-encoding", "identity").lower() == "identity":
                return json.loads(answer.body)
        except (ValueError, RecursionError):
            pass
        raise ToolError(
            ErrorCode.UNSUPPORTED_CONTENT,
            f"{self._name} answered something that is not JSON",
            hint=MISCONFIGURED,
        )


def http_error(name: str, answer: Answer, *, hint: str = "") -> ToolError:
    """An answer with an error status."""
    retry_after = seconds_to_wait(answer)
    if not hint and 300 <= answer.status < 400:
        hint = f"redirects are not followed, for they would carry the key along; {MISCONFIGURED}"
    if not hint and (answer.status == 429 or answer.status >= 500):
        hint = "try again later" if retry_after is None else f"try again in {retry_after} s"
    return ToolError(
        ErrorCode.HTTP_ERROR,
        f"{name} answered with status {answer.status}",
        hint=hint or MISCONFIGURED,
        details={"status": answer.status, "retry_after": retry_after},
    )


def wrong_key(name: str, answer: Answer) -> ToolError:
    """A key that is not accepted, in words that do not show it."""
    return ToolError(
        ErrorCode.PERMISSION_DENIED,
        f"{name} does not accept the key it was given",
        hint=f"the operator must check api_key; {MISCONFIGURED}",
        details={"status": answer.status},
    )


def seconds_to_wait(answer: Answer) -> int | None:
    """What Retry-After says, as seconds or as a date; else the rate limit that is used up."""
    said = answer.headers.get("retry-after", "").strip()
    if _is_number(said):
        return min(int(said), MAX_RETRY_S)
    with suppress(ValueError, OverflowError):
        left = parsedate_to_datetime(said).timestamp() - time.time()
        return min(max(0, int(left)), MAX_RETRY_S)
    # Several limits at once, such as one for each second and one for each month.
    remaining = answer.headers.get("x-ratelimit-remaining", "").split(",")
    resets = [each.strip() for each in answer.headers.get("x-ratelimit-reset", "").split(",")]
    known = [reset for reset in resets if _is_number(reset)]
    if len(known) == len(remaining) == len(resets):
        used_up = [r for r, left in zip(known, remaining, strict=True) if left.strip() == "0"]
        known = used_up or known[:1]
    return min(max(map(int, known)), MAX_RETRY_S) if known else None


class _Exchange:
    """One request and its answer, on a connection of its own. `run` blocks, in a thread."""

    def __init__(self, name: str, connection: HTTPConnection, ends: float) -> None:
        self._name = name
        self._connection = connection
        self._ends = ends
        self._given_up = False
        # Kept here too: the connection forgets it as soon as the answer says that it is the last.
        self._sock: socket.socket | None = None

    def run(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        """The answer.

        Raises:
            TimeoutError, ToolError: there is none.
        """
        try:
            self._connection.connect()
            self._sock = self._connection.sock
            self._left()
            self._connection.request(method, target, body, dict(headers))
            with closing(self._connection.getresponse()) as response:
                fields = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, fields, self._read(response))
        except (TimeoutError, ToolError):
            raise
        except (OSError, HTTPException, ValueError) as exc:
            if self._given_up:
                raise TimeoutError from exc
            raise _unreachable(self._name, exc) from exc
        finally:
            self._connection.close()

    def give_up(self) -> None:
        """Ends what the thread waits for. From another thread; harmless when it is done."""
        self._given_up = True
        if self._sock is not None:
            with suppress(OSError):
                # Not SSLSocket's own: it takes the TLS state away from the thread that reads.
                socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _left(self) -> None:
        left = self._ends - time.monotonic()
        if left <= 0 or self._given_up:
            raise TimeoutError
        if self._sock is not None:
            self._sock.settimeout(left)

    def _read(self, response: HTTPResponse) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := response.read1(PIECE_BYTES):
            parts.append(part)
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                message = f"{self._name} answered with more than {MAX_ANSWER_BYTES} bytes"
                raise ToolError(ErrorCode.TOO_LARGE, message, hint="ask for fewer results")
            self._left()
        if response.length:
            raise ConnectionError("it ended within the answer")
        return b"".join(parts)


async def _in_thread(work: Callable[[], Any], done: Callable[[], None]) -> Any:
    """What `work` returns. `done` is called when its thread ends, which may be later."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(value)
        else:
            outcome.set_exception(error)

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as exc:
            error = exc
        finally:
            done()
        with suppress(RuntimeError):  # the loop has ended meanwhile: nobody waits
            loop.call_soon_threadsafe(settle, value, error)

    try:
        threading.Thread(target=run, name="web search", daemon=True).start()
    except RuntimeError as exc:  # no more threads
        done()
        raise ToolError(ErrorCode.BUSY, "the host is busy", hint="try again later") from exc
    return await outcome


def _unreachable(name: str, exc: Exception) -> ToolError:
    """Why there is no answer. What the other side wrote is not repeated."""
    if isinstance(exc, ssl.SSLError):
        reason = getattr(exc, "verify_message", "") or exc.reason or "TLS failed"
        return ToolError(
            ErrorCode.TLS_ERROR, f"{name} cannot be trusted: {reason}", hint=MISCONFIGURED
        )
    if isinstance(exc, socket.gaierror | UnicodeError):
        return ToolError(
            ErrorCode.DNS_ERROR, f"the host of {name} has no address", hint=MISCONFIGURED
        )
    reason = "what it answered is not HTTP"
    if isinstance(exc, OSError):
        reason = exc.strerror or str(exc) or type(exc).__name__
    return ToolError(
        ErrorCode.CONNECTION_ERROR, f"{name} cannot be reached: {reason}", hint="try again later"
    )


def _context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:  # an SSLError is one too
        raise ConfigurationError(
            f"bad web_search: ca_file {str(ca_file)!r} holds no certificates: {exc.strerror}",
            hint="name a file with certificates in PEM",
        ) from None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15
