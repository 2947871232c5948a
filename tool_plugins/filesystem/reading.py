"""`filesystem.read`: a numbered window of a text file, or a file as base64, image or PDF."""

import base64
import codecs
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError

from .errors import path_errors, shorten
from .lines import MAX_LINE_CHARACTERS, LineWindow, recoded
from .paths import Workspace
from .text import (
    SNIFF_BYTES,
    bom_of,
    codec,
    encoding_of,
    media_type,
    narrow_encoding,
    newline_of,
    wide_encoding,
)
from .writing import require_regular

MAX_TEXT_BYTES = 256 * 1024
MAX_TEXT_FILE_BYTES = 256 * 1024 * 1024
MAX_BASE64_BYTES = 1024 * 1024
MAX_IMAGE_BYTES = 5 * 1024 * 1024
# Base64 of it, with the rest of the answer, stays below the transport's 16 MiB.
MAX_PDF_BYTES = 11 * 1024 * 1024
WHOLE_BYTES = 1024 * 1024
CHUNK_BYTES = 256 * 1024

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read(
    context: ToolContext,
    *,
    path: str,
    start_line: int = 1,
    max_lines: int = 2000,
    tail: bool = False,
    format: str = "text",
) -> dict[str, Any]:
    """Reads a file; see `ReadResult`."""
    if tail and start_line != 1:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            "tail reads the end of the file, so start_line has no meaning with it",
            hint="give either tail or start_line",
        )
    workspace = context.host.service(Workspace)
    location = workspace.locate(path)
    with path_errors(path):
        fd = workspace.open(location, _FLAGS)
        try:
            status = os.fstat(fd)
            require_regular(status, path)
            source = _Source(fd, status.st_size, location.relative)
            source.load()
            if format == "base64":
                return _as_base64(source)
            mime_type = media_type(source.head)
            if mime_type is not None:
                return _as_attachment(context, source, mime_type)
            return _as_text(source, _Wanted(start_line, max_lines, tail))
        finally:
            os.close(fd)


@dataclass(slots=True)
class _Source:
    """An open file. Up to `WHOLE_BYTES` it is held in `head` whole."""

    fd: int
    size: int
    path: str
    head: bytes = b""
    whole: bool = True

    def load(self) -> None:
        """Reads the beginning. A file that grows meanwhile is read up to the size it had."""
        self.whole = self.size <= WHOLE_BYTES
        # One byte more than the size tells files whose size the kernel does not know (/proc).
        self.head = os.read(self.fd, self.size + 1 if self.whole else CHUNK_BYTES)
        if self.whole and len(self.head) > self.size:
            self.head += self._rest(WHOLE_BYTES + 1 - len(self.head))
            self.size = len(self.head)
            self.whole = self.size <= WHOLE_BYTES
        elif self.whole:
            self.size = len(self.head)

    def chunks(self) -> Iterator[bytes]:
        """The file from its beginning."""
        if self.whole:
            yield self.head
            return
        offset = 0
        while offset < self.size:
            chunk = os.pread(self.fd, min(CHUNK_BYTES, self.size - offset), offset)
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def all(self) -> bytes:
        """The whole file; the caller has checked its size."""
        return b"".join(self.chunks())

    def _rest(self, limit: int) -> bytes:
        pieces: list[bytes] = []
        while limit > 0 and (piece := os.read(self.fd, limit)):
            pieces.append(piece)
            limit -= len(piece)
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class _Wanted:
    start_line: int
    max_lines: int
    tail: bool


@dataclass(slots=True)
class _Survey:
    """What one pass over the file found out."""

    window: LineWindow
    total: int
    encoding: str
    sha256: str


