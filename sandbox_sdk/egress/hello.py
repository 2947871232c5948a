"""Reads the message that opens TLS, far enough to know which server it asks for.

Strict: what a TLS server would have to guess at is refused. Nothing is decrypted or changed, and
nothing is read twice, however small the pieces are.
"""

from dataclasses import dataclass

MAX_BYTES = 64 * 1024
"""Of everything up to the end of the message, records included. Real ones hold 200 to 2000."""

HANDSHAKE = 22
CLIENT_HELLO = 1
RECORD_HEAD_BYTES = 5
MAX_RECORD_BYTES = 1 << 14
SERVER_NAME = 0
ACCESS_DENIED = bytes((21, 3, 1, 0, 2, 2, 49))
"""A record with the fatal alert `access_denied`."""


class NotTlsError(ValueError):
    """What came is no TLS, or none that says clearly what it wants."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What the first message says. `server_name` in lower case, without a trailing dot."""

    server_name: str | None


class HelloReader:
    """Takes a connection's first bytes as they come."""

    def __init__(self) -> None:
        self._seen = 0
        self._pending = bytearray()
        self._message = bytearray()

    def feed(self, data: bytes) -> Hello | None:
        """Takes more bytes: the message once it is complete, None before.

        Raises:
            NotTlsError: it will not become one, or is larger than `MAX_BYTES`.
        """
        self._seen += len(data)
        self._pending += data
        while (record := self._next_record()) is not None:
            self._message += record
            if (hello := self._complete()) is not None:
                return hello
        if self._seen > MAX_BYTES:
            raise NotTlsError(f"the TLS greeting is larger than {MAX_BYTES} bytes")
        return None

    def _next_record(self) -> bytes | None:
        pending = self._pending
        if pending[:1] not in (b"", bytes((HANDSHAKE,))):
            raise NotTlsError("what came is not TLS")
        if pending[1:2] not in (b"", b"\x03") or pending[2:3] > b"\x04":
            raise NotTlsError("what came is not TLS")
        if len(pending) < RECORD_HEAD_BYTES:
            return None
        size = int.from_bytes(pending[3:RECORD_HEAD_BYTES], "big")
        if not 0 < size <= MAX_RECORD_BYTES:
            raise NotTlsError("a TLS record of an impossible size")
        end = RECORD_HEAD_BYTES + size
        if len(pending) < end:
            return None
        record = bytes(pending[RECORD_HEAD_BYTES:end])
        del pending[:end]
        return record

    def _complete(self) -> Hello | None:
        message = self._message
        if message[0] != CLIENT_HELLO:
            raise NotTlsError("TLS that does not begin with a greeting")
        if len(message) < 4:
            return None
        size = int.from_bytes(message[1:4], "big")
        if size > MAX_BYTES:
            raise NotTlsError(f"the TLS greeting is larger than {MAX_BYTES} bytes")
        if len(message) < 4 + size:
            return None
        if len(message) > 4 + size:
            raise NotTlsError("a record of the TLS greeting holds more than the greeting")
        return _parse(bytes(message[4:]))


class _Cursor:
    """Bytes that are taken from the front, never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise NotTlsError("a TLS greeting with a wrong length in it")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> "_Cursor":
        """A field that begins with its own length, in `size` bytes."""
        return _Cursor(self.take(self.number(size)))

    def finish(self) -> None:
        if self.left:
            raise NotTlsError("a TLS greeting with more in it than it may hold")


def _parse(message: bytes) -> Hello:
    body = _Cursor(message)
    if body.number(1) != 3:
        raise NotTlsError("a TLS greeting of an unknown version")
    body.take(1 + 32)  # the rest of the version, the random bytes
    session, suites, compression = body.vector(1), body.vector(2), body.vector(1)
    if session.left > 32 or suites.left == 0 or suites.left % 2 or compression.left == 0:
        raise NotTlsError("a TLS greeting with a wrong length in it")
    if not body.left:
        return Hello(server_name=None)
    extensions = body.vector(2)
    body.finish()
    found: dict[int, _Cursor] = {}
    while extensions.left:
        kind = extensions.number(2)
        if kind in found:
            raise NotTlsError("a TLS greeting with an extension that comes twice")
        found[kind] = extensions.vector(2)
    return Hello(_server_name(found[SERVER_NAME]) if SERVER_NAME in found else None)


def _server_name(extension: _Cursor) -> str:
    names = extension.vector(2)
    extension.finish()
    if names.number(1) != 0:
        raise NotTlsError("a TLS greeting whose server name is of an unknown kind")
    name = names.vector(2)
    names.finish()
    try:
        text = name.take(name.left).decode("ascii")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise NotTlsError("a TLS greeting with a malformed server name")
    return text.lower().removesuffix(".")
