"""Heads and bodies of HTTP/1.1 answers as they come over the wire, read strictly and bounded.

What two readers could take to end in two places is refused, and a body that ends before it should
is an error, never a shorter body.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from .url import Url

MAX_HEAD_BYTES = 64 * 1024
MAX_INTERIM_ANSWERS = 10
MAX_CHUNK_LINE_BYTES = 1024
PIECE_BYTES = 64 * 1024

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: ([^\r\n]*))?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(slots=True)
class Head:
    """Status line and headers of an answer, names in lower case, in the order they came."""

    status: int
    reason: str
    headers: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> str:
        """The first header of that name, or nothing."""
        return next((value for each, value in self.headers if each == name), "")

    def every(self, name: str) -> list[str]:
        """All of that name."""
        return [value for each, value in self.headers if each == name]


def read_head(reader: "io.BufferedReader[Any]", url: Url) -> Head:
    """The next head that is no interim answer (100 Continue and the like).

    Raises:
        ToolError: CONNECTION_ERROR, there is none, it is too large, or no HTTP.
    """
    left = MAX_HEAD_BYTES
    for _ in range(MAX_INTERIM_ANSWERS):
        head, left = _one_head(reader, url, left)
        if head.status >= 200:
            return head
        if head.status == 101:
            raise broken(url, "changed to another protocol, which nobody asked for")
    raise broken(url, "sent interim answers only")


def _one_head(reader: "io.BufferedReader[Any]", url: Url, left: int) -> tuple[Head, int]:
    line, left = _line(reader, url, left)
    found = _STATUS.fullmatch(line)
    if found is None:
        raise broken(url, "did not answer in HTTP/1.1")
    head = Head(int(found[1]), (found[2] or b"").decode("latin-1").strip())
    while True:
        line, left = _line(reader, url, left)
        if not line:
            return head, left
        _add(head, line.decode("latin-1"))


def _add(head: Head, line: str) -> None:
    if line[0] in " \t" and head.headers:  # a continued line, as old servers write them
        name, value = head.headers[-1]
        head.headers[-1] = (name, f"{value} {line.strip()}")
        return
    name, colon, value = line.partition(":")
    if colon:  # what is no header says nothing; browsers and curl pass over it, too
        head.headers.append((name.strip().lower(), value.strip(" \t")))


def _line(reader: "io.BufferedReader[Any]", url: Url, left: int) -> tuple[bytes, int]:
    line = reader.readline(left + 1)
    if len(line) > left:
        raise broken(url, f"sent headers of more than {MAX_HEAD_BYTES} bytes")
    if not line.endswith(b"\n"):
        says = "ended within its headers" if left < MAX_HEAD_BYTES or line else "gave no answer"
        raise broken(url, says)
    return line.rstrip(b"\r\n"), left - len(line)


def declared_length(head: Head, url: Url) -> int | None:
    """The length of the body by Content-Length; None without one, or where chunks decide.

    Raises:
        ToolError: CONNECTION_ERROR, what it says is no length, or it says several.
    """
    if head.every("transfer-encoding"):
        return None
    values = {each.strip() for value in head.every("content-length") for each in value.split(",")}
    if not values:
        return None
    length = values.pop()
    if values or not _LENGTH.fullmatch(length):
        raise broken(url, "sent a Content-Length that is not one number")
    return int(length)


def read_body(reader: "io.BufferedReader[Any]", head: Head, url: Url) -> Iterator[bytes]:
    """The body in pieces as they come, without the framing. Not for answers that have none.

    Raises:
        ToolError: CONNECTION_ERROR, it ended early or its framing is wrong.
    """
    coding = ", ".join(head.every("transfer-encoding")).lower().strip()
    if coding == "chunked":
        return _chunks(reader, url)
    if coding not in ("", "identity"):
        raise broken(url, f"sent a body in the transfer coding {coding[:40]!r}")
    length = declared_length(head, url)
    return _to_end(reader) if length is None else _exactly(reader, length, url)


def _to_end(reader: "io.BufferedReader[Any]") -> Iterator[bytes]:
    while piece := reader.read1(PIECE_BYTES):
        yield piece


def _exactly(reader: "io.BufferedReader[Any]", length: int, url: Url) -> Iterator[bytes]:
    left = length
    while left:
        piece = reader.read1(min(left, PIECE_BYTES))
        if not piece:
            raise broken(url, f"ended early: {length - left} of {length} bytes came")
        left -= len(piece)
        yield piece


def _chunks(reader: "io.BufferedReader[Any]", url: Url) -> Iterator[bytes]:
    while size := _chunk_size(reader, url):
        while size:
            piece = reader.read1(min(size, PIECE_BYTES))
            if not piece:
                raise broken(url, "ended early, within a chunk")
            size -= len(piece)
            yield piece
        if reader.readline(3) not in (b"\r\n", b"\n"):
            raise broken(url, "sent a chunk of another length than it said")
    left = MAX_HEAD_BYTES
    line = b"-"
    while line:  # trailers, which say nothing here
        line, left = _line(reader, url, left)


def _chunk_size(reader: "io.BufferedReader[Any]", url: Url) -> int:
    line = reader.readline(MAX_CHUNK_LINE_BYTES)
    if not line:
        raise broken(url, "ended early, before its last chunk")
    found = _CHUNK.fullmatch(line)
    if found is None:
        raise broken(url, "sent a chunk without a size")
    return int(found[1], 16)


def broken(url: Url, says: str) -> ToolError:
    """A CONNECTION_ERROR about what the server sent: "HOST:PORT <says>"."""
    return ToolError(
        ErrorCode.CONNECTION_ERROR,
        f"{url.endpoint} {says}",
        hint="try again; if it stays so, the server is at fault",
        details={"host": url.host, "port": url.port},
    )
