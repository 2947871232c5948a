"""Files and folders as streams, for the action server's own routes. No model tool uses this.

Everything is resolved below the workspace as the tools do it, and every step below a folder works
on that folder's descriptor without following a link.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError

from .errors import path_errors, shorten
from .kernel import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from .paths import FOLDER_MODE, Workspace
from .writing import (
    EXECUTABLE_MODE,
    FILE_MODE,
    TEMPORARY_PREFIX,
    Draft,
    Target,
    kind_of,
    open_target,
    require_regular,
    write_all,
)

__all__ = (
    "FileUpload",
    "FolderEntry",
    "FolderUpload",
    "folder_path",
    "open_folder",
    "open_for_download",
    "open_in_folder",
    "walk_folder",
    "write_all",
)

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def open_for_download(host: Host, path: str) -> tuple[int, int]:
    """A descriptor of the regular file at `path` for reading, and its size now.

    The caller closes it. The file may grow or shrink while it is read.
    """
    workspace = host.service(Workspace)
    with path_errors(path):
        fd = workspace.open(workspace.locate(path), _READ)
        try:
            status = os.fstat(fd)
            require_regular(status, path)
        except BaseException:
            os.close(fd)
            raise
        return fd, status.st_size


class FileUpload:
    """One file that arrives in pieces and appears whole, or not at all.

    Use it as a context manager; leaving it without `commit` removes what came so far. The methods
    block on the disk, so call them from a worker thread.
    """

    def __init__(
        self,
        host: Host,
        path: str,
        *,
        mode: Literal["overwrite", "create"] = "overwrite",
        executable: bool | None = None,
    ) -> None:
        self._workspace = host.service(Workspace)
        self._path = path
        self._mode = mode
        self._executable = executable
        self._digest = hashlib.sha256()
        self._size = 0
        self._target: Target | None = None
        self._draft: Draft | None = None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def begin(self) -> None:
        """Opens the place of the file; missing parents are made."""
        with path_errors(self._path):
            location = self._workspace.locate(self._path)
            target = open_target(self._workspace, location, create_parents=True)
            try:
                if self._mode == "create" and target.before is not None:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
                self._draft = Draft(target.folder)
            except BaseException:
                target.__exit__(None, None, None)
                raise
            self._target = target
            self._path = location.relative

    def write(self, data: bytes | memoryview) -> None:
        """Adds a piece."""
        draft = self._draft
        if draft is None:
            raise RuntimeError("the upload was not begun, or is over")
        with path_errors(self._path):
            draft.write(data)
        self._digest.update(data)
        self._size += len(data)

    def commit(self) -> dict[str, str | int]:
        """Puts the file in its place: `path`, `bytes` and `sha256` of what is there now."""
        draft, target = self._draft, self._target
        if draft is None or target is None:
            raise RuntimeError("the upload was not begun, or is over")
        with path_errors(self._path), self._workspace.writing:
            if self._mode == "overwrite":
                _refresh(target)
            draft.publish(target, executable=self._executable)
        self.abort()
        return {"path": self._path, "bytes": self._size, "sha256": self._digest.hexdigest()}

    def abort(self) -> None:
        """Removes what came so far. Harmless after `commit`."""
        draft, target = self._draft, self._target
        self._draft = self._target = None
        if draft is not None:
            draft.discard()
        if target is not None:
            target.__exit__(None, None, None)


def _refresh(target: Target) -> None:
    """Looks at the target again: an upload may take minutes, and the last writer wins."""
    if target.fd is not None:
        os.close(target.fd)
        target.fd = target.before = None
    try:
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        target.fd = os.open(target.name, flags, dir_fd=target.folder)
    except FileNotFoundError:
        return
    target.before = os.fstat(target.fd)
    require_regular(target.before, target.shown)


def open_folder(host: Host, path: str, *, create: bool = False) -> int:
    """A readable descriptor of the folder at `path`, made with its parents if `create`."""
    workspace = host.service(Workspace)
    with path_errors(path):
        location = workspace.locate(path)
        try:
            return workspace.open(location, _FOLDER)
        except FileNotFoundError:
            if not create:
                raise
        fd = workspace.make_folders(location)
        try:
            return os.open(".", _FOLDER, dir_fd=fd)
        finally:
            os.close(fd)


def folder_path(fd: int) -> str:
    """Where the folder of this descriptor is now, for a watcher that needs a path."""
    return os.readlink(f"/proc/self/fd/{fd}")


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """One thing below a folder. `path` is relative to it; `target` is set for a symlink."""

    path: str
    kind: str
    status: os.stat_result
    target: str = ""


def walk_folder(folder: int) -> Iterator[FolderEntry]:
    """Everything below the folder, parents first, names sorted; links are not followed.

    What vanishes while this runs is left out, as are this package's own drafts.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            fd = open_in_folder(folder, prefix or ".", _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            below: list[str] = []
            for name in sorted(os.listdir(fd)):
                entry = _entry(fd, name, prefix)
                if entry is None:
                    continue
                if entry.kind == "directory":
                    below.append(entry.path)
                yield entry
        finally:
            os.close(fd)
        pending.extend(reversed(below))


