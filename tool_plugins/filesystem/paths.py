"""Where a path leads: resolution on file descriptors, never by checking a string and opening it.

The kernel does the work (`openat2` with RESOLVE_BENEATH). Two cases are walked here, one component
at a time and without following anything by accident: absolute links that stay inside the
workspace, which RESOLVE_BENEATH refuses, and kernels without `openat2`.
"""

import errno
import os
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError

from .errors import path_errors, shorten
from .kernel import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2, openat2_works

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
MAX_COMPONENTS = 512
MAX_LINKS = 40
# What agents and documentation call the workspace, wherever an engine really keeps it.
WORKSPACE_ALIAS = ("workspace",)

_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
FOLDER_MODE = 0o755


@dataclass(frozen=True, slots=True)
class Location:
    """A path below the workspace, in names without `.` and `..`. No names means the workspace.

    `folder` says that the path was written with a slash at its end.
    """

    names: tuple[str, ...]
    folder: bool = False

    @property
    def relative(self) -> str:
        """The path relative to the workspace; `.` for the workspace itself."""
        return "/".join(self.names) or "."


class Workspace:
    """The open root folder. One per action server (`host.service(Workspace)`).

    `writing` serialises the read-check-replace steps of all writers in this process.
    """

    def __init__(self, host: Host, *, use_openat2: bool = True) -> None:
        self.root = os.open(host.workspace, _FOLDER)
        self.writing = threading.Lock()
        self._home = PurePosixPath(host.workspace).parts[1:]
        self._openat2 = use_openat2 and openat2_works(self.root)

    async def aclose(self) -> None:
        """Closes the root folder."""
        os.close(self.root)

    def locate(self, path: str) -> Location:
        """The location that `path` names. It need not exist.

        Raises:
            ToolError: the path is malformed or leads outside the workspace.
        """
        names = self._names(path)
        folder = path.endswith(("/", "/."))
        if ".." in names:
            with path_errors(path):
                return Location(self._without_dots(names), folder)
        return Location(names, folder)

    def open(self, location: Location, flags: int) -> int:
        """A descriptor of what is at `location`; links that stay inside are followed."""
        if location.folder:
            flags |= os.O_DIRECTORY
        if self._openat2:
            try:
                return openat2(self.root, location.relative, flags, _RESOLVE)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EAGAIN):
                    raise
        walk = _Walk(self.root, self._home)
        try:
            walk.run(location.names)
            return walk.open(flags)
        finally:
            walk.close()

    def open_parent(self, location: Location, *, create: bool = False) -> int:
        """A descriptor of the folder that holds `location`, made first if `create`."""
        parent = Location(location.names[:-1])
        try:
            return self.open(parent, _FOLDER)
        except FileNotFoundError:
            if not create:
                raise
        return self.make_folders(parent)

    def make_folders(self, location: Location) -> int:
        """Makes every missing folder of `location`; a descriptor of the last."""
        fd = os.dup(self.root)
        try:
            for depth in range(1, len(location.names) + 1):
                fd = self._step(fd, location.names[:depth])
        except BaseException:
            os.close(fd)
            raise
        return fd

    def resolve(self, location: Location) -> Location:
        """Where `location` really is after every link, the last one included.

        Raises:
            OSError: a link leads outside (EXDEV) or to nothing (ENOENT).
        """
        walk = _Walk(self.root, self._home)
        try:
            walk.run(location.names)
            if walk.missing:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return Location(tuple(walk.names), location.folder)
        finally:
            walk.close()

    def _step(self, fd: int, names: tuple[str, ...]) -> int:
        try:
            below = self.open(Location(names), _FOLDER)
        except FileNotFoundError:
            # It exists if somebody else made it, or is a link to nothing: the open below tells.
            with suppress(FileExistsError):
                os.mkdir(names[-1], FOLDER_MODE, dir_fd=fd)
            below = os.open(names[-1], _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        return below

    def _names(self, path: str) -> tuple[str, ...]:
        _check(path)
        names = tuple(name for name in path.split("/") if name not in ("", "."))
        if not path.startswith("/"):
            return names
        for prefix in (self._home, WORKSPACE_ALIAS):
            if names[: len(prefix)] == prefix:
                return names[len(prefix) :]
        raise ToolError(
            ErrorCode.PATH_OUTSIDE_ROOT,
            f"{shorten(path)!r} leads outside the workspace",
            hint="use a path relative to the workspace, or an absolute one below it",
        )

    def _without_dots(self, names: tuple[str, ...]) -> tuple[str, ...]:
        walk = _Walk(self.root, self._home)
        try:
            walk.run(names, follow_last=False)
            return tuple(walk.names)
        finally:
            walk.close()


def _check(path: str) -> None:
    """Refuses what no file can be called; nothing is decoded, expanded or normalised."""
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        raise _bad_path(path, "has characters that are not text") from None
    if not raw:
        raise _bad_path(path, "is empty")
    if b"\0" in raw:
        raise _bad_path(path, "has a NUL character")
    if len(raw) >= MAX_PATH_BYTES:
        raise _bad_path(path, f"is longer than {MAX_PATH_BYTES} bytes")
    if raw.count(b"/") > MAX_COMPONENTS:
        raise _bad_path(path, f"has more than {MAX_COMPONENTS} components")
    if len(raw) > MAX_NAME_BYTES and any(len(n) > MAX_NAME_BYTES for n in raw.split(b"/")):
        raise _bad_path(path, f"has a name of more than {MAX_NAME_BYTES} bytes")


def _bad_path(path: str, says: str) -> ToolError:
    shown = shorten(path).encode(errors="backslashreplace").decode()
    return ToolError(ErrorCode.INVALID_ARGUMENT, f"the path {shown!r} {says}")


class _Walk:
    """Follows a path by hand. Holds a descriptor of every folder on the way, so `..` is exact."""

    def __init__(self, root: int, home: tuple[str, ...]) -> None:
        self.folders = [os.dup(root)]
        self.names: list[str] = []
        self.missing = False
        self._home = home
        self._links = 0
        self._at_folder = True

    def run(self, names: tuple[str, ...], *, follow_last: bool = True) -> None:
        """Walks to the end. The last name may be missing; everything before it must exist."""
        pending = list(reversed(names))
        while pending:
            name = pending.pop()
            if name == "..":
                self._up()
            elif not self._at_folder:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            else:
                pending.extend(reversed(self._down(name, follow=follow_last or bool(pending))))
            if self.missing and pending:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    def open(self, flags: int) -> int:
        """Opens where the walk ended; a link put there meanwhile is not followed."""
        if self._at_folder:
            return os.open(".", flags | os.O_CLOEXEC, dir_fd=self.folders[-1])
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(self.names[-1], flags, dir_fd=self.folders[-1])

    def close(self) -> None:
        """Closes every descriptor of the walk."""
        while self.folders:
            os.close(self.folders.pop())

    def _up(self) -> None:
        if not self.names:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        if self._at_folder:
            os.close(self.folders.pop())
        else:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        self.names.pop()

    def _down(self, name: str, *, follow: bool) -> list[str]:
        """Steps into `name`; the names a link there stands for, to be walked next."""
        try:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folders[-1])
        except FileNotFoundError:
            self.missing, self._at_folder = True, False
            self.names.append(name)
            return []
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind == stat.S_IFLNK and follow:
            try:
                return self._follow(os.readlink("", dir_fd=fd))
            finally:
                os.close(fd)
        self.names.append(name)
        if kind == stat.S_IFDIR:
            self.folders.append(fd)
        else:
            self._at_folder = False
            os.close(fd)
        return []

    def _follow(self, target: str) -> list[str]:
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        names = [name for name in target.split("/") if name not in ("", ".")]
        if not target.startswith("/"):
            return names
        if tuple(names[: len(self._home)]) != self._home:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        while len(self.folders) > 1:
            os.close(self.folders.pop())
        self.names.clear()
        return names[len(self._home) :]
