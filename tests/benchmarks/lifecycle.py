"""Budgets of beginning and ending sandboxes."""

import asyncio
import time

from sandbox_sdk import SandboxGroup
from sandbox_sdk.models import ComputeResources

from .baseline import docker, image_of, start_container
from .budget import Row, absolute, fraction
from .measure import Sample, in_turns, timed

ROUNDS = 12
COLD_BUDGET = 1.5
END_BUDGET_MS = 50
AT_ONCE = 50
SMALL = ComputeResources(cpus=0.5, memory_mb=128, disk_mb=32, tmp_mb=8)


async def rows(group: SandboxGroup) -> list[Row]:
    """Cold start, end, and many at once."""
    ends: list[float] = []

    async def cold() -> None:
        sandbox = await group.create_sandbox()
        await sandbox.start()
        await sandbox.filesystem.list(".")
        started.append(sandbox)

    async def plain() -> None:
        containers.append(await start_container(image))

    started: list = []
    containers: list[str] = []
    async with await group.create_sandbox() as first:
        image = await image_of(first.id)
    try:
        subject, baseline = await in_turns(cold, plain, rounds=ROUNDS)
    finally:
        ends += [await timed(sandbox.end) for sandbox in started]
        await docker("rm", "--force", *containers)
    return [
        fraction(
            "cold sandbox to its first action",
            subject,
            baseline,
            "docker create + start",
            at_most=COLD_BUDGET,
        ),
        absolute("end a sandbox: returns", Sample(ends), at_most_ms=END_BUDGET_MS),
        await _many_at_once(group),
    ]


async def _many_at_once(group: SandboxGroup) -> Row:
    async def one() -> None:
        async with await group.create_sandbox(compute_resources=SMALL) as sandbox:
            await sandbox.filesystem.list(".")

    began = time.perf_counter()
    outcomes = await asyncio.gather(*(one() for _ in range(AT_ONCE)), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    return Row(
        what=f"{AT_ONCE} sandboxes made and used at once",
        p50=f"{time.perf_counter() - began:.1f} s in all",
        p99="-",
        against="-",
        ratio="-",
        budget="0 failures",
        reasons=(f"{len(failures)} failures, first {failures[0]!r}",) if failures else (),
    )
