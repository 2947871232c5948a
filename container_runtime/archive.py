"""A folder as a tar stream, and back: the same code at both ends of the wire.

Neither end trusts the other. Members are checked one by one, before anything of them is written;
every step works on the descriptor of the folder and follows no link. Only files, folders and links
that stay inside travel. Blocks on the disk; call it from a worker thread.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import normpath
from typing import Literal

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.errors import path_errors
from tool_plugins.filesystem.streams import (
    FolderEntry,
    FolderUpload,
    open_in_folder,
    walk_folder,
    write_all,
)

BLOCK = tarfile.BLOCKSIZE
CHUNK_BYTES = 256 * 1024
MAX_MEMBERS = 200_000
MAX_PATH_BYTES = 4096
# Extended headers hold a path and a few numbers.
MAX_EXTENDED_BYTES = 64 * 1024
ENCODING = "utf-8"


@dataclass(slots=True)
class Summary:
    """What was written. `skipped` counts links that would have led out of the folder."""

    files: int = 0
    bytes: int = 0
    skipped: int = 0


def pack(folder: int) -> Iterator[bytes]:
    """The tar stream of an open folder, in pieces of at most 256 KiB.

    What vanishes meanwhile is left out; devices, sockets and pipes are too.
    """
    for entry in walk_folder(folder):
        if entry.kind == "file":
            yield from _packed_file(folder, entry)
        elif entry.kind == "directory":
            yield _header(entry, tarfile.DIRTYPE)
        elif entry.kind == "symlink":
            yield _header(entry, tarfile.SYMTYPE, target=entry.target)
    yield bytes(2 * BLOCK)


def _packed_file(folder: int, entry: FolderEntry) -> Iterator[bytes]:
    try:
        fd = open_in_folder(folder, entry.path)
    except OSError:
        return  # it vanished, or was replaced by something else
    try:
        size = os.fstat(fd).st_size
        yield _header(entry, tarfile.REGTYPE, size=size)
        left = size
        while left and (data := os.read(fd, min(left, CHUNK_BYTES))):
            left -= len(data)
            yield data
        # The header has promised the size; a file that shrank is filled up with zeros.
        while left:
            filler = bytes(min(left, CHUNK_BYTES))
            left -= len(filler)
            yield filler
        if size % BLOCK:
            yield bytes(BLOCK - size % BLOCK)
    finally:
        os.close(fd)


def _header(entry: FolderEntry, kind: bytes, *, size: int = 0, target: str = "") -> bytes:
    member = tarfile.TarInfo(entry.path)
    member.type, member.size, member.linkname = kind, size, target
    member.mode = entry.status.st_mode & 0o777
    member.mtime = int(entry.status.st_mtime)
    return member.tobuf(tarfile.PAX_FORMAT, ENCODING, "surrogateescape")


def stays_inside(path: str, target: str) -> bool:
    """Whether a link at `path` leads to a place inside, whatever else is a link there.

    Parents of members are real folders, so leading ".." are counted; a ".." after a name could
    start from anywhere, since that name may be a link itself.
    """
    names = target.split("/")
    up = 0
    while up < len(names) and names[up] in ("..", ".", ""):
        up += 1
    return bool(
        target
        and not target.startswith("/")
        and ".." not in names[up:]
        and names[:up].count("..") <= path.count("/")
    )


class Unpacker:
    """Writes a tar stream below an open folder as it arrives, in pieces of any size.

    Raises (from `feed` and `finish`):
        ToolError: the stream is malformed, unsafe or larger than allowed.
    """

    def __init__(self, folder: int, *, max_bytes: int | None = None) -> None:
        self.summary = Summary()
        self._upload = FolderUpload(folder)
        self._max_bytes = max_bytes
        self._members = 0
        self._buffer = bytearray()
        self._state: Literal["header", "extended", "file", "end"] = "header"
        self._left = 0
        self._padding = 0
        self._extended: dict[str, str] = {}
        self._file: int | None = None

    def feed(self, data: bytes) -> None:
        """Takes the next piece of the stream."""
        view = memoryview(data)
        while view and self._state != "end":
            view = self._into_file(view) if self._state == "file" else self._into_buffer(view)

    def finish(self) -> Summary:
        """Checks that the stream is complete; says what was written."""
        if self._state != "end":
            raise _refusal("ends too early")
        return self.summary

    def close(self) -> None:
        """Closes the file being written, if any. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _into_file(self, view: memoryview) -> memoryview:
        data, view = view[: self._left], view[self._left :]
        if data and self._file is not None:
            write_all(self._file, data)
            self._left -= len(data)
            self.summary.bytes += len(data)
        if not self._left:
            skipped = min(self._padding, len(view))
            self._padding -= skipped
            view = view[skipped:]
        if not self._left and not self._padding:
            self.close()
            self._state = "header"
        return view

    def _into_buffer(self, view: memoryview) -> memoryview:
        wanted = BLOCK if self._state == "header" else self._left + self._padding
        missing = wanted - len(self._buffer)
        self._buffer += view[:missing]
        if len(self._buffer) == wanted:
            whole, self._buffer = bytes(self._buffer), bytearray()
            if self._state == "header":
                self._take_header(whole)
            else:
                self._extended |= _records(whole[: self._left])
                self._state = "header"
        return view[missing:]

    def _take_header(self, block: bytes) -> None:
        if not any(block):
            self._state = "end"
            return
        try:
            member = tarfile.TarInfo.frombuf(block, ENCODING, "surrogateescape")
        except tarfile.HeaderError as exc:
            raise _refusal(f"is malformed ({exc})") from None
        if member.type == tarfile.XHDTYPE:
            self._expect(member.size, "extended")
            if member.size > MAX_EXTENDED_BYTES:
                raise _refusal(f"has an extended header of {member.size} bytes")
            return
        extended, self._extended = self._extended, {}
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise _refusal(f"has more than {MAX_MEMBERS} members")
        path = _checked_path(extended.get("path", member.name))
        with path_errors(path):
            self._take_member(path, member, extended)

    def _take_member(self, path: str, member: tarfile.TarInfo, extended: dict[str, str]) -> None:
        if member.type == tarfile.DIRTYPE:
            if path != ".":
                self._upload.add_folder(path, member.mode)
        elif member.type == tarfile.SYMTYPE:
            target = extended.get("linkpath", member.linkname)
            if len(os.fsencode(target)) < MAX_PATH_BYTES and stays_inside(path, target):
                self._upload.add_link(path, target)
            else:
                self.summary.skipped += 1
        elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE):
            size = _number(extended.get("size"), member.size)
            if self._max_bytes is not None and self.summary.bytes + size > self._max_bytes:
                raise _refusal(f"holds more than {self._max_bytes} bytes", ErrorCode.TOO_LARGE)
            self._file = self._upload.open_file(path, executable=bool(member.mode & 0o100))
            self.summary.files += 1
            self._expect(size, "file")
        else:
            raise _refusal(f"holds {path!r}, which is neither file, folder nor symbolic link")

    def _expect(self, size: int, state: Literal["extended", "file"]) -> None:
        if size < 0:
            raise _refusal("is malformed (negative size)")
        self._left = size
        self._padding = -size % BLOCK
        self._state = state
        if size == 0:
            self.close()
            self._state = "header"


