"""Turns the kernel's errors into what a caller can act on. The only place that reads an errno."""

import errno
from types import TracebackType

from tool_plugins.errors import ErrorCode, ToolError

_MEANINGS: dict[int, tuple[ErrorCode, str, str]] = {
    errno.ENOENT: (ErrorCode.NOT_FOUND, "does not exist", "list the folder to see what is there"),
    errno.ENOTDIR: (ErrorCode.NOT_DIRECTORY, "is not a folder, or a part of it is not", ""),
    errno.EISDIR: (ErrorCode.IS_DIRECTORY, "is a folder", "use filesystem_list for folders"),
    errno.EEXIST: (ErrorCode.ALREADY_EXISTS, "already exists", ""),
    errno.ENOTEMPTY: (ErrorCode.NOT_EMPTY, "is a folder that is not empty", ""),
    errno.EACCES: (ErrorCode.PERMISSION_DENIED, "is not permitted to the agent's user", ""),
    errno.EPERM: (ErrorCode.PERMISSION_DENIED, "is not permitted to the agent's user", ""),
    errno.EROFS: (ErrorCode.PERMISSION_DENIED, "is on a read-only file system", ""),
    errno.ENOSPC: (ErrorCode.DISK_QUOTA, "does not fit: the disk is full", "delete what is unused"),
    errno.EDQUOT: (
        ErrorCode.DISK_QUOTA,
        "does not fit: the disk quota is used up",
        "delete what is unused",
    ),
    errno.EFBIG: (ErrorCode.DISK_QUOTA, "would be larger than a file may be here", ""),
    errno.ENAMETOOLONG: (ErrorCode.INVALID_ARGUMENT, "is too long", "names have at most 255 bytes"),
    errno.EINVAL: (ErrorCode.INVALID_ARGUMENT, "cannot be used that way", ""),
    errno.EILSEQ: (ErrorCode.INVALID_ARGUMENT, "has characters the file system refuses", ""),
    errno.ELOOP: (
        ErrorCode.PATH_OUTSIDE_ROOT,
        "goes through a symbolic link that must not be followed",
        "use a path below the workspace without that link",
    ),
    errno.EXDEV: (
        ErrorCode.PATH_OUTSIDE_ROOT,
        "leads outside the workspace",
        "use a path relative to the workspace, or an absolute one below it",
    ),
    errno.ENXIO: (ErrorCode.NOT_REGULAR_FILE, "is not a regular file", ""),
    errno.ENODEV: (ErrorCode.NOT_REGULAR_FILE, "is not a regular file", ""),
    errno.EBUSY: (ErrorCode.BUSY, "is in use", ""),
    errno.ETXTBSY: (ErrorCode.BUSY, "is a program that runs now", "end it first"),
    errno.EMFILE: (ErrorCode.BUSY, "cannot be opened: too many files are open", "try again"),
    errno.ENFILE: (ErrorCode.BUSY, "cannot be opened: too many files are open", "try again"),
}


class path_errors:
    """Raises an `OSError` of its block as the `ToolError` it means, naming `path`.

    An errno without a meaning for the caller passes through unchanged.
    """

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError) and error.errno in _MEANINGS:
            raise from_errno(error.errno, self.path) from error


def from_errno(number: int, path: str) -> ToolError:
    """The `ToolError` that this errno means for `path`."""
    code, says, hint = _MEANINGS[number]
    if code is ErrorCode.NOT_FOUND and path.startswith("~"):
        hint = "'~' is not expanded; give the path relative to the workspace"
    return ToolError(code, f"{shorten(path)!r} {says}", hint=hint)


def shorten(text: str, limit: int = 200) -> str:
    """`text`, cut so that an error message stays readable."""
    return text if len(text) <= limit else f"{text[:limit]}…"
