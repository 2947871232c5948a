"""A socket under one deadline, and the way to it: the sandbox's proxy, a tunnel, TLS.

There is no other way out: nothing here resolves a name or connects to anything but the proxy.
"""

import io
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from .head import Head, read_head
from .url import Url, parse_url

MAX_REFUSAL_BYTES = 16 * 1024
MAX_MESSAGE_CHARS = 600
REFUSAL_HEADER = "x-egress-error"
REFUSAL_STATUSES = frozenset({400, 403, 429, 502, 504})
REFUSALS = frozenset(
    {
        ErrorCode.EGRESS_DENIED,
        ErrorCode.DNS_ERROR,
        ErrorCode.CONNECTION_ERROR,
        ErrorCode.TLS_ERROR,
        ErrorCode.TIMEOUT,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.INVALID_ARGUMENT,
    }
)
# What OpenSSL numbers, in words.
CERTIFICATE_REASONS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is self-signed",
    19: "comes from an authority that is not trusted",
    20: "comes from an authority that is not trusted",
    21: "comes from an authority that is not trusted",
    23: "was revoked",
    62: "is for another name",
    64: "is for another address",
}


class Deadline:
    """When all of a call must be over."""

    def __init__(self, seconds: float, at_most: float | None = None) -> None:
        """`at_most` is a point of `time.monotonic` that may come earlier."""
        self._seconds = seconds
        end = time.monotonic() + seconds
        self.end = end if at_most is None else min(end, at_most)

    def left(self) -> float:
        """Seconds until then, more than none.

        Raises:
            ToolError: TIMEOUT, there are none.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.passed()
        return left

    def passed(self) -> ToolError:
        """The error of having waited in vain."""
        return ToolError(
            ErrorCode.TIMEOUT,
            f"no complete answer within {self._seconds:g} s",
            hint="raise timeout_s if the server is only slow",
        )


class Wire(io.RawIOBase):
    """Reads and writes a socket. Each wait ends at the deadline, so that drips cannot extend it."""

    def __init__(self, connection: socket.socket, deadline: Deadline, url: Url) -> None:
        super().__init__()
        self.socket = connection
        self.deadline = deadline
        self.url = url

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As much as there is; 0 at the end."""
        self.socket.settimeout(self.deadline.left())
        try:
            return self.socket.recv_into(buffer)
        except TimeoutError:
            raise self.deadline.passed() from None
        except OSError as exc:
            raise connection_error(self.url, f"broke off: {_words(exc)}") from exc

    def send_all(self, data: bytes) -> None:
        """Sends every byte. A peer that has heard enough is no error: it may still answer."""
        view = memoryview(data)
        while view:
            self.socket.settimeout(self.deadline.left())
            try:
                view = view[self.socket.send(view) :]
            except TimeoutError:
                raise self.deadline.passed() from None
            except OSError:
                return

    def close(self) -> None:
        """Closes the socket, at once."""
        if not self.closed:
            self.socket.close()
        super().close()


def open_wire(url: Url, deadline: Deadline, environment: Mapping[str, str] = os.environ) -> Wire:
    """A connection on which `url` can be asked for: to the proxy, or for https through a tunnel.

    Raises:
        ToolError: there is no proxy (EGRESS_DENIED), it refuses, or TLS fails.
    """
    way = _proxy(environment)
    try:
        connection = socket.create_connection((way.host, way.port), timeout=deadline.left())
    except TimeoutError:
        raise deadline.passed() from None
    except OSError as exc:
        raise ToolError(
            ErrorCode.CONNECTION_ERROR,
            f"the sandbox's way to the network does not answer: {_words(exc)}",
            hint="try again in a moment",
        ) from exc
    wire = Wire(connection, deadline, url)
    try:
        if url.scheme == "https":
            _open_tunnel(wire)
            wire.socket = _encrypt(connection, url, deadline, environment)
    except BaseException:
        wire.close()
        raise
    return wire


def _proxy(environment: Mapping[str, str]) -> Url:
    given = environment.get("HTTP_PROXY") or environment.get("http_proxy")
    if not given:
        raise ToolError(
            ErrorCode.EGRESS_DENIED,
            "this sandbox has no way to the network",
            hint="only the operator of the sandbox can give it one, by an egress policy",
            details={"reason": "no_policy"},
        )
    return parse_url(given)


def _open_tunnel(wire: Wire) -> None:
    name = wire.url.endpoint
    wire.send_all(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode("ascii"))
    # By single bytes: what follows the head belongs to TLS.
    reader = io.BufferedReader(wire, 1)
    head = read_head(reader, wire.url)
    if head.status != 200:
        raise refusal(head, reader, wire.url) or connection_error(
            wire.url, f"was refused by the proxy with status {head.status}"
        )
    reader.detach()


