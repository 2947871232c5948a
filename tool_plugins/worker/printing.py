"""Standard output and error of a worker whose server reads them: kept in order, and kept at all."""

import ctypes
import fcntl
import io
import os
import sys
from contextlib import suppress

from .channel import LOWEST_CHANNEL_FD

OUTPUTS = (1, 2)


class Printing:
    """Both are the same pipe. Made before anything prints."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self._libc = libc
        self._pipe = fcntl.fcntl(OUTPUTS[0], fcntl.F_DUPFD_CLOEXEC, LOWEST_CHANNEL_FD)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Lines, so that output arrives while it is made, in order with that of children.
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def flush(self) -> None:
        """Hands over what is still in buffers, those of libraries in C too."""
        for stream in (sys.stdout, sys.stderr):
            # Anything may be in their place by now.
            with suppress(Exception):
                stream.flush()
        self._libc.fflush(None)

    def restore(self) -> None:
        """Undoes what a call did to the descriptors, so that the next one prints as usual."""
        with suppress(OSError):
            for fd in OUTPUTS:
                os.dup2(self._pipe, fd)
