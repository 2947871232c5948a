"""Budget of many busy sandboxes in one process."""

import asyncio
import time
from contextlib import AsyncExitStack

from sandbox_sdk import SandboxGroup

from .budget import Row, milliseconds
from .measure import Sample, timed

SANDBOXES = 8
CALLERS = 2  # per sandbox, so that one waits while the other is answered
SECONDS = 5.0
READS_PER_SECOND = 1500


async def rows(group: SandboxGroup) -> list[Row]:
    """Reads small files from eight sandboxes at once, as fast as they answer."""
    async with AsyncExitStack() as stack:
        sandboxes = [
            await stack.enter_async_context(await group.create_sandbox()) for _ in range(SANDBOXES)
        ]
        for sandbox in sandboxes:
            await sandbox.filesystem.write("hello.txt", "hello\n")
            await sandbox.filesystem.read("hello.txt")
        began = time.perf_counter()
        results = await asyncio.gather(
            *(_reads(sandbox, began + SECONDS) for sandbox in sandboxes for _ in range(CALLERS))
        )
        elapsed = time.perf_counter() - began
    sample = Sample([value for result in results for value in result])
    rate = len(sample.times) / elapsed
    missing = (f"{(1 - rate / READS_PER_SECOND) * 100:.0f} % too few",)
    return [
        Row(
            what=f"{SANDBOXES} busy sandboxes: small reads",
            p50=milliseconds(sample.p50),
            p99=milliseconds(sample.p99),
            against="-",
            ratio=f"{rate:.0f} per second",
            budget=f">= {READS_PER_SECOND} per second",
            reasons=missing if rate < READS_PER_SECOND else (),
        )
    ]


async def _reads(sandbox, until: float) -> list[float]:
    times: list[float] = []
    while time.perf_counter() < until:
        times.append(await timed(lambda: sandbox.filesystem.read("hello.txt")))
    return times
