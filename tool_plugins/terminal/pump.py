"""Moves bytes from a pipe, a FIFO or a terminal into an `Output`, as fast as they come."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable

from .output import Output
from .text import LiveText

READ_BYTES = 256 * 1024
PIPE_BYTES = 65536
# Reads in one turn of the event loop; more would starve the other streams.
READS_PER_TURN = 4

LiveSink = Callable[[str], None]


class Pump:
    """Reads one descriptor until its end. Owns the descriptor."""

    _buffer = memoryview(bytearray(READ_BYTES))

    def __init__(self, fd: int, output: Output, on_change: Callable[[], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._output = output
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._live: LiveText | None = None
        self._sink: LiveSink | None = None
        self._widened = False
        self._loop.add_reader(fd, self._readable)

    @property
    def open(self) -> bool:
        """Whether more can come."""
        return self._fd >= 0

    def follow(self, sink: LiveSink | None) -> None:
        """Sends clean text of what comes from now on to `sink`; None ends that."""
        if sink is None and self._sink is not None and self._live is not None:
            self._send(b"", last=True)
        self._live = LiveText() if sink else None
        self._sink = sink

    def drain(self) -> None:
        """Reads what is there now."""
        while self._fd >= 0 and self._read():
            pass

    def close(self) -> None:
        """Lets go of the descriptor; a writer that is left gets SIGPIPE."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
            self.follow(None)
            self._on_change()

    def _readable(self) -> None:
        for _ in range(READS_PER_TURN):
            if self._fd < 0 or not self._read():
                return

    def _read(self) -> bool:
        try:
            count = os.readv(self._fd, [self._buffer])
        except BlockingIOError:
            return False
        except OSError:
            # A terminal nobody has open any more answers EIO.
            count = 0
        if count == 0:
            self.close()
            return False
        self._output.feed(self._buffer[:count])
        if self._sink is not None:
            self._send(bytes(self._buffer[:count]))
        self._on_change()
        if count >= PIPE_BYTES and not self._widened:
            self._widen()
        return True

    def _send(self, data: bytes, *, last: bool = False) -> None:
        if self._live is not None and self._sink is not None:
            text = self._live.feed(data, last=last)
            if text:
                self._sink(text)

    def _widen(self) -> None:
        self._widened = True
        # A wish only: the kernel bounds what one user's pipes may hold.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, READ_BYTES)
