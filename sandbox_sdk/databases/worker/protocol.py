"""What host and worker say to each other. Both ends use this module; standard library only.

A channel carries frames, one request at a time: a kind, a length, a body.

    host    {"verb", "database", "arguments", "rows", "bytes", "cell_chars", "timeout_s"}
    worker  (pieces of a file)* and then {"ok": {...}} or {"error": {...}, "traceback": "..."}

Control sockets (host and zygote, host and worker) carry one JSON object per packet, some with a
file descriptor.
"""

import array
import json
import socket
import struct
from typing import Any

HEADER = struct.Struct("!BI")
JSON = 0
PIECE = 1

MAX_FRAME_BYTES = 32 * 1024 * 1024
MAX_PACKET_BYTES = 64 * 1024
RECEIVE_BYTES = 256 * 1024

_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class FrameError(Exception):
    """The other end does not speak the protocol."""


def dumps(fields: Any) -> bytes:
    """JSON without spaces.

    Raises:
        ValueError: a number is not finite, or it goes round in a circle.
        TypeError: something in it is no JSON.
    """
    return _dump(fields).encode("utf-8", "replace")


def frame(body: bytes, kind: int = JSON) -> bytes:
    """A body with its header.

    Raises:
        FrameError: it is too large.
    """
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"{len(body)} bytes do not fit into a message")
    return HEADER.pack(kind, len(body)) + body


class Frames:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now.

        Raises:
            FrameError: a frame is too large or of an unknown kind.
        """
        if not self._buffer and len(data) >= HEADER.size:
            kind, length = HEADER.unpack_from(data)
            if len(data) == HEADER.size + length and kind in (JSON, PIECE):
                return [(kind, data[HEADER.size :])]
        self._buffer += data
        found: list[tuple[int, bytes]] = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            kind, length = HEADER.unpack_from(self._buffer, start)
            if length > MAX_FRAME_BYTES or kind not in (JSON, PIECE):
                raise FrameError(f"a frame of kind {kind} with {length} bytes")
            end = start + HEADER.size + length
            if len(self._buffer) < end:
                break
            found.append((kind, bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return found


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a frame or packet.

    Raises:
        FrameError: it is none.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise FrameError(f"no JSON: {exc}") from None
    if not isinstance(fields, dict):
        raise FrameError("no JSON object")
    return fields


def control_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a control socket: packets keep their bounds, and each end sees the other die."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_packet(sock: socket.socket, fields: dict[str, Any], *descriptors: int) -> None:
    """Sends one packet, with descriptors that the other end gets copies of.

    Raises:
        OSError: the other end is gone, or (of a non-blocking socket) does not read.
    """
    ancillary = []
    if descriptors:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    sock.sendmsg([dumps(fields)], ancillary, socket.MSG_NOSIGNAL)


def receive_packet(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next packet and its descriptors; None when the other end is gone.

    Raises:
        FrameError: it is no packet of this protocol.
        OSError: as of `recvmsg`.
    """
    try:
        body, descriptors, _, _ = socket.recv_fds(sock, MAX_PACKET_BYTES, 1)
    except ConnectionResetError:
        return None
    if not body:
        return None
    return parse(body), descriptors
