"""Small files between the server and the shells: scripts, input, FIFOs.

The folders are the agent's. So nothing in them is trusted: files are made exclusively, links are
not followed, and what was opened is looked at again. When the agent has filled one, the next is
used: a full disk must not take away the shell that could empty it.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError

_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Made = TypeVar("Made")


class Scratch:
    """Makes files that belong to the agent's user and no one else can read."""

    def __init__(self, host: Host) -> None:
        self.folder = host.spool
        self._folders = tuple(map(str, (host.spool, host.tmp, host.workspace)))
        self._user = host.identity

    def write(self, name: str, text: str) -> str:
        """Makes a file with a text; gives its path."""
        data = text.encode("utf-8", "surrogateescape")
        return self._make(name, lambda path: self._write(path, data))

    def fifo(self, name: str) -> tuple[str, int]:
        """Makes a FIFO and opens its reading end, so that a writer need not wait for us."""
        return self._make(name, self._fifo)

    def _make(self, name: str, make: Callable[[str], Made]) -> Made:
        *first, last = self._folders
        for folder in first:
            try:
                return make(f"{folder}/{name}")
            except OSError as exc:
                if exc.errno not in _FULL:
                    raise
        return make(f"{last}/.{name}")

    def _write(self, path: str, data: bytes) -> str:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                self._give(fd)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            raise
        return path

    def _fifo(self, path: str) -> tuple[str, int]:
        os.mkfifo(path, 0o600)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _SAFE)
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise ToolError(ErrorCode.INTERNAL, f"{path} is no longer the FIFO that was made")
        self._give(fd)
        return path, fd

    def _give(self, fd: int) -> None:
        # In a container the server already makes files as the agent; elsewhere it must hand over.
        if self._user is not None and os.fstat(fd).st_uid != self._user.uid:
            os.fchown(fd, self._user.uid, self._user.gid)
