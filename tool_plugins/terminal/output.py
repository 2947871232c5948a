"""What one stream of one process has written, in bounded memory and a bounded file.

The first bytes and the last bytes stay in memory; when there is more, all bytes up to a limit go
to a file the agent may read too. Everything between is counted and declared lost, never kept.
"""

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from .text import clean, decode, first_chars, last_chars

HEAD_CHARS = 10_000
TAIL_CHARS = 20_000
# A character has at most four bytes.
HEAD_BYTES = 4 * HEAD_CHARS + 8
TAIL_BYTES = 4 * TAIL_CHARS + 8
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_SPOOL_BYTES = 32 * 1024 * 1024


class Spool:
    """The folder for files of output, and how much of it is still free to use."""

    def __init__(self, folder: Path, *, capacity: int = MAX_SPOOL_BYTES) -> None:
        self.folder = folder
        self.free = capacity

    def create(self, name: str) -> "SpoolFile | None":
        """A new file, or None when there is no room for it."""
        if self.free <= 0:
            return None
        path = self.folder / f"{name}-{secrets.token_hex(4)}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return SpoolFile(self, path, os.open(path, flags, 0o644))
        except OSError:
            return None


class SpoolFile:
    """One file of output. It can end early: the agent may fill or cut its own disk."""

    def __init__(self, spool: Spool, path: Path, fd: int) -> None:
        self._spool = spool
        self._fd = fd
        self.path = path
        self.size = 0

    def append(self, data: memoryview) -> int:
        """Writes what there is room for; gives the number of bytes."""
        room = min(MAX_FILE_BYTES - self.size, self._spool.free, len(data))
        try:
            written = os.pwrite(self._fd, data[:room], self.size) if room > 0 else 0
        except OSError:
            written = 0
        self.size += written
        self._spool.free -= written
        return written

    def read(self, offset: int, count: int) -> bytes:
        """Bytes from the file, fewer when somebody cut it."""
        try:
            return os.pread(self._fd, count, offset)
        except OSError:
            return b""

    def remove(self) -> None:
        """Deletes the file and gives its room back."""
        if self._fd < 0:
            return
        os.close(self._fd)
        self._fd = -1
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._spool.free += self.size


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of an output that is shown. `omitted` is how many bytes of it are not."""

    text: str
    omitted: int


class Output:
    """The bytes of one stream. `total` counts all that were written, kept or not."""

    def __init__(self, spool: Spool, name: str) -> None:
        self._spool = spool
        self._name = name
        self._head = bytearray()
        self._tail = bytearray()
        self._file: SpoolFile | None = None
        # Every byte before this one is in the head or in the file.
        self._kept = 0
        self.total = 0

    @property
    def file(self) -> Path | None:
        """The file with the first part of a long output."""
        return self._file.path if self._file else None

    def feed(self, data: memoryview) -> None:
        """Takes the next bytes."""
        if self.total + len(data) <= HEAD_BYTES:
            self._head += data
            self._kept += len(data)
        else:
            self._overflow(data)
        self.total += len(data)

    def _overflow(self, data: memoryview) -> None:
        if self.total <= HEAD_BYTES and not self._tail:
            self._tail += self._head
            self._file = self._spool.create(self._name)
            if self._file is not None:
                self._file.append(memoryview(bytes(self._head)))
        if self._kept == self.total:
            self._keep(data)
        self._tail += data[-TAIL_BYTES:]
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def _keep(self, data: memoryview) -> None:
        room = HEAD_BYTES - len(self._head)
        self._head += data[:room]
        if self._file is not None and self._file.size == self._kept:
            self._kept += self._file.append(data)
        else:
            self._kept += max(0, min(room, len(data)))

    def read(self, start: int, count: int) -> tuple[int, bytes]:
        """At most `count` bytes from `start`, or from the next byte that is still there."""
        if start + count <= len(self._head) or (start < len(self._head) and self._file is None):
            return start, bytes(self._head[start : start + count])
        if start < self._kept and self._file is not None:
            data = self._file.read(start, min(count, self._kept - start))
            if data:
                return start, data
        if start < len(self._head):
            return start, bytes(self._head[start : start + count])
        oldest = self.total - len(self._tail)
        start = min(max(start, oldest), self.total)
        return start, bytes(self._tail[start - oldest : start - oldest + count])

    def span(self, start: int, end: int) -> bytes:
        """All bytes that are still there between two places."""
        pieces: list[bytes] = []
        while start < end:
            start, data = self.read(start, end - start)
            if not data:
                break
            pieces.append(data[: max(0, end - start)])
            start += len(data)
        return b"".join(pieces)

    def excerpt(self) -> Excerpt:
        """The whole output if it is short, else its head and its tail and a line between."""
        if self.total <= HEAD_BYTES + TAIL_BYTES:
            data = self.span(0, self.total)
            text = data.decode("utf-8", "surrogateescape")
            if len(data) == self.total and len(text) <= HEAD_CHARS + TAIL_CHARS:
                return Excerpt(clean(decode(data)), 0)
        head = first_chars(self.span(0, min(self.total, HEAD_BYTES)), HEAD_CHARS)
        tail = last_chars(
            self.span(max(len(head), self.total - TAIL_BYTES), self.total), TAIL_CHARS
        )
        omitted = self.total - len(head) - len(tail)
        where = f"; the output is in {self.file}" if self.file else ""
        if self._kept < self.total and self.file:
            where = f"; the first {self._kept} bytes are in {self.file}"
        middle = f"\n… {omitted} bytes omitted{where} …\n"
        return Excerpt(clean(decode(head)) + middle + clean(decode(tail)), omitted)

    def settle(self) -> None:
        """Lets go of memory that only a stream that still grows needs."""
        if self._file is not None and self._kept == self.total:
            self._tail.clear()
        else:
            del self._tail[:-TAIL_BYTES]

    def discard(self) -> None:
        """Forgets everything and deletes the file."""
        if self._file is not None:
            self._file.remove()
        self._head.clear()
        self._tail.clear()
