"""Budgets of custom tools: calling one that is warm, and turning a file into tools."""

import asyncio
from itertools import count

from sandbox_sdk import Sandbox, SandboxGroup

from .baseline import PlainContainer, image_of, plain_container
from .budget import Row, absolute, fraction
from .measure import Sample, Step, timed

CALLS = 600
CALL_BUDGET = 1.5
REGISTRATIONS = 20
FIRST_REGISTRATIONS = 8
REGISTER_BUDGET_MS = 300.0
INTERPRETERS_BUDGET = 5
# Nobody writes the next version of a file any faster; the next process gets ready meanwhile.
PAUSE_S = 1.0
BARE = ("python3", "-c", "pass")
SOURCE = '''
def add(a: int, b: int) -> int:
    """Adds two numbers.

    Args:
        a: The one.
        b: The other.
    """
    return a + b
'''


async def rows(group: SandboxGroup) -> list[Row]:
    """A warm call against a read, and a registration against starting a bare interpreter."""
    async with await group.create_sandbox() as sandbox:
        await sandbox.filesystem.write("hello.txt", "hello\n")
        await sandbox.add_tools(SOURCE, namespace="sums")
        found = [await _call(sandbox)]
        async with plain_container(await image_of(sandbox.id)) as plain:
            found += await _registrations(sandbox, plain)
    return [*found, await _first(group)]


async def _call(sandbox: Sandbox) -> Row:
    call, read = await _in_turns(
        CALLS,
        lambda: sandbox.tools.sums.add(1, 2),
        lambda: sandbox.filesystem.read("hello.txt"),
    )
    return fraction(
        "a custom tool that is warm", call, read, "SDK: read a small file", at_most=CALL_BUDGET
    )


async def _registrations(sandbox: Sandbox, plain: PlainContainer) -> list[Row]:
    versions = count()

    async def register() -> None:
        await sandbox.add_tools(f"{SOURCE}\n# {next(versions)}\n", namespace="sums")

    registered, outside, inside = await _in_turns(
        REGISTRATIONS,
        register,
        lambda: plain.execute(*BARE),
        lambda: sandbox.terminal.run(" ".join(BARE)),
        pause_s=PAUSE_S,
    )
    what = "a new version of a file of tools"
    against = "docker exec python3 -c pass"
    return [
        absolute(
            what, registered, at_most_ms=REGISTER_BUDGET_MS, baseline=outside, against=against
        ),
        fraction(what, registered, outside, against, at_most=INTERPRETERS_BUDGET),
        fraction(
            what, registered, inside, "terminal: python3 -c pass", at_most=INTERPRETERS_BUDGET
        ),
    ]


async def _first(group: SandboxGroup) -> Row:
    """In a sandbox that has run no Python before."""
    times: list[float] = []
    for _ in range(FIRST_REGISTRATIONS):
        async with await group.create_sandbox() as sandbox:
            await sandbox.terminal.run("true")
            await asyncio.sleep(PAUSE_S)
            times.append(await timed(lambda: sandbox.add_tools(SOURCE, namespace="sums")))
    return absolute("the first file of a sandbox", Sample(times[1:]), at_most_ms=REGISTER_BUDGET_MS)


async def _in_turns(rounds: int, *steps: Step, pause_s: float = 0.0) -> tuple[Sample, ...]:
    """The times of each step, one of each kind in every round. The first round does not count."""
    times: list[list[float]] = [[] for _ in steps]
    for round_ in range(rounds + 1):
        await asyncio.sleep(pause_s)
        for step, taken in zip(steps, times, strict=True):
            milliseconds = await timed(step)
            if round_:
                taken.append(milliseconds)
    return tuple(Sample(taken) for taken in times)
