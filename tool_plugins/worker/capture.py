"""What a worker and the programs it starts print, as the server reads it."""

import asyncio
import os
from collections.abc import Callable

READ_BYTES = 64 * 1024
# Together as much as a pipe of somebody without privileges can hold.
LAST_READS = 16

Output = Callable[[bytes], None]


class Capture:
    """Reads one pipe as long as its worker lives, so that nobody who prints ever waits for long.

    What comes while there is no `sink` belongs to no call, and is lost. Owns the descriptor.
    """

    _buffer = memoryview(bytearray(READ_BYTES))

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)
        self.sink: Output | None = None

    def drain(self) -> None:
        """Reads what is there now, but does not wait for those who keep printing."""
        for _ in range(LAST_READS):
            if self._fd < 0 or self._read() < READ_BYTES:
                return

    def close(self) -> None:
        """Lets go of the pipe; who is left to print gets SIGPIPE."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> int:
        try:
            count = os.readv(self._fd, [self._buffer])
        except BlockingIOError:
            return 0
        if count == 0:
            self.close()
        elif self.sink is not None:
            self.sink(bytes(self._buffer[:count]))
        return count
