"""What goes through CONNECT and SOCKS: bytes the proxy does not change.

Unless the rule says otherwise they must be TLS, and ask for the very server the tunnel was
allowed for. What is inside the TLS, and with it a name hidden by encrypted greetings, is not seen.
"""

import asyncio
import socket
from collections.abc import Callable

from container_runtime.relay import relay

from .connection import Connection, EndedError
from .decision import Reason
from .hello import ACCESS_DENIED, HelloReader, NotTlsError
from .judge import Verdict
from .refusal import RefusedError

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
ONLY_TLS = "only TLS may go through this tunnel; a rule with tunnel 'any' lets other protocols out"

Count = Callable[[int, int], None]


async def tunnel(
    connection: Connection, upstream: socket.socket, count: Count, *, patience_s: float
) -> None:
    """Carries bytes both ways until both ends have closed.

    TLS has to begin within `patience_s`.

    Raises:
        RefusedError: what the program began with may not go out; nothing of it did.
    """
    connection.refusal = None
    verdict = connection.verdict
    assert verdict is not None, "it was admitted"
    if verdict.tunnel == "any":
        connection.unseen = True
        first, connection.ahead = connection.ahead, b""
    else:
        first = await _greeting(connection, verdict, patience_s)
    if first:
        await asyncio.get_running_loop().sock_sendall(upstream, first)
        count(len(first), 0)
    await relay(connection.client, upstream, count=count)


async def _greeting(connection: Connection, verdict: Verdict, patience_s: float) -> bytes:
    reader = HelloReader()
    read = bytearray()
    hello = None
    try:
        async with asyncio.timeout(patience_s):
            while hello is None:
                data = await connection.receive()
                if not data and not read:
                    raise EndedError
                if not data:
                    raise NotTlsError("the TLS greeting ended early")
                read += data
                hello = reader.feed(data)
    except TimeoutError:
        message = f"no TLS greeting within {patience_s:g} s"
        raise RefusedError(Reason.NOT_TLS, message, hint=ONLY_TLS) from None
    except NotTlsError as exc:
        raise RefusedError(Reason.NOT_TLS, str(exc), hint=ONLY_TLS) from exc
    expected = None if verdict.address is not None else verdict.host
    if hello.server_name != expected:
        connection.refusal = lambda _: ACCESS_DENIED
        asked = hello.server_name or "no server by name"
        message = f"the TLS in this tunnel asks for {asked}, the tunnel is for {verdict.host}"
        raise RefusedError(Reason.SERVER_NAME, message)
    return bytes(read)
