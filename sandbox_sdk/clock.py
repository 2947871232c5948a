"""Time as an argument, so that tests can let it pass."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that never jumps, one that other processes share."""

    def monotonic(self) -> float:
        """Seconds that only grow. Decides inside this process."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch. Written to the state table, for others."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    def wall(self) -> float:
        """See `Clock`."""
        return time.time()
