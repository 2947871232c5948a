"""Finds text in the bytes of a file and puts other text there, without touching any other byte.

A `\\n` in the text that is looked for stands for the line end the file has at that place. What is
put in takes the line ends of what it replaces, line by line.
"""

import re
from dataclasses import dataclass

from .text import codec

MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Span:
    """Where a match begins and ends, in bytes."""

    start: int
    end: int


class Matcher:
    """Looks for one text in files of one encoding."""

    def __init__(self, text: str, encoding: str) -> None:
        self.encoding = codec(encoding)
        self.width = 2 if encoding.startswith("utf-16") else 1
        self._exact = text.encode(self.encoding, "surrogatepass")
        self._pattern: re.Pattern[bytes] | None = None
        if "\n" in text:
            newline = b"(?:" + re.escape(self._bytes("\r")) + b")?" + re.escape(self._bytes("\n"))
            parts = (re.escape(self._bytes(part)) for part in re.split("\r?\n", text))
            self._pattern = re.compile(newline.join(parts))
        # A CRLF that was asked for is taken at its word first.
        self._explicit = "\r\n" in text

    def positions(self, data: bytes) -> list[Span]:
        """Every place where the text is, overlapping ones too, at most `MAX_COUNTED`."""
        return self._all(data, overlapping=True)

    def spans(self, data: bytes) -> list[Span]:
        """The places to replace, from the left and without overlap."""
        return self._all(data, overlapping=False)

    def _all(self, data: bytes, *, overlapping: bool) -> list[Span]:
        if self._pattern is None or self._explicit:
            found = self._scan(data, None, overlapping)
            if found or self._pattern is None:
                return found
        return self._scan(data, self._pattern, overlapping)

    def _scan(
        self, data: bytes, pattern: re.Pattern[bytes] | None, overlapping: bool
    ) -> list[Span]:
        found: list[Span] = []
        position = 0
        while True:
            span = self._next(data, pattern, position)
            if span is None:
                return found
            if span.start % self.width:
                position = span.start + 1
                continue
            # From inside a CRLF the same match is found once more, without its CR.
            if not found or found[-1].end != span.end:
                found.append(span)
            if overlapping and len(found) >= MAX_COUNTED:
                return found
            position = span.start + self.width if overlapping else span.end

    def _next(self, data: bytes, pattern: re.Pattern[bytes] | None, position: int) -> Span | None:
        if pattern is not None:
            match = pattern.search(data, position)
            return Span(match.start(), match.end()) if match else None
        start = data.find(self._exact, position)
        return Span(start, start + len(self._exact)) if start >= 0 else None

    def _bytes(self, text: str) -> bytes:
        return text.encode(self.encoding, "surrogatepass")


def fitted(new: str, asked: str, data: bytes, span: Span, encoding: str) -> bytes:
    """The bytes of `new` for the place `span`, with the line ends of that place.

    `asked` is the text that was looked for. Line ends that `new` gives as `\\r\\n` stay, unless
    `asked` had them too and the file does not. Where `new` has as many lines as it replaces, each
    takes the line end of the line it replaces; otherwise equal lines keep theirs and the others
    take the one before them.

    Raises:
        UnicodeEncodeError: the file's encoding cannot hold a character of `new`.
    """
    name = codec(encoding)
    if "\r\n" in asked and "\r\n".encode(name) not in data[span.start : span.end]:
        new = new.replace("\r\n", "\n")
    if "\n" not in new or "\r\n" in new:
        return new.encode(name)
    old = data[span.start : span.end].decode(name, "surrogatepass")
    there = re.findall("\r?\n", old)
    old_lines, new_lines = re.split("\r?\n", old), new.split("\n")
    default = there[0] if there else _newline_near(data, span, name)
    ends = _line_ends(old_lines, new_lines, there, default)
    return "".join(line + end for line, end in zip(new_lines, [*ends, ""], strict=True)).encode(
        name
    )


def _line_ends(old: list[str], new: list[str], there: list[str], default: str) -> list[str]:
    count = len(new) - 1
    if count == len(there):
        return there
    head = 0
    while head < min(len(there), count) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(there), count) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    before = there[head - 1] if head else default
    return [*there[:head], *[before] * (count - head - tail), *there[len(there) - tail :]]


def _newline_near(data: bytes, span: Span, name: str) -> str:
    """The line end of the line the span is in, else the one before it, else `\\n`."""
    width = 2 if name.startswith("utf-16") else 1
    lf, cr = "\n".encode(name), "\r".encode(name)
    at = _aligned(data, lf, span.end, width)
    if at < 0:
        at = data.rfind(lf, 0, span.start)
    return "\r\n" if at >= width and data[at - width : at] == cr else "\n"


def _aligned(data: bytes, piece: bytes, position: int, width: int) -> int:
    at = data.find(piece, position)
    while at >= 0 and at % width:
        at = data.find(piece, at + 1)
    return at
