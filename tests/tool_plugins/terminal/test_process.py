"""The record of a command, apart from how it is run."""

import asyncio
from pathlib import Path

from tool_plugins.terminal.counters import Counters
from tool_plugins.terminal.output import Spool
from tool_plugins.terminal.process import Process


class SlowToDie(Process):
    """Its command ends at once when it is told to, but what came of it takes until `gone`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            id="p1", command="x", session="main", spool=Spool(folder), counters=Counters(folder)
        )
        self.gone = asyncio.Event()

    def members(self) -> set[int]:
        return set()

    async def _end(self, grace_signal: int | None, grace_s: float) -> set[int]:
        self._finish(0)
        await self.gone.wait()
        return set()


async def test_the_end_is_told_when_everything_that_came_of_it_is_gone(tmp_path: Path):
    process = SlowToDie(tmp_path)
    waiting = asyncio.ensure_future(process.wait_finished(10))
    ending = asyncio.ensure_future(process.end("killed"))
    await asyncio.wait_for(process.finished.wait(), 10)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()

    process.gone.set()

    assert await waiting
    await ending
    assert process.status == "killed"


async def test_waiting_ends_with_its_time(tmp_path: Path):
    assert not await SlowToDie(tmp_path).wait_finished(0.01)
