"""A time by which several steps together must be done."""

import asyncio


class Deadline:
    """Counts from now, by the clock of the running loop."""

    def __init__(self, timeout_s: float) -> None:
        self._at = asyncio.get_running_loop().time() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least a moment: what gets it then says that it is over."""
        return max(0.001, self._at - asyncio.get_running_loop().time())
