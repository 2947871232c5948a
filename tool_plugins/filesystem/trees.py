"""Whole folders: removed and copied on descriptors, however deep they are.

A cursor holds one descriptor only. Going up it opens `..` and makes sure that this is the folder
it came down from, so a folder moved away meanwhile ends the work instead of leading it astray.
"""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from tool_plugins.errors import ErrorCode, ToolError

from .errors import shorten
from .writing import COPY_BYTES, kind_of, write_all

MAX_COPIED_ENTRIES = 100_000

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Cursor:
    """Stands in one folder of a tree and moves up and down."""

    def __init__(self, parent: int, name: str) -> None:
        self.fd = os.open(name, _FOLDER, dir_fd=parent)
        self._trail: list[tuple[int, int]] = []

    def down(self, name: str) -> None:
        """Enters the folder `name`; a link is refused."""
        below = os.open(name, _FOLDER, dir_fd=self.fd)
        status = os.fstat(self.fd)
        self._trail.append((status.st_dev, status.st_ino))
        os.close(self.fd)
        self.fd = below

    def up(self) -> None:
        """Goes back to the folder `down` left."""
        above = os.open("..", _FOLDER, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = above
        status = os.fstat(above)
        if (status.st_dev, status.st_ino) != self._trail.pop():
            raise ToolError(
                ErrorCode.BUSY,
                "the folder was moved by something else while it was worked on",
                hint="list the folder and try again",
            )

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self.fd)


def remove_tree(parent: int, name: str) -> int:
    """Removes the folder `name` and all below it; how many entries that were."""
    cursor = Cursor(parent, name)
    try:
        count = _remove_below(cursor)
    finally:
        cursor.close()
    os.rmdir(name, dir_fd=parent)
    return count + 1


def _remove_below(cursor: Cursor) -> int:
    count, folders = _remove_files(cursor.fd)
    pending = [folders]
    path: list[str] = []
    while pending:
        if pending[-1]:
            path.append(pending[-1].pop())
            cursor.down(path[-1])
            removed, folders = _remove_files(cursor.fd)
            count += removed
            pending.append(folders)
        else:
            pending.pop()
            if path:
                cursor.up()
                os.rmdir(path.pop(), dir_fd=cursor.fd)
                count += 1
    return count


def _remove_files(fd: int) -> tuple[int, list[str]]:
    """Removes what is not a folder; how many that were, and the names of the folders."""
    count = 0
    folders: list[str] = []
    with os.scandir(fd) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            os.unlink(entry.name, dir_fd=fd)
            count += 1
    return count, folders


@dataclass(slots=True)
class _Copy:
    """What a copy has done so far."""

    shown: str
    count: int = 0
    modes: list[int] = field(default_factory=list)

    def one_more(self) -> None:
        self.count += 1
        if self.count > MAX_COPIED_ENTRIES:
            raise ToolError(
                ErrorCode.TOO_LARGE,
                f"{shorten(self.shown)!r} has more than {MAX_COPIED_ENTRIES} entries",
                hint="copy it with cp -a in a shell",
            )


def copy_entry(source_parent: int, source: str, parent: int, name: str, shown: str) -> int:
    """Copies a file, link or folder to the free name; how many entries that were.

    Modes are kept, links are copied as links. Fifos, sockets and devices are refused.
    """
    copy = _Copy(shown)
    status = os.stat(source, dir_fd=source_parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        _copy_leaf(copy, source_parent, source, parent, name, status)
        return copy.count
    copy.one_more()
    os.mkdir(name, 0o700, dir_fd=parent)
    reader = Cursor(source_parent, source)
    try:
        writer = Cursor(parent, name)
        try:
            _copy_below(copy, reader, writer)
            os.fchmod(writer.fd, stat.S_IMODE(status.st_mode))
        finally:
            writer.close()
    finally:
        reader.close()
    return copy.count


def _copy_below(copy: _Copy, reader: Cursor, writer: Cursor) -> None:
    pending = [_copy_files(copy, reader.fd, writer.fd)]
    while pending:
        below = next(pending[-1], None)
        if below is not None:
            name, mode = below
            os.mkdir(name, 0o700, dir_fd=writer.fd)
            reader.down(name)
            writer.down(name)
            copy.modes.append(mode)
            pending.append(_copy_files(copy, reader.fd, writer.fd))
        else:
            pending.pop()
            if pending:
                os.fchmod(writer.fd, copy.modes.pop())
                reader.up()
                writer.up()


def _copy_files(copy: _Copy, source: int, destination: int) -> Iterator[tuple[str, int]]:
    """Copies what is not a folder now; the folders and their modes to go on with."""
    folders: list[tuple[str, int]] = []
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            copy.one_more()
            folders.append((name, stat.S_IMODE(status.st_mode)))
        else:
            _copy_leaf(copy, source, name, destination, name, status)
    return iter(folders)


def _copy_leaf(
    copy: _Copy, source: int, name: str, destination: int, new_name: str, status: os.stat_result
) -> None:
    copy.one_more()
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), new_name, dir_fd=destination)
    elif stat.S_ISREG(status.st_mode):
        _copy_file(source, name, destination, new_name)
    else:
        raise ToolError(
            ErrorCode.NOT_REGULAR_FILE,
            f"{shorten(name)!r} is a {kind_of(status.st_mode)} and cannot be copied",
        )


def _copy_file(source: int, name: str, destination: int, new_name: str) -> None:
    reading = os.open(name, _READ, dir_fd=source)
    try:
        mode = os.fstat(reading).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        writing = os.open(new_name, _NEW, 0o600, dir_fd=destination)
        try:
            while chunk := os.read(reading, COPY_BYTES):
                write_all(writing, chunk)
            os.fchmod(writing, stat.S_IMODE(mode))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def contains(folder: int, below: int, root: int) -> bool:
    """Whether the folder `below` is `folder` or lies inside it, looking no higher than `root`."""
    wanted, top = _identity(folder), _identity(root)
    fd = os.dup(below)
    try:
        while (here := _identity(fd)) != wanted:
            if here == top:
                return False
            above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = above
            if _identity(fd) == here:
                return False
        return True
    finally:
        os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino
