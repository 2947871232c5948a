"""Waits for what no event tells of."""

import asyncio
from collections.abc import Callable

LOOKS = 100
PAUSE_S = 0.1


async def until(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold within `LOOKS` looks."""
    for _ in range(LOOKS):
        if holds():
            return True
        await asyncio.sleep(PAUSE_S)
    return holds()
