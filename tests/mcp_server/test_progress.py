"""Progress: bounded in rate and size, always growing, never silent."""

import asyncio

from mcp_server.progress import MAX_MESSAGE_CHARS, ProgressReporter
from tool_plugins.contract import OutputEvent, ProgressEvent


class Heard:
    """What a client heard."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.messages: list[str | None] = []
        self.news = asyncio.Event()

    async def __call__(self, number: float, _total: float | None, message: str | None) -> None:
        self.numbers.append(number)
        self.messages.append(message)
        self.news.set()

    async def wait(self) -> None:
        """Waits for the next notification."""
        async with asyncio.timeout(5):
            await self.news.wait()
        self.news.clear()


async def test_output_that_comes_at_once_goes_out_together() -> None:
    heard = Heard()
    reporter = ProgressReporter(heard)
    for number in range(1000):
        reporter.add(OutputEvent(event="stdout", text=f"{number} "))
    await reporter.flush()
    assert len(heard.messages) == 1
    assert heard.messages[0] == "".join(f"{number} " for number in range(1000))


async def test_numbers_grow_even_while_the_clock_stands_still() -> None:
    heard = Heard()
    reporter = ProgressReporter(heard, clock=lambda: 7.0)
    for _ in range(50):
        reporter.say("x")
        await reporter.flush()
    assert heard.numbers == sorted(set(heard.numbers))


async def test_a_flood_loses_its_middle_and_says_how_much() -> None:
    heard = Heard()
    reporter = ProgressReporter(heard)
    for _ in range(1000):
        reporter.say("y" * 10_000)
    reporter.say("the end")
    await reporter.flush()
    told = "".join(message or "" for message in heard.messages)
    assert told.startswith("[... 99")
    assert told.endswith("the end")
    assert max(len(message or "") for message in heard.messages) <= MAX_MESSAGE_CHARS
    assert len(told) < 3 * MAX_MESSAGE_CHARS


async def test_a_silent_call_gives_signs_of_life() -> None:
    heard = Heard()
    running = asyncio.create_task(ProgressReporter(heard, heartbeat_s=0.01).run())
    await heard.wait()
    await heard.wait()
    running.cancel()
    assert set(heard.messages) == {None}


async def test_a_tools_own_progress_is_told_in_words() -> None:
    heard = Heard()
    reporter = ProgressReporter(heard)
    reporter.add(ProgressEvent(progress=3, total=10, message="files"))
    reporter.add(ProgressEvent(progress=4))
    await reporter.flush()
    assert heard.messages == ["3/10 files\n4\n"]
