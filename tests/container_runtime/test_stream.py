"""Live events on their way to one reader: what is gathered, what may be lost, and what may not."""

import asyncio
import json
from typing import Any

from container_runtime.server.stream import MAX_PENDING_CHARS, Outlet


def ask(number: int) -> dict[str, Any]:
    return {"event": "ask", "ask": number, "tool": "terminal.run", "positional": [], "named": {}}


def progress(number: int) -> dict[str, Any]:
    return {"event": "progress", "progress": number, "total": None, "message": ""}


async def read(outlet: Outlet) -> list[dict[str, Any]]:
    outlet.close()
    pieces = [piece async for piece in outlet.lines()]
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


async def test_questions_are_neither_merged_nor_moved():
    outlet = Outlet()
    for event in (ask(0), ask(1), progress(1), progress(2), ask(2), ask(3)):
        outlet.emit(event)
    outlet.emit({"event": "stdout", "text": "a"})
    outlet.emit(ask(4))
    outlet.emit({"event": "stdout", "text": "b"})

    events = await read(outlet)

    assert [event.get("ask", event.get("text", event["event"])) for event in events] == [
        0, 1, "progress", 2, 3, "a", 4, "b",
    ]  # fmt: skip
    assert events[2]["progress"] == 2


async def test_a_flood_that_is_lost_takes_no_question_with_it():
    outlet = Outlet()
    for number in range(10):
        outlet.emit({"event": "stdout", "text": "x" * MAX_PENDING_CHARS})
        outlet.emit(ask(number))
        outlet.emit(progress(number))

    events = await read(outlet)

    assert [event["ask"] for event in events if event["event"] == "ask"] == list(range(10))
    assert "skipped" in events[-1]["text"]


async def test_questions_one_after_the_other_do_not_wait_to_be_gathered():
    outlet, rounds = Outlet(), 100
    outlet.emit(ask(0))
    # Each would take the time in which output is gathered: twice as long together.
    async with asyncio.timeout(2.5):
        async for line in outlet.lines():
            number = json.loads(line)["ask"]
            if number == rounds:
                break
            outlet.emit(ask(number + 1))
