"""SOCKS5 (RFC 1928): CONNECT without authentication, and nothing else of it."""

from ipaddress import IPv4Address, IPv6Address

from .connection import Connection
from .decision import Reason
from .refusal import RefusedError, socks_answer

VERSION = 5
NO_AUTHENTICATION = 0
CONNECT = 1
GRANTED = bytes((VERSION, 0, 0, 1, 0, 0, 0, 0, 0, 0))
NO_METHOD = bytes((VERSION, 0xFF))
COMMAND_UNKNOWN = bytes((VERSION, 7, 0, 1, 0, 0, 0, 0, 0, 0))
ADDRESS_UNKNOWN = bytes((VERSION, 8, 0, 1, 0, 0, 0, 0, 0, 0))


async def read_request(connection: Connection) -> tuple[str, int]:
    """The host and port that are asked for.

    Raises:
        RefusedError: it is no request, or one of another kind.
    """
    await _agree(connection)
    version, command, _, kind = await connection.exactly(4)
    if version != VERSION:
        raise RefusedError(Reason.BAD_REQUEST, "malformed SOCKS request")
    if kind == 1:
        host = str(IPv4Address(await connection.exactly(4)))
    elif kind == 4:
        host = str(IPv6Address(await connection.exactly(16)))
    elif kind == 3:
        host = _name(await connection.exactly((await connection.exactly(1))[0]))
    else:
        connection.refusal = lambda _: ADDRESS_UNKNOWN
        raise RefusedError(Reason.BAD_REQUEST, f"SOCKS address of the unknown kind {kind}")
    port = int.from_bytes(await connection.exactly(2), "big")
    connection.entry.ask("socks", "", host, port)
    if command != CONNECT:
        connection.refusal = lambda _: COMMAND_UNKNOWN
        raise RefusedError(Reason.BAD_REQUEST, f"SOCKS command {command} is not served")
    if not port:
        raise RefusedError(Reason.BAD_REQUEST, "port 0 cannot be reached")
    return host, port


async def _agree(connection: Connection) -> None:
    connection.refusal = lambda _: NO_METHOD
    _, count = await connection.exactly(2)
    if NO_AUTHENTICATION not in await connection.exactly(count):
        raise RefusedError(Reason.BAD_REQUEST, "SOCKS is served without authentication only")
    await connection.send(bytes((VERSION, NO_AUTHENTICATION)))
    connection.refusal = socks_answer


def _name(raw: bytes) -> str:
    # A NUL or a blank in a name has been read in two ways by two parties before.
    if not raw or not all(0x21 <= each <= 0x7E for each in raw):
        raise RefusedError(Reason.BAD_HOST, f"malformed host name {raw[:64]!r}")
    return raw.decode("ascii")