def _entry(fd: int, name: str, prefix: str) -> FolderEntry | None:
    if name.startswith(TEMPORARY_PREFIX):
        return None
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        target = os.readlink(name, dir_fd=fd) if stat.S_ISLNK(status.st_mode) else ""
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise
    return FolderEntry(
        f"{prefix}/{name}" if prefix else name, kind_of(status.st_mode), status, target
    )


def open_in_folder(folder: int, path: str, flags: int = _READ) -> int:
    """A descriptor of what is at `path` below the folder; no link on the way is followed."""
    names = _member_names(path) if path != "." else []
    try:
        return openat2(folder, "/".join(names) or ".", flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    fd = os.dup(folder)
    for name in names[:-1]:
        fd = _enter(fd, name)
    try:
        last = names[-1] if names else "."
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)


def _enter(fd: int, name: str) -> int:
    try:
        return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)


def _member_names(path: str) -> list[str]:
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not names or path.startswith("/") or ".." in names or "\0" in path:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT, f"the archive names {shorten(path)!r}, which is not a path"
        )
    return names


class FolderUpload:
    """Members of an archive, put one by one below an open folder.

    Members replace files and links of the same name; they are never written through one.
    """

    def __init__(self, folder: int) -> None:
        self._folder = folder

    def add_folder(self, path: str, mode: int = FOLDER_MODE) -> None:
        """Makes a folder and its parents; an existing one stays and takes the mode."""
        fd = self._parents(_member_names(path))
        try:
            os.chmod(".", stat.S_IMODE(mode) & 0o777 | 0o700, dir_fd=fd)
        finally:
            os.close(fd)

    def open_file(self, path: str, *, executable: bool = False) -> int:
        """A new, empty file for writing in the place of what was there; the caller closes it."""
        mode = EXECUTABLE_MODE if executable else FILE_MODE
        parent, name = self._place(path)
        try:
            fd = os.open(name, _NEW_FILE, mode, dir_fd=parent)
        finally:
            os.close(parent)
        os.fchmod(fd, mode)
        return fd

    def add_link(self, path: str, target: str) -> None:
        """Makes a symbolic link. The caller has checked where the target leads."""
        parent, name = self._place(path)
        try:
            os.symlink(target, name, dir_fd=parent)
        finally:
            os.close(parent)

    def _place(self, path: str) -> tuple[int, str]:
        """The parent's descriptor and the free last name."""
        names = _member_names(path)
        parent = self._parents(names[:-1])
        try:
            os.unlink(names[-1], dir_fd=parent)
        except FileNotFoundError:
            pass  # the name is free already
        except BaseException:
            os.close(parent)
            raise
        return parent, names[-1]

    def _parents(self, names: list[str]) -> int:
        fd = os.dup(self._folder)
        for name in names:
            try:
                os.mkdir(name, FOLDER_MODE, dir_fd=fd)
            except FileExistsError:
                pass  # it is entered below, unless it is no folder
            except BaseException:
                os.close(fd)
                raise
            fd = _enter(fd, name)
        return fd