def _as_base64(source: _Source) -> dict[str, Any]:
    data = _bounded(source, MAX_BASE64_BYTES, "use filesystem_grep, or a program that reads it")
    return _result(
        source,
        content=base64.b64encode(data).decode("ascii"),
        encoding="base64",
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _as_attachment(context: ToolContext, source: _Source, mime_type: str) -> dict[str, Any]:
    limit = MAX_PDF_BYTES if mime_type == "application/pdf" else MAX_IMAGE_BYTES
    data = _bounded(source, limit, "make a smaller copy with a program and read that")
    context.attach(mime_type, base64.b64encode(data).decode("ascii"))
    return _result(
        source,
        content=f"[{mime_type}, {len(data)} bytes, attached]",
        encoding="binary",
        sha256=hashlib.sha256(data).hexdigest(),
        mime_type=mime_type,
    )


def _bounded(source: _Source, limit: int, hint: str) -> bytes:
    if source.size > limit:
        raise _too_large(source, limit, hint)
    return source.all()


def _too_large(source: _Source, limit: int, hint: str) -> ToolError:
    return ToolError(
        ErrorCode.TOO_LARGE,
        f"{shorten(source.path)!r} has {source.size} bytes; at most {limit} can be read this way",
        hint=hint,
        details={"size": source.size, "limit": limit},
    )


def _as_text(source: _Source, wanted: _Wanted) -> dict[str, Any]:
    if source.size > MAX_TEXT_FILE_BYTES:
        raise _too_large(
            source, MAX_TEXT_FILE_BYTES, "use filesystem_grep, or head, tail or sed in a shell"
        )
    first, last = wanted.start_line, wanted.start_line + wanted.max_lines - 1
    if wanted.tail:
        total = _survey(source, 1, 0).total
        first, last = max(1, total - wanted.max_lines + 1), max(1, total)
    survey = _survey(source, first, last)
    if first > max(1, survey.total):
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"start_line {first} is past the end: the file has {survey.total} lines",
            details={"total_lines": survey.total},
        )
    page = _page(survey, first, from_end=wanted.tail)
    end = page.first + page.count - 1
    return _result(
        source,
        content=page.content,
        encoding=survey.encoding,
        sha256=survey.sha256,
        newline=newline_of(survey.window.crlf, survey.window.newlines),
        start_line=page.first,
        end_line=end,
        total_lines=survey.total,
        truncated=page.first > 1 or end < survey.total or bool(page.cut),
        next_line=end + 1 if end < survey.total else None,
        cut_lines=page.cut,
    )


def _survey(source: _Source, first: int, last: int) -> _Survey:
    digest = hashlib.sha256()
    window = LineWindow(first, last)
    if source.whole:
        encoding = encoding_of(source.head)
        if encoding is None:
            raise _binary(source)
        digest.update(source.head)
        _feed(window, [source.head], encoding)
    else:
        encoding = _stream(source, digest, window)
    return _Survey(window, window.finish(), encoding, digest.hexdigest())


def _feed(window: LineWindow, chunks: Iterable[bytes], encoding: str) -> None:
    """Feeds text without its mark, so that line 1 begins with its first character."""
    pieces = iter(chunks)
    head = next(pieces, b"")
    head = head[len(bom_of(head)) :]
    if not encoding.startswith("utf-16"):
        window.feed(head)
        for piece in pieces:
            window.feed(piece)
        return
    for piece in recoded(_joined(head, pieces), encoding):
        window.feed(piece)


