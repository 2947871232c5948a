"""A folder tree under the kernel's watch (inotify), by descriptors and without following links.

The kernel counts watches per real user, and every sandbox's server is the same user to it; hence
the bound on folders.
"""

import ctypes
import os
import struct
from collections.abc import Iterator

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.streams import open_in_folder, walk_folder
from tool_plugins.filesystem.writing import TEMPORARY_PREFIX

MAX_FOLDERS = 4096
READ_BYTES = 64 * 1024

IN_MODIFY = 0x2
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_Q_OVERFLOW = 0x4000
IN_ONLYDIR = 0x1000000
IN_EXCL_UNLINK = 0x4000000
IN_ISDIR = 0x40000000
WATCHED = IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE

GONE = IN_DELETE | IN_MOVED_FROM
CAME = IN_CREATE | IN_MOVED_TO
EVENT = struct.Struct("iIII")

LIBC = ctypes.CDLL(None, use_errno=True)

Change = tuple[str, str]
"""What happened ("created", "modified", "deleted") and the path relative to the watched folder."""


class Tree:
    """Watches an open folder, whose descriptor stays the caller's. Close it."""

    def __init__(self, folder: int, *, recursive: bool) -> None:
        self._folder = folder
        self._recursive = recursive
        self._paths: dict[int, str] = {}
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _failure("cannot watch any more")

    def close(self) -> None:
        """Ends every watch."""
        os.close(self.fd)

    def start(self) -> None:
        """Begins to watch what is there now.

        Raises:
            ToolError: there are too many folders.
        """
        self._add("")
        if self._recursive:
            for entry in walk_folder(self._folder):
                if entry.kind == "directory":
                    self._add(entry.path)

    def read(self) -> list[Change]:
        """What changed since the last time; nothing twice in a row.

        When the kernel had to drop events, one says that the folder itself was modified.
        """
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:
            return []
        changes: list[Change] = []
        for wd, mask, name in _events(data):
            for change in self._changes(wd, mask, name):
                if not changes or changes[-1] != change:
                    changes.append(change)
        return changes

    def _changes(self, wd: int, mask: int, name: str) -> Iterator[Change]:
        if mask & IN_Q_OVERFLOW:
            yield "modified", ""
        elif name and wd in self._paths and not name.startswith(TEMPORARY_PREFIX):
            path = f"{self._paths[wd]}/{name}".lstrip("/")
            if mask & IN_ISDIR and mask & GONE:
                self._forget(path)
            yield _kind(mask), path
            if mask & IN_ISDIR and mask & CAME and self._recursive:
                yield from self._arrived(path)

    def _arrived(self, path: str) -> Iterator[Change]:
        """Watches a new folder and reports what was put there before that."""
        self._add(path)
        try:
            fd = open_in_folder(self._folder, path, os.O_RDONLY | os.O_DIRECTORY)
        except (OSError, ToolError):
            return
        try:
            for entry in walk_folder(fd):
                below = f"{path}/{entry.path}"
                if entry.kind == "directory":
                    self._add(below)
                yield "created", below
        finally:
            os.close(fd)

    def _add(self, path: str) -> None:
        if len(self._paths) >= MAX_FOLDERS:
            raise ToolError(
                ErrorCode.QUOTA_EXCEEDED,
                f"more than {MAX_FOLDERS} folders to watch",
                hint="watch a smaller folder",
            )
        try:
            fd = open_in_folder(self._folder, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return  # it is gone again, or nothing the agent may look into
        try:
            flags = WATCHED | IN_ONLYDIR | IN_EXCL_UNLINK
            wd = LIBC.inotify_add_watch(self.fd, f"/proc/self/fd/{fd}".encode(), flags)
            if wd < 0:
                raise _failure("cannot watch more folders")
        finally:
            os.close(fd)
        self._paths[wd] = path

    def _forget(self, path: str) -> None:
        for wd, known in list(self._paths.items()):
            if known == path or known.startswith(f"{path}/"):
                del self._paths[wd]
                LIBC.inotify_rm_watch(self.fd, wd)


def _kind(mask: int) -> str:
    if mask & CAME:
        return "created"
    return "deleted" if mask & GONE else "modified"


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    offset = 0
    while offset < len(data):
        wd, mask, _cookie, length = EVENT.unpack_from(data, offset)
        offset += EVENT.size
        yield wd, mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
        offset += length


def _failure(what: str) -> ToolError:
    number = ctypes.get_errno()
    return ToolError(ErrorCode.QUOTA_EXCEEDED, f"{what}: {os.strerror(number)}")
