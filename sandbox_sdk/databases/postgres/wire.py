"""The few messages of PostgreSQL's protocol that come before a session.

Source: the PostgreSQL manual, "Frontend/Backend Protocol", "Message Formats". Everything after
`AuthenticationOk` is passed on unread.
"""

import asyncio
import struct
from dataclasses import dataclass

PROTOCOL_3 = 196608
CANCEL = 80877102
TLS_WANTED = 80877103
GSS_WANTED = 80877104
MAX_STARTUP_BYTES = 10_000
MAX_MESSAGE_BYTES = 65_536
"""Of one message before a session. Later ones are not looked at."""


class WireError(Exception):
    """The other end does not speak the protocol."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The first packet of a client: a `code`, and what followed it."""

    code: int
    body: bytes

    @property
    def packet(self) -> bytes:
        """The packet as it came."""
        return struct.pack("!ii", len(self.body) + 8, self.code) + self.body

    def parameters(self) -> dict[str, str]:
        """The settings a client asks for.

        Raises:
            WireError: they are malformed.
        """
        parts = self.body.split(b"\0")
        if len(parts) < 2 or parts[-2:] != [b"", b""] or len(parts) % 2:
            raise WireError("malformed start-up parameters")
        try:
            text = [part.decode() for part in parts[:-2]]
        except UnicodeDecodeError as exc:
            raise WireError("start-up parameters are not UTF-8") from exc
        return dict(zip(text[::2], text[1::2], strict=True))


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the server: its type, and its body."""

    kind: bytes
    body: bytes

    @property
    def packet(self) -> bytes:
        """The message as it came."""
        return message(self.kind, self.body)

    @property
    def number(self) -> int:
        """The whole number the body begins with.

        Raises:
            WireError: it is too short.
        """
        if len(self.body) < 4:
            raise WireError("a message is too short")
        return struct.unpack_from("!i", self.body)[0]


async def read_opening(reader: asyncio.StreamReader) -> Opening:
    """The next start-up packet of a client."""
    size, code = struct.unpack("!ii", await _read(reader, 8))
    if not 8 <= size <= MAX_STARTUP_BYTES:
        raise WireError(f"a start-up packet of {size} bytes")
    return Opening(code, await _read(reader, size - 8))


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next message of a server."""
    kind, size = struct.unpack("!ci", await _read(reader, 5))
    if not 4 <= size <= MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {size} bytes")
    return Message(kind, await _read(reader, size - 4))


def startup(parameters: dict[str, str]) -> bytes:
    """The packet that opens a session."""
    fields = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return Opening(PROTOCOL_3, fields + b"\0").packet


def request(code: int) -> bytes:
    """A packet that is a code and nothing more."""
    return Opening(code, b"").packet


def message(kind: bytes, body: bytes) -> bytes:
    """A message with its type and length."""
    return kind + struct.pack("!i", len(body) + 4) + body


def error(text: str, sqlstate: str = "08006") -> bytes:
    """An ErrorResponse that ends a connection."""
    fields = {"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": text}
    body = b"".join(f"{code}{value}\0".encode() for code, value in fields.items())
    return message(b"E", body + b"\0")


async def _read(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as exc:
        raise WireError("the connection ended early") from exc
