"""Small files between the server and the shells: scripts, input, FIFOs.

The folder is the agent's. So nothing in it is trusted: files are made exclusively, links are not
followed, and what was opened is looked at again.
"""

import os
import stat
from pathlib import Path

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError

_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch:
    """Makes files that belong to the agent's user and no one else can read."""

    def __init__(self, host: Host) -> None:
        self.folder = host.spool
        self._user = host.identity

    def write(self, path: Path, text: str) -> None:
        """Makes a file with a text."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600), "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            self._give(file.fileno())

    def fifo(self, path: Path) -> int:
        """Makes a FIFO and opens its reading end, so that a writer need not wait for us."""
        os.mkfifo(path, 0o600)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _SAFE)
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.close(fd)
            raise ToolError(ErrorCode.INTERNAL, f"{path} is no longer the FIFO that was made")
        self._give(fd)
        return fd

    def _give(self, fd: int) -> None:
        # In a container the server already makes files as the agent; elsewhere it must hand over.
        if self._user is not None and os.fstat(fd).st_uid != self._user.uid:
            os.fchown(fd, self._user.uid, self._user.gid)
