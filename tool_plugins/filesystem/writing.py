"""Puts new bytes in the place of a file: all of them or none, keeping what the file was.

Nothing is fsynced: a workspace does not outlive its sandbox, so a crash of the machine loses it
whole, and every write would pay for that promise.
"""

import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tool_plugins.errors import ErrorCode, ToolError

from .errors import shorten
from .kernel import rename_noreplace
from .paths import Location, Workspace

# Watchers and archives leave out names that begin like this.
TEMPORARY_PREFIX = ".sandbox-draft-"
FILE_MODE = 0o644
EXECUTABLE_MODE = 0o755
COPY_BYTES = 1024 * 1024

_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DRAFT = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Target:
    """The place of a file: its folder, its name there, and the file itself if there is one.

    A context manager; it closes the descriptors. `shown` is the path for messages.
    """

    folder: int
    name: str
    shown: str
    fd: int | None = None
    before: os.stat_result | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.fd is not None:
            os.close(self.fd)
        os.close(self.folder)

    def require_unchanged(self) -> None:
        """Raises STALE_FILE if somebody else changed or replaced the file since it was opened."""
        try:
            now = os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            now = None
        if _mark(now) != _mark(self.before):
            raise ToolError(
                ErrorCode.STALE_FILE,
                f"{shorten(self.shown)!r} was changed by something else at the same time",
                hint="read the file again and repeat the change on what is there now",
            )


def open_target(workspace: Workspace, location: Location, *, create_parents: bool) -> Target:
    """The place that `location` names, through links that stay inside the workspace.

    Raises:
        ToolError: a folder or something that is not a regular file is there.
        OSError: the parents are missing, or a link leads outside or to nothing.
    """
    shown = location.relative
    if not location.names or location.folder:
        raise ToolError(ErrorCode.IS_DIRECTORY, f"{shorten(shown)!r} names a folder, not a file")
    folder = workspace.open_parent(location, create=create_parents)
    try:
        name = location.names[-1]
        found = _lstat(folder, name)
        if found is not None and stat.S_ISLNK(found.st_mode):
            location = workspace.resolve(location)
            os.close(folder)
            folder = -1
            folder = workspace.open_parent(location)
            name = location.names[-1] if location.names else "."
            found = _lstat(folder, name)
        if found is None:
            return Target(folder, name, shown)
        require_regular(found, shown)
        fd = os.open(name, os.O_RDWR | _SAFE, dir_fd=folder)
        return _checked(Target(folder, name, shown, fd))
    except BaseException:
        if folder >= 0:
            os.close(folder)
        raise


def _checked(target: Target) -> Target:
    assert target.fd is not None
    try:
        target.before = os.fstat(target.fd)
        require_regular(target.before, target.shown)
    except BaseException:
        os.close(target.fd)
        raise
    return target


def require_regular(status: os.stat_result, shown: str) -> None:
    """Raises IS_DIRECTORY or NOT_REGULAR_FILE unless this is a regular file."""
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise ToolError(
            ErrorCode.IS_DIRECTORY,
            f"{shorten(shown)!r} is a folder",
            hint="use filesystem_list for folders",
        )
    raise ToolError(
        ErrorCode.NOT_REGULAR_FILE,
        f"{shorten(shown)!r} is a {kind_of(status.st_mode)}, not a regular file",
    )


def kind_of(mode: int) -> str:
    """`file`, `directory`, `symlink`, `fifo`, `socket` or `device`."""
    return _KINDS.get(stat.S_IFMT(mode), "device")


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class Draft:
    """New bytes in a file of their own beside the target, until `publish` or `discard`."""

    def __init__(self, folder: int) -> None:
        self.folder = folder
        self.name = TEMPORARY_PREFIX + secrets.token_hex(8)
        self.fd = os.open(self.name, _DRAFT, 0o600, dir_fd=folder)
        self._named = True

    def write(self, data: bytes | memoryview) -> None:
        """Adds `data` at the end."""
        write_all(self.fd, data)

    def publish(self, target: Target, *, executable: bool | None) -> None:
        """Takes the target's place. The draft is used up, also when this raises.

        Raises:
            FileExistsError: the target was missing before and exists now.
            ToolError: STALE_FILE, the target is not the file it was.
        """
        try:
            before = target.before
            if before is None:
                os.fchmod(self.fd, EXECUTABLE_MODE if executable else FILE_MODE)
                rename_noreplace(self.folder, self.name, target.folder, target.name)
                self._named = False
                return
            target.require_unchanged()
            mode = wanted_mode(before.st_mode, executable=executable)
            if self._can_replace(target, before):
                os.fchmod(self.fd, mode)
                os.rename(self.name, target.name, src_dir_fd=self.folder, dst_dir_fd=target.folder)
                self._named = False
            else:
                self._pour_into(target, mode)
        finally:
            self.discard()

    def discard(self) -> None:
        """Removes the draft. Harmless after `publish`."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._named:
            self._named = False
            # The agent's own programs may have deleted it already.
            with suppress(FileNotFoundError):
                os.unlink(self.name, dir_fd=self.folder)

    def _can_replace(self, target: Target, before: os.stat_result) -> bool:
        """Whether a rename would keep hard links, owner and extended attributes."""
        ours = os.fstat(self.fd)
        assert target.fd is not None
        return (
            before.st_nlink == 1
            and (ours.st_uid, ours.st_gid) == (before.st_uid, before.st_gid)
            and not _attributes(target.fd)
        )

    def _pour_into(self, target: Target, mode: int) -> None:
        """Writes into the file itself; a copy of what it was is put back if that fails."""
        assert target.fd is not None
        backup = Draft(target.folder)
        try:
            copy_bytes(target.fd, backup.fd)
            try:
                copy_bytes(self.fd, target.fd)
            except OSError:
                copy_bytes(backup.fd, target.fd)
                raise
            if mode != stat.S_IMODE(target.before.st_mode if target.before else 0):
                os.fchmod(target.fd, mode)
        finally:
            backup.discard()


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes every byte of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def copy_bytes(source: int, destination: int) -> None:
    """Makes the destination's content that of the source, whatever it was before."""
    os.lseek(source, 0, os.SEEK_SET)
    os.lseek(destination, 0, os.SEEK_SET)
    os.ftruncate(destination, 0)
    while chunk := os.read(source, COPY_BYTES):
        write_all(destination, chunk)


def wanted_mode(mode: int, *, executable: bool | None) -> int:
    """The permission bits after asking for the executable bits, or for none of them."""
    mode = stat.S_IMODE(mode)
    if executable is None:
        return mode
    # Whoever may read the file may run it, as `chmod +x` under the usual umask has it.
    return mode | (mode & 0o444) >> 2 if executable else mode & ~0o111


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError:
        return []  # a file system without extended attributes has none to lose


def _mark(status: os.stat_result | None) -> tuple[int, ...] | None:
    if status is None:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _lstat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
