"""A window of lines over a file of any size, in bounded memory."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MAX_LINE_CHARACTERS = 2000
# UTF-8 needs at most four bytes for a character; one more character shows that there is more.
_KEPT_BYTES = 4 * (MAX_LINE_CHARACTERS + 2)


@dataclass(slots=True)
class LineWindow:
    """Collects lines `first` to `last` of the bytes fed to it, and counts all of them.

    Bytes are UTF-8 or an eight-bit encoding. A line longer than `MAX_LINE_CHARACTERS` keeps its
    beginning only; `lengths` then has its full length in bytes, without the line end.
    """

    first: int
    last: int
    lines: list[bytes] = field(default_factory=list)
    lengths: dict[int, int] = field(default_factory=dict)
    newlines: int = 0
    crlf: int = 0
    _open: bytes = b""
    _open_length: int = 0
    _ended_with_cr: bool = False

    def feed(self, chunk: bytes) -> None:
        """Takes the next piece of the file."""
        count = chunk.count(b"\n")
        self.crlf += chunk.count(b"\r\n")
        if self._ended_with_cr and chunk.startswith(b"\n"):
            self.crlf += 1
        self._ended_with_cr = chunk.endswith(b"\r")
        number = self.newlines + 1
        if number > self.last or number + count < self.first:
            self._skip(chunk, count)
        else:
            self._collect(chunk)
        self.newlines += count

    def finish(self) -> int:
        """Takes the last line if it has no line end; the total number of lines."""
        total = self.newlines + (1 if self._open_length else 0)
        if self._open_length:
            self._take(total)
        return total

    def _skip(self, chunk: bytes, count: int) -> None:
        if not count:
            self._open_length += len(chunk)
            return
        self._open = b""
        self._open_length = len(chunk) - chunk.rfind(b"\n") - 1

    def _collect(self, chunk: bytes) -> None:
        pieces = chunk.split(b"\n")
        number = self.newlines + 1
        if len(pieces) > 1:
            self._extend(pieces[0])
            self._take(number)
            self._take_all(pieces[1:-1], number + 1)
        self._extend(pieces[-1])

    def _take_all(self, pieces: list[bytes], number: int) -> None:
        """Takes lines that begin and end in one chunk."""
        start = max(0, self.first - number)
        pieces = pieces[start : max(0, self.last - number + 1)]
        if max(map(len, pieces), default=0) <= MAX_LINE_CHARACTERS:
            self.lines += pieces
            return
        for offset, piece in enumerate(pieces, number + start):
            self._extend(piece)
            self._take(offset)

    def _extend(self, piece: bytes) -> None:
        self._open_length += len(piece)
        room = _KEPT_BYTES - len(self._open)
        if room > 0:
            self._open = self._open + piece[:room] if self._open else piece[:room]

    def _take(self, number: int) -> None:
        if self.first <= number <= self.last:
            if self._open_length > MAX_LINE_CHARACTERS:
                self.lengths[number] = self._open_length
            self.lines.append(self._open)
        self._open, self._open_length = b"", 0


def recoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The chunks of a file in another encoding, as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