def _joined(head: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _stream(source: _Source, digest: Any, window: LineWindow) -> str:
    """One pass over a large file; its encoding. Raises BINARY_FILE at the first NUL."""
    wide = wide_encoding(source.head[:SNIFF_BYTES])
    check = _Utf8Check(source)
    chunks = _digested(source, digest)
    if wide is not None:
        try:
            _feed(window, chunks, wide)
        except UnicodeDecodeError:
            raise _binary(source) from None
        return wide
    _feed(window, check.passing(chunks), "utf-8")
    return check.encoding()


def _digested(source: _Source, digest: Any) -> Iterator[bytes]:
    for chunk in source.chunks():
        digest.update(chunk)
        yield chunk


class _Utf8Check:
    """Finds out, while chunks pass, whether all of them together are UTF-8."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._other: str | None = None

    def passing(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks."""
        for chunk in chunks:
            if b"\0" in chunk:
                raise _binary(self._source)
            if self._other is None:
                self._try(chunk)
            yield chunk
        if self._other is None:
            self._try(b"", final=True)

    def encoding(self) -> str:
        """What the passed chunks are."""
        if self._other is not None:
            return self._other
        return "utf-8-sig" if bom_of(self._source.head) else "utf-8"

    def _try(self, chunk: bytes, *, final: bool = False) -> None:
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError:
            self._other = narrow_encoding(chunk or b" ")
            if self._other is None:
                raise _binary(self._source) from None
            # Later chunks may have bytes cp1252 lacks; latin-1 has all 256.
            self._other = "latin-1"


def _binary(source: _Source) -> ToolError:
    return ToolError(
        ErrorCode.BINARY_FILE,
        f"{shorten(source.path)!r} is not a text file ({source.size} bytes)",
        hint='read it with format="base64", or look at it with a program',
        details={"size": source.size},
    )


@dataclass(slots=True)
class _Page:
    """The numbered text that fits into one answer."""

    first: int
    count: int
    content: str
    cut: list[int]


def _page(survey: _Survey, first: int, *, from_end: bool) -> _Page:
    encoding = "utf-8" if survey.encoding.startswith("utf-") else codec(survey.encoding)
    lengths = survey.window.lengths
    if not lengths:
        content = _numbered(survey.window.lines, first, encoding)
        if len(content) * (1 if content.isascii() else 4) <= MAX_TEXT_BYTES:
            return _Page(first, len(survey.window.lines), content, [])
    # Taken from the end a page keeps its last lines, where the budget ends.
    numbered = list(enumerate(survey.window.lines, first))
    budget = MAX_TEXT_BYTES
    shown: list[str] = []
    cut: list[int] = []
    for number, raw in reversed(numbered) if from_end else numbered:
        text, was_cut = _shown(raw, encoding, lengths.get(number))
        line = f"{number}→{text}"
        budget -= len(line) + 3 if text.isascii() else len(line.encode()) + 1
        if budget < 0:
            break
        shown.append(line)
        if was_cut:
            cut.append(number)
    if from_end:
        shown.reverse()
        cut.reverse()
        first = numbered[-1][0] - len(shown) + 1 if shown else first
    return _Page(first, len(shown), "\n".join(shown), cut)


def _numbered(lines: list[bytes], first: int, encoding: str) -> str:
    """The content of a page on which nothing is cut, the usual case, made in few steps."""
    if not lines:
        return ""
    text = b"\n".join(lines).decode(encoding)
    if "\r" in text:
        text = text.replace("\r\n", "\n").removesuffix("\r")
    return "\n".join([f"{n}→{line}" for n, line in enumerate(text.split("\n"), first)])


def _shown(raw: bytes, encoding: str, length: int | None) -> tuple[str, bool]:
    """The text of a line without its CR, and whether it was cut."""
    if raw.endswith(b"\r"):
        raw = raw[:-1]
    if length is None:
        return raw.decode(encoding), False
    # The kept beginning of a long line may end inside a character.
    text = raw.decode(encoding, "ignore")
    if len(text) <= MAX_LINE_CHARACTERS:
        return text, False
    return f"{text[:MAX_LINE_CHARACTERS]}… [line cut: {length} bytes in all]", True


def _result(
    source: _Source, *, content: str, encoding: str, sha256: str, **more: Any
) -> dict[str, Any]:
    return {
        "path": source.path,
        "content": content,
        "start_line": 0,
        "end_line": 0,
        "total_lines": 0,
        "size": source.size,
        "encoding": encoding,
        "newline": "none",
        "sha256": sha256,
        "truncated": False,
        "next_line": None,
        "cut_lines": [],
        "mime_type": None,
    } | more