def refusal(head: Head, reader: "io.BufferedReader[Any]", url: Url) -> ToolError | None:
    """What the proxy says in an answer of its own; None if the answer is the server's."""
    code = head.get(REFUSAL_HEADER)
    if code not in REFUSALS or head.status not in REFUSAL_STATUSES:
        return None
    said = _said(_refusal_body(head, reader))
    details = said.get("details")
    message = _plain(said.get("message") or head.reason) or f"{url.endpoint} cannot be reached"
    hint = _plain(said.get("hint"))
    if code == ErrorCode.EGRESS_DENIED and _is_loopback(url.host):
        hint = "web tools go out of the sandbox; ask a server inside it with curl in the terminal"
    return ToolError(
        ErrorCode(code),
        message,
        hint=hint,
        details={"host": url.host, "port": url.port}
        | {key: details[key] for key in ("host", "port", "reason") if key in details}
        if isinstance(details, dict)
        else {"host": url.host, "port": url.port},
    )


def _refusal_body(head: Head, reader: "io.BufferedReader[Any]") -> bytes:
    declared = head.get("content-length")
    size = int(declared) if re.fullmatch(r"\d{1,6}", declared) else MAX_REFUSAL_BYTES
    try:
        return reader.read(min(size, MAX_REFUSAL_BYTES))
    except ToolError:
        return b""


def _said(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _plain(text: Any) -> str:
    return "".join(c for c in str(text or "") if c.isprintable())[:MAX_MESSAGE_CHARS]


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")


def _encrypt(
    connection: socket.socket, url: Url, deadline: Deadline, environment: Mapping[str, str]
) -> ssl.SSLSocket:
    context = _context(*_trust(environment))
    connection.settimeout(deadline.left())
    try:
        return context.wrap_socket(connection, server_hostname=url.host)
    except TimeoutError:
        raise deadline.passed() from None
    except ssl.SSLCertVerificationError as exc:
        says = CERTIFICATE_REASONS.get(exc.verify_code, f"does not hold: {exc.verify_message}")
        raise _tls_error(
            url,
            f"the certificate of {url.host} {says}",
            "the sandbox trusts the public authorities, and those its operator added",
        ) from exc
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError) as exc:
        raise connection_error(
            url,
            "was closed during the TLS handshake",
            "the server does not speak TLS there, or the sandbox's egress policy ended the tunnel",
        ) from exc
    except OSError as exc:
        raise _handshake_error(url, exc) from exc


def _handshake_error(url: Url, exc: OSError) -> ToolError:
    reason = getattr(exc, "reason", "") or ""
    if "ACCESS_DENIED" in reason:  # the alert the proxy sends where it ends a tunnel
        return ToolError(
            ErrorCode.EGRESS_DENIED,
            f"the tunnel to {url.endpoint} was refused during the TLS handshake",
            hint="the sandbox's egress policy allows only TLS for the host that was asked for",
            details={"host": url.host, "port": url.port, "reason": "server_name"},
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return _tls_error(
            url, f"{url.endpoint} does not speak TLS", "ask for it with http:// if that is meant"
        )
    return _tls_error(url, f"the TLS handshake with {url.endpoint} failed: {_words(exc)}")


def _tls_error(url: Url, message: str, hint: str = "") -> ToolError:
    details = {"host": url.host, "port": url.port}
    return ToolError(ErrorCode.TLS_ERROR, message, hint=hint, details=details)


def _trust(environment: Mapping[str, str]) -> tuple[str | None, int]:
    """The file of trusted certificates and the time of its last change; None is the system's."""
    file = environment.get("SSL_CERT_FILE")
    if not file:
        return None, 0
    try:
        return file, os.stat(file).st_mtime_ns
    except OSError as exc:
        raise ToolError(
            ErrorCode.TLS_ERROR, f"the trusted certificates cannot be read: {_words(exc)}"
        ) from exc


@lru_cache(maxsize=4)
def _context(file: str | None, _changed: int) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as exc:
        raise ToolError(
            ErrorCode.TLS_ERROR, f"the trusted certificates cannot be read: {_words(exc)}"
        ) from exc
    context.set_alpn_protocols(["http/1.1"])
    return context


def connection_error(url: Url, says: str, hint: str = "") -> ToolError:
    """A CONNECTION_ERROR: "the connection to HOST:PORT <says>"."""
    return ToolError(
        ErrorCode.CONNECTION_ERROR,
        f"the connection to {url.endpoint} {says}",
        hint=hint or "try again; if it stays so, the server is at fault",
        details={"host": url.host, "port": url.port},
    )


def _words(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLError):
        return (exc.reason or str(exc)).replace("_", " ").lower()
    return exc.strerror or str(exc) or type(exc).__name__
