"""Reads what ripgrep prints, piece by piece, keeping only what will be shown."""

import base64
import binascii
import json
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_TEXT_CHARACTERS = 1000
MAX_OUTPUT_CHARACTERS = 256 * 1024
MAX_MATCHES = 100_000
# A longer record is a huge line: its beginning and its line number are kept.
_MAX_RECORD_BYTES = 256 * 1024
_HEAD_BYTES = 16 * 1024
# A quotation mark inside a JSON string is escaped, so this never occurs in the line's own text.
_LINE_NUMBER = re.compile(rb'\},"line_number":(\d+),')
_OVERLAP_BYTES = 64


@dataclass(slots=True)
class Match:
    """One match, or one file in the modes that only name files."""

    path: str
    line: int | None = None
    text: str | None = None
    count: int | None = None
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The wire form."""
        return {
            "path": self.path,
            "line": self.line,
            "text": self.text,
            "count": self.count,
            "before": self.before,
            "after": self.after,
        }


@dataclass(slots=True)
class Page:
    """Counts every match and keeps those from `offset` on, as long as they fit."""

    offset: int
    limit: int
    matches: list[Match] = field(default_factory=list)
    total: int = 0
    _room: int = MAX_OUTPUT_CHARACTERS
    _full: bool = False

    def add(self, match: Match) -> bool:
        """Counts the match; whether it was kept."""
        self.total += 1
        if self.total <= self.offset or self._full:
            return False
        if len(self.matches) >= self.limit or not self.spend(len(match.path) + 60):
            self._full = True
            return False
        for text in (match.text or "", *match.before):
            self.spend(len(text))
        self.matches.append(match)
        return True

    def spend(self, size: int) -> bool:
        """Takes room for text; False if there is none left."""
        self._room -= size
        return self._room >= 0

    @property
    def counting(self) -> bool:
        """Whether it is worth going on."""
        return self.total < MAX_MATCHES


# A name may hold a line end; the NUL tells where it really stops.
_NAME = re.compile(rb"([^\0]+)\0")
_NAME_AND_COUNT = re.compile(rb"([^\0]+)\0(\d+)\n")


class NameRecords:
    """Output of `rg --files-with-matches --null` or `rg --count --null`."""

    def __init__(self, page: Page, *, counts: bool) -> None:
        self._page = page
        self._record = _NAME_AND_COUNT if counts else _NAME
        self._counts = counts
        self._open = b""

    def feed(self, chunk: bytes) -> bool:
        """Takes output; False when no more is wanted."""
        text = self._open + chunk
        end = 0
        for found in self._record.finditer(text):
            count = int(found[2]) if self._counts else None
            self._page.add(Match(as_text(found[1]), count=count))
            end = found.end()
        self._open = text[end:]
        return self._page.counting


class LineRecords:
    """Output of `rg --json`: gathers matches with the lines around them."""

    def __init__(self, page: Page, context: int) -> None:
        self._page = page
        self._context = context
        self._reader = _Reader()
        self._recent: deque[tuple[int, str]] = deque(maxlen=max(1, context))
        self._open: list[tuple[Match, int]] = []

    def feed(self, chunk: bytes) -> bool:
        """Takes output; False when no more is wanted."""
        for record in self._reader.records(chunk):
            kind, data = record["type"], record["data"]
            if kind == "begin":
                self._recent.clear()
                self._open.clear()
            elif kind in ("match", "context"):
                self._line(kind, data)
                if not self._page.counting:
                    return False
        return True

    def _line(self, kind: str, data: dict[str, Any]) -> None:
        number = data["line_number"] or 0
        text = _cut(_content(data["lines"]))
        for match, last in self._open:
            if number <= last and self._page.spend(len(text)):
                match.after.append(text)
        self._open = [(match, last) for match, last in self._open if number < last]
        if kind == "match":
            before = [line for n, line in self._recent if n >= number - self._context]
            match = Match(_content(data["path"]), number, text, before=before)
            if self._page.add(match) and self._context:
                self._open.append((match, number + text.count("\n") + self._context))
        if self._context:
            self._recent.append((number, text))


class _Reader:
    """Splits JSON lines; a line of any length costs a bounded amount of memory."""

    def __init__(self) -> None:
        self._open = b""
        self._head = b""

    def records(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        """The records that are complete with this chunk."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole = self._open + line
            head, self._open, self._head = self._head, b"", b""
            if head:
                yield from _oversized(head, _LINE_NUMBER.search(whole))
            elif whole:
                yield json.loads(whole)
        self._open += rest
        if len(self._open) > _MAX_RECORD_BYTES and not self._head:
            self._head = self._open[:_HEAD_BYTES]
        if self._head:
            found = _LINE_NUMBER.search(self._open)
            # Once found the number is carried along; else only enough for one cut in two.
            self._open = found[0] if found else self._open[-_OVERLAP_BYTES:]


def _oversized(head: bytes, number: re.Match[bytes] | None) -> Iterator[dict[str, Any]]:
    """What can be known of a record whose middle was thrown away."""
    start = head.find(b',"lines":{')
    if start < 0:
        return
    record = json.loads(head[:start] + b"}}")
    record["data"]["lines"] = {"text": _beginning(head[start + len(b',"lines":{') :])}
    record["data"]["line_number"] = int(number[1]) if number else None
    yield record


def _beginning(raw: bytes) -> str:
    """The beginning of a JSON string or base64 value that has no end."""
    kind, _, value = raw.partition(b':"')
    if kind == b'"bytes"':
        usable = value[: len(value) // 4 * 4]
        try:
            return base64.b64decode(usable).decode(errors="replace")
        except binascii.Error:
            return ""
    # An escape is at most twelve bytes long, so one of these cuts is between two.
    for end in range(len(value), max(0, len(value) - 13), -1):
        try:
            return json.loads(b'"' + value[:end] + b'"')
        except ValueError:
            continue
    return ""


def _content(value: dict[str, str]) -> str:
    """ripgrep gives text, or base64 where it is not UTF-8."""
    if "text" in value:
        return value["text"]
    return base64.b64decode(value["bytes"]).decode(errors="backslashreplace")


def _cut(text: str) -> str:
    text = text.removesuffix("\n").removesuffix("\r")
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return text[:MAX_TEXT_CHARACTERS] + "… [cut]"


def as_text(name: bytes) -> str:
    """A file name as text; bytes that are not UTF-8 appear as `\\xNN`."""
    return name.decode(errors="backslashreplace")
