"""Requests as programs send them to a proxy: heads, and where they lead.

A head is read by h11 and written anew from what was understood, so that nobody after the proxy can
read it in another way.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

import h11

from .connection import Connection, EndedError
from .decision import Reason
from .policy import HeaderInjection
from .refusal import RefusedError, http_answer

MAX_HEAD_BYTES = 64 * 1024
HTTP_PORT = 80
HTTPS_PORT = 443

# What is said from one hop to the next (RFC 9110, section 7.6.1), and what is written anew.
NOT_FORWARDED = {
    b"connection",
    b"content-length",
    b"host",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}
AUTHORITY = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@%\\/?#\s]+))(?::(?P<port>[0-9]{1,5}))?"
)
BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Target:
    """Where an absolute URL leads; `path` as it is sent to the server."""

    host: str
    port: int
    path: str


async def read_head(connection: Connection) -> tuple[h11.Connection, h11.Request]:
    """The head of a request, and the parser that goes on with its body.

    Raises:
        EndedError: nothing was asked.
        RefusedError: it is malformed, ambiguous or too large.
    """
    connection.refusal = lambda refused: http_answer(refused, "", 0)
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    size = 0
    while not isinstance(event := next_event(parser), h11.Request):
        data = await connection.receive()
        if not data:
            raise EndedError
        size += len(data)
        parser.receive_data(data)
    if size - len(parser.trailing_data[0]) > MAX_HEAD_BYTES:
        raise RefusedError(Reason.BAD_REQUEST, f"a head of more than {MAX_HEAD_BYTES} bytes")
    method = event.method.decode()
    connection.entry.ask("connect" if method == "CONNECT" else "http", method, "", 0)
    answer_to(connection, head_only=method == "HEAD")
    _check_framing(event)
    return parser, event


def answer_to(connection: Connection, *, head_only: bool) -> None:
    """Has refusals say which host and port they are about."""
    entry = connection.entry
    connection.refusal = lambda refused: http_answer(
        refused, entry.host, entry.port, head_only=head_only
    )


def next_event(parser: h11.Connection) -> object:
    """The parser's next event.

    Raises:
        RefusedError: what came is malformed.
    """
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as exc:
        raise RefusedError(Reason.BAD_REQUEST, f"malformed request: {exc}") from exc


def _check_framing(request: h11.Request) -> None:
    """Refuses what two parsers could end in two places."""
    names = {name for name, _ in request.headers}
    if request.http_version not in (b"1.0", b"1.1"):
        raise RefusedError(Reason.BAD_REQUEST, "malformed request: an unknown version of HTTP")
    if b"transfer-encoding" in names and (
        b"content-length" in names or request.http_version == b"1.0"
    ):
        message = "malformed request: Transfer-Encoding beside Content-Length or in HTTP/1.0"
        raise RefusedError(Reason.BAD_REQUEST, message)
    if request.method == b"CONNECT" and names & {b"transfer-encoding", b"content-length"}:
        raise RefusedError(Reason.BAD_REQUEST, "malformed request: CONNECT with a body")


def parse_target(request: h11.Request) -> Target:
    """Where a request leads that is not for a tunnel.

    Raises:
        RefusedError: it is not an absolute http URL in its plain form.
    """
    scheme, found, rest = request.target.decode().partition("://")
    if not found:
        raise RefusedError(
            Reason.BAD_REQUEST,
            "this is a proxy: it takes whole URLs",
            hint="set it as HTTP_PROXY and HTTPS_PROXY, and ask for the URL itself",
        )
    if scheme.lower() != "http":
        hint = "ask for https through a tunnel (CONNECT)" if scheme.lower() == "https" else ""
        raise RefusedError(Reason.BAD_REQUEST, f"cannot ask for {scheme[:20]!r}", hint=hint)
    if "#" in rest:
        raise RefusedError(Reason.BAD_REQUEST, "malformed URL: a fragment is never sent")
    end = min((at for mark in "/?" if (at := rest.find(mark)) >= 0), default=len(rest))
    host, port = parse_authority(rest[:end], default_port=HTTP_PORT)
    path = rest[end:]
    if not path and request.method == b"OPTIONS":
        path = "*"
    return Target(host, port, path if path.startswith(("/", "*")) else f"/{path}")


def parse_authority(text: str, *, default_port: int | None = None) -> tuple[str, int]:
    """The host, without brackets, and the port of "host:port".

    Raises:
        RefusedError: it is malformed, names a user, or lacks a port and there is no default.
    """
    if "@" in text:  # and not a word of what it holds: it may be a password
        raise RefusedError(Reason.BAD_REQUEST, "malformed URL: it may not name a user")
    match = AUTHORITY.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else default_port
    if match is None or port is None or not 0 < port < 65_536:
        raise RefusedError(Reason.BAD_REQUEST, f"malformed host and port {text[:100]!r}")
    if match["address"]:
        try:
            return str(IPv6Address(match["address"])), port
        except ValueError as exc:
            raise RefusedError(Reason.BAD_HOST, f"malformed address {text[:100]!r}") from exc
    return match["name"], port


def write_head(
    request: h11.Request, path: str, authority: str, injection: HeaderInjection | None
) -> bytes:
    """The head that is sent to the server."""
    secrets = injection.headers.items() if injection is not None else ()
    added = [(name.encode(), secret.get_secret_value().encode()) for name, secret in secrets]
    if any(BAD_VALUE.search(name + value) for name, value in added):
        raise ValueError("a header to inject holds a control character")
    hidden = NOT_FORWARDED | _nominated(request) | {name.lower() for name, _ in added}
    lines = [
        b"%b %b HTTP/%b" % (request.method, path.encode(), request.http_version),
        b"Host: " + authority.encode(),
        *(
            b"%b: %b" % (name, value)
            for name, value in request.headers.raw_items()
            if name.lower() not in hidden
        ),
        *(b"%b: %b" % each for each in added),
        *_framing(request),
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _nominated(request: h11.Request) -> set[bytes]:
    values = (value for name, value in request.headers if name == b"connection")
    return {token.strip().lower() for value in values for token in value.split(b",")}


def _framing(request: h11.Request) -> Iterator[bytes]:
    for name, value in request.headers:
        if name == b"transfer-encoding":
            yield b"Transfer-Encoding: chunked"
        elif name == b"content-length":
            yield b"Content-Length: " + value
            return  # h11 lets the same length come twice


def is_chunked(request: h11.Request) -> bool:
    """Whether its body comes in chunks; the only coding that is taken."""
    return any(name == b"transfer-encoding" for name, _ in request.headers)


def has_body(request: h11.Request) -> bool:
    """Whether bytes follow the head."""
    lengths = (int(value) for name, value in request.headers if name == b"content-length")
    return is_chunked(request) or any(lengths)
