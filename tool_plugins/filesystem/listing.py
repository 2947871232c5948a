"""`filesystem.list` and `filesystem.glob`: walks level by level within a budget."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from tool_plugins.context import ToolContext

from .errors import path_errors
from .ignoring import IgnoreRules
from .paths import MAX_PATH_BYTES, Location, Workspace
from .patterns import PathPattern, State, compile_glob
from .streams import open_in_folder
from .writing import kind_of

MAX_WALKED = 50_000

_ENTRY = os.O_PATH | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def list_entries(
    context: ToolContext,
    *,
    path: str = ".",
    depth: int = 1,
    include_hidden: bool = False,
    respect_gitignore: bool = True,
    max_entries: int = 500,
) -> dict[str, Any]:
    """Lists a folder, or describes a file; see `ListResult`."""
    workspace = context.host.service(Workspace)
    location = workspace.locate(path)
    with path_errors(path):
        fd = workspace.open(location, _ENTRY)
        try:
            status = os.fstat(fd)
            if not stat.S_ISDIR(status.st_mode):
                return _listed(location, [_Entry(location.relative, status)], 0)
            rules = _rules_above(workspace, location) if respect_gitignore else None
            tree = _Tree(fd, location, include_hidden, rules)
            found, omitted = tree.entries(depth, max_entries)
            return _listed(location, found, omitted, complete=tree.complete)
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What was found at a path. `target` is set for a symlink."""

    path: str
    status: os.stat_result
    target: str | None = None

    def as_dict(self) -> dict[str, Any]:
        status = self.status
        time = datetime.fromtimestamp(int(status.st_mtime), UTC)
        return {
            "path": printable(self.path),
            "type": kind_of(status.st_mode),
            "size": status.st_size,
            "mtime": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "mode": f"{stat.S_IMODE(status.st_mode):04o}",
            "target": self.target,
        }


def _listed(
    location: Location, entries: list[_Entry], omitted: int, *, complete: bool = True
) -> dict[str, Any]:
    return {
        "path": location.relative,
        "entries": [entry.as_dict() for entry in entries],
        "truncated": omitted > 0 or not complete,
        "omitted": omitted,
        "complete": complete,
    }


