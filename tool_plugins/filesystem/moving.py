"""`filesystem.move` and `filesystem.delete`."""

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import Any

from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError

from .errors import path_errors, shorten
from .kernel import rename_noreplace
from .paths import Location, Workspace
from .trees import contains, copy_entry, remove_tree
from .writing import TEMPORARY_PREFIX

_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def move(
    context: ToolContext,
    *,
    source: str,
    destination: str,
    copy: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Moves, renames or copies; see `MoveResult`."""
    workspace = context.host.service(Workspace)
    start, end = workspace.locate(source), workspace.locate(destination)
    _refuse_root(start, source)
    _refuse_root(end, destination)
    with path_errors(source), workspace.writing:
        source_parent = workspace.open_parent(start)
        try:
            _require_kind(source_parent, start, source)
            with path_errors(destination):
                parent = workspace.open_parent(end, create=True)
            try:
                work = _copied if copy else _renamed
                with _DestinationErrors(destination):
                    count = work(
                        workspace, (source_parent, start), (parent, end), overwrite=overwrite
                    )
            finally:
                os.close(parent)
        finally:
            os.close(source_parent)
    return {"path": end.relative, "source": start.relative, "copied": copy, "entries": count}


Place = tuple[int, Location]


def _renamed(workspace: Workspace, source: Place, destination: Place, *, overwrite: bool) -> int:
    (source_parent, start), (parent, end) = source, destination
    _put(source_parent, start.names[-1], parent, end.names[-1], overwrite=overwrite)
    return 1


def _copied(workspace: Workspace, source: Place, destination: Place, *, overwrite: bool) -> int:
    """Copies beside the destination first, so that it appears whole or not at all."""
    (source_parent, start), (parent, end) = source, destination
    name = end.names[-1]
    if not overwrite and _exists(parent, name):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    original = os.open(start.names[-1], _PATH, dir_fd=source_parent)
    try:
        is_folder = stat.S_ISDIR(os.fstat(original).st_mode)
        if is_folder and contains(original, parent, workspace.root):
            raise ToolError(
                ErrorCode.INVALID_ARGUMENT,
                f"{shorten(end.relative)!r} is inside {shorten(start.relative)!r}",
            )
    finally:
        os.close(original)
    draft = TEMPORARY_PREFIX + secrets.token_hex(8)
    try:
        count = copy_entry(source_parent, start.names[-1], parent, draft, start.relative)
        _put(parent, draft, parent, name, overwrite=overwrite)
    except BaseException:
        with suppress(FileNotFoundError):
            remove_entry(parent, draft, recursive=True)
        raise
    return count


def _put(source_parent: int, source: str, parent: int, name: str, *, overwrite: bool) -> None:
    if overwrite:
        os.rename(source, name, src_dir_fd=source_parent, dst_dir_fd=parent)
    else:
        rename_noreplace(source_parent, source, parent, name)


class _DestinationErrors(path_errors):
    """The meanings some errors have only for a destination."""

    __slots__ = ()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, OSError):
            refused = _destination_error(error.errno or 0, self.path)
            if refused is not None:
                raise refused from error
            if error.errno != errno.ENOENT:
                super().__exit__(kind, error, traceback)


def _destination_error(number: int, path: str) -> ToolError | None:
    shown = shorten(path)
    if number == errno.EEXIST:
        return ToolError(
            ErrorCode.ALREADY_EXISTS,
            f"{shown!r} already exists",
            hint="destination is the full new path, not a folder to put it in; "
            "set overwrite to replace a file",
        )
    if number == errno.EINVAL:
        return ToolError(ErrorCode.INVALID_ARGUMENT, f"{shown!r} is inside the source")
    if number == errno.EXDEV:
        return ToolError(
            ErrorCode.UNSUPPORTED,
            f"{shown!r} is on another file system",
            hint="copy it and delete the source",
        )
    return None


def delete(context: ToolContext, *, path: str, recursive: bool = False) -> dict[str, Any]:
    """Deletes a file, a link or a folder; see `DeleteResult`."""
    workspace = context.host.service(Workspace)
    location = workspace.locate(path)
    _refuse_root(location, path)
    with path_errors(path), workspace.writing:
        parent = workspace.open_parent(location)
        try:
            _require_kind(parent, location, path)
            count = remove_entry(parent, location.names[-1], recursive=recursive)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            raise ToolError(
                ErrorCode.NOT_EMPTY,
                f"{shorten(path)!r} is a folder that is not empty; nothing was deleted"
                if not recursive
                else f"{shorten(path)!r} got new entries while it was deleted",
                hint="set recursive to delete it with everything in it",
            ) from error
        finally:
            os.close(parent)
    return {"path": location.relative, "deleted_count": count}


def remove_entry(parent: int, name: str, *, recursive: bool) -> int:
    """Removes one entry of a folder, never what a link points to; how many entries that were."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return 1
    if recursive:
        return remove_tree(parent, name)
    os.rmdir(name, dir_fd=parent)
    return 1


def _refuse_root(location: Location, path: str) -> None:
    if not location.names:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"{shorten(path)!r} is the workspace itself",
            hint="name what is in it",
        )


def _require_kind(parent: int, location: Location, path: str) -> None:
    """Refuses a missing entry, and a path with a slash at its end that is no folder."""
    status = os.stat(location.names[-1], dir_fd=parent, follow_symlinks=False)
    if location.folder and not stat.S_ISDIR(status.st_mode):
        raise ToolError(ErrorCode.NOT_DIRECTORY, f"{shorten(path)!r} is not a folder")


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
