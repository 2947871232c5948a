"""A connection to a PostgreSQL server that has logged in, as two streams."""

import asyncio
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from scramp import ScramClient, ScramException

from .wire import TLS_WANTED, Message, WireError, message, read_message, request, startup

OK, CLEARTEXT, MD5, SASL, SASL_CONTINUE, SASL_FINAL = 0, 3, 5, 10, 11, 12
MECHANISM = "SCRAM-SHA-256"
WITHOUT_TLS = ("disable", "allow")
OVERRULED = ("user", "database", "replication")
"""What a client may ask for but never gets: who it is and where it goes is not its choice."""


class RefusedError(Exception):
    """The server refused the login; `packet` is its own ErrorResponse."""

    def __init__(self, packet: bytes) -> None:
        super().__init__("the server refused the login")
        self.packet = packet


@dataclass(slots=True)
class Upstream:
    """Both ways of the connection, and what the server said while it logged in."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: list[bytes] = field(default_factory=list)


async def connect(conninfo: Mapping[str, str], *, require_tls: bool) -> Upstream:
    """A connection that has not logged in, with TLS as `sslmode` says.

    Raises:
        OSError: it cannot be made; a certificate that does not hold is one of these.
        WireError: the server does not speak the protocol, or has no TLS where it must.
    """
    host, port = conninfo.get("host", "localhost"), conninfo.get("port", "5432")
    if host.startswith("/"):
        return Upstream(*await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}"))
    upstream = Upstream(*await asyncio.open_connection(host, int(port)))
    try:
        await _secure(upstream, conninfo, require_tls=require_tls)
    except BaseException:
        upstream.writer.close()
        raise
    return upstream


async def log_in(
    upstream: Upstream, conninfo: Mapping[str, str], wanted: Mapping[str, str]
) -> None:
    """Logs in with the credential of `conninfo` and the settings a client wants.

    Raises:
        RefusedError: the server refused.
        WireError: it does not speak the protocol, or asks for what we do not do.
    """
    own = {"user": conninfo["user"], "database": conninfo["dbname"]}
    settings = {name: value for name, value in wanted.items() if name not in OVERRULED}
    upstream.writer.write(startup(own | settings))
    scram: ScramClient | None = None
    while True:
        answer = await read_message(upstream.reader)
        if answer.kind == b"E":
            raise RefusedError(answer.packet)
        if answer.kind != b"R":
            upstream.greeting.append(answer.packet)
            continue
        if answer.number == OK:
            upstream.greeting.append(answer.packet)
            return
        try:
            scram = _authenticate(upstream, answer, conninfo, scram)
        except (ScramException, UnicodeDecodeError) as exc:
            raise WireError(f"the server's proof does not hold: {exc}") from exc


async def _secure(upstream: Upstream, conninfo: Mapping[str, str], *, require_tls: bool) -> None:
    mode = conninfo.get("sslmode", "prefer")
    accepted = False
    if mode not in WITHOUT_TLS:
        upstream.writer.write(request(TLS_WANTED))
        accepted = await upstream.reader.readexactly(1) == b"S"
    if accepted:
        context = _context(mode, conninfo)
        await upstream.writer.start_tls(context, server_hostname=conninfo["host"])
    elif require_tls or mode not in (*WITHOUT_TLS, "prefer"):
        raise WireError("the server does not offer TLS, which is required")


def _context(mode: str, conninfo: Mapping[str, str]) -> ssl.SSLContext:
    """As libpq does: "require" verifies the chain only where a root certificate is given."""
    root = conninfo.get("sslrootcert")
    context = ssl.create_default_context(cafile=None if root in (None, "system") else root)
    context.check_hostname = mode == "verify-full"
    if mode in ("prefer", "require") and root is None:
        context.verify_mode = ssl.CERT_NONE
    if certificate := conninfo.get("sslcert"):
        context.load_cert_chain(certificate, conninfo.get("sslkey"))
    return context


def _authenticate(
    upstream: Upstream, asked: Message, conninfo: Mapping[str, str], scram: ScramClient | None
) -> ScramClient | None:
    """Answers one step of the server's questions."""
    user, password, body = conninfo["user"], conninfo.get("password", ""), asked.body[4:]
    match asked.number:
        case n if n == CLEARTEXT:
            _answer(upstream, password.encode() + b"\0")
        case n if n == MD5:
            inner = hashlib.md5(f"{password}{user}".encode(), usedforsecurity=False).hexdigest()
            outer = hashlib.md5(inner.encode() + body, usedforsecurity=False).hexdigest()
            _answer(upstream, f"md5{outer}\0".encode())
        case n if n == SASL and MECHANISM.encode() in body.split(b"\0"):
            scram = ScramClient([MECHANISM], user, password)
            first = scram.get_client_first().encode()
            _answer(upstream, MECHANISM.encode() + b"\0" + len(first).to_bytes(4) + first)
        case n if n == SASL_CONTINUE and scram is not None:
            scram.set_server_first(body.decode())
            _answer(upstream, scram.get_client_final().encode())
        case n if n == SASL_FINAL and scram is not None:
            scram.set_server_final(body.decode())
        case other:
            raise WireError(f"the server asks for authentication of kind {other}")
    return scram


def _answer(upstream: Upstream, body: bytes) -> None:
    upstream.writer.write(message(b"p", body))