def _checked_path(path: str) -> str:
    if path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise _refusal(f"holds {path[:200]!r}, which leads out of the folder")
    if not path or len(os.fsencode(path)) >= MAX_PATH_BYTES:
        raise _refusal("holds a path that is empty or too long")
    return normpath(path)


def _records(data: bytes) -> dict[str, str]:
    """The records of an extended header: "LENGTH NAME=VALUE\\n" each."""
    found: dict[str, str] = {}
    while data:
        length, space, _ = data.partition(b" ")
        size = int(length) if length.isdigit() and len(length) < 8 else 0
        name, equals, value = data[len(length) + 1 : size - 1].partition(b"=")
        if not space or not equals or size > len(data) or data[size - 1 : size] != b"\n":
            raise _refusal("has a malformed extended header")
        found[name.decode(ENCODING, "replace")] = value.decode(ENCODING, "surrogateescape")
        data = data[size:]
    return found


def _number(text: str | None, otherwise: int) -> int:
    if text is None:
        return otherwise
    if not text.isdigit() or len(text) > 15:
        raise _refusal("has a malformed size")
    return int(text)


def _refusal(what: str, code: ErrorCode = ErrorCode.INVALID_ARGUMENT) -> ToolError:
    return ToolError(code, f"the archive {what}")