def _rules_above(workspace: Workspace, location: Location) -> IgnoreRules:
    """The rules of every folder on the way, without the one that is listed."""
    rules = IgnoreRules()
    for count in range(len(location.names)):
        fd = workspace.open(Location(location.names[:count]), os.O_PATH | os.O_DIRECTORY)
        try:
            rules = rules.below(fd, count)
        finally:
            os.close(fd)
    return rules


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder to look into. `names` are counted from the one that is listed."""

    names: tuple[str, ...]
    rules: IgnoreRules | None


class _Tree:
    """Walks below one folder; each level shares what is left of the budget fairly."""

    def __init__(
        self, fd: int, location: Location, include_hidden: bool, rules: IgnoreRules | None
    ) -> None:
        self._fd = fd
        self._location = location
        self._include_hidden = include_hidden
        self._level = [_Folder((), rules)]
        self._walked = 0
        self.complete = True

    def entries(self, depth: int, limit: int) -> tuple[list[_Entry], int]:
        """The entries that fit into `limit`, and how many were found beside them."""
        shown: list[_Entry] = []
        omitted = 0
        for _ in range(depth):
            folders, self._level = self._level, []
            groups = [self._scan(folder) for folder in folders]
            shares = _shares([len(group) for group in groups], limit - len(shown))
            for group, share in zip(groups, shares, strict=True):
                shown += group[:share]
                omitted += len(group) - share
        return shown, omitted

    def _scan(self, folder: _Folder) -> list[_Entry]:
        fd = _open_below(self._fd, folder.names)
        if fd is None:
            return []
        try:
            rules = folder.rules
            if rules is not None:
                rules = rules.below(fd, len(self._location.names) + len(folder.names))
            return list(self._visible(fd, folder, rules))
        finally:
            os.close(fd)

    def _visible(self, fd: int, folder: _Folder, rules: IgnoreRules | None) -> Iterator[_Entry]:
        for name in self._names(fd):
            if name.startswith(".") and not self._include_hidden:
                continue
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue  # it vanished while the folder was read
            names = (*folder.names, name)
            is_folder = stat.S_ISDIR(status.st_mode)
            whole = (*self._location.names, *names)
            if rules is not None and rules.ignores(whole, is_folder=is_folder):
                continue
            if is_folder:
                self._level.append(_Folder(names, rules))
            is_link = stat.S_ISLNK(status.st_mode)
            yield _Entry("/".join(whole), status, _target(fd, name) if is_link else None)

    def _names(self, fd: int) -> list[str]:
        """The sorted names of a folder, as many as the budget of the whole walk allows."""
        with os.scandir(fd) as entries:
            names = [entry.name for entry in islice(entries, MAX_WALKED - self._walked + 1)]
        self._walked += len(names)
        if self._walked > MAX_WALKED:
            self._walked = MAX_WALKED
            self.complete = False
        return sorted(names)


def _target(fd: int, name: str) -> str | None:
    try:
        return printable(os.readlink(name, dir_fd=fd))
    except OSError:
        return None  # replaced by something else meanwhile


def _shares(wanted: list[int], budget: int) -> list[int]:
    """How much each gets, so that the small ones get all and the large ones share the rest."""
    shares = [0] * len(wanted)
    left = len(wanted)
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        shares[index] = min(wanted[index], budget // left)
        budget -= shares[index]
        left -= 1
    return shares


def _open_below(fd: int, names: tuple[str, ...]) -> int | None:
    """The folder, or None when it is gone, not ours to read, or too deep to be named."""
    path = "/".join(names)
    if len(os.fsencode(path)) >= MAX_PATH_BYTES:
        return None
    try:
        return open_in_folder(fd, path or ".", _FOLDER)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None


def printable(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 appear as `\\xNN`."""
    if name.isascii():
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def glob(
    context: ToolContext, *, pattern: str, path: str = ".", limit: int = 200
) -> dict[str, Any]:
    """Finds files by the pattern of their path; see `GlobResult`."""
    patterns = compile_glob(pattern)
    workspace = context.host.service(Workspace)
    location = workspace.locate(path)
    with path_errors(path):
        fd = workspace.open(location, _FOLDER)
        try:
            found, complete = _search(fd, patterns)
        finally:
            os.close(fd)
    found.sort(key=lambda one: (-one[0], one[1]))
    prefix = location.names
    return {
        "paths": [printable("/".join((*prefix, *names))) for _, names in found[:limit]],
        "total": len(found),
        "truncated": len(found) > limit or not complete,
        "complete": complete,
    }


Found = tuple[int, tuple[str, ...]]


def _search(fd: int, patterns: tuple[PathPattern, ...]) -> tuple[list[Found], bool]:
    """The files that match, with their times, and whether the whole tree was looked at."""
    found: list[Found] = []
    walked = 0
    level: list[tuple[tuple[str, ...], tuple[State, ...]]] = [
        ((), tuple(pattern.start() for pattern in patterns))
    ]
    while level:
        following: list[tuple[tuple[str, ...], tuple[State, ...]]] = []
        for names, states in level:
            for entry in _scanned(fd, names):
                walked += 1
                if walked > MAX_WALKED:
                    return found, False
                after = tuple(
                    pattern.step(state, entry.name)
                    for pattern, state in zip(patterns, states, strict=True)
                )
                if not any(after):
                    continue
                path = (*names, entry.name)
                if entry.is_dir(follow_symlinks=False):
                    following.append((path, after))
                elif any(p.accepts(s) for p, s in zip(patterns, after, strict=True)):
                    found.append((_time_of(entry), path))
        level = following
    return found, True


def _scanned(fd: int, names: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    folder = _open_below(fd, names)
    if folder is None:
        return
    try:
        with os.scandir(folder) as entries:
            yield from entries
    finally:
        os.close(folder)


def _time_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except OSError:
        return 0  # it vanished while the folder was read
