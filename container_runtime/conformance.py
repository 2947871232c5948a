"""Measures an engine by what every engine must hold.

`await run_conformance(engine)` tries each check in containers of its own and removes them again.
Checks that need isolation do not apply to an engine with `isolates` False. Shipped with the
package, so that an engine written elsewhere is measured by the same list.
"""

import asyncio
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal

from tool_plugins.errors import SandboxError

from .checks import CHECKS, Broken, Subject
from .engine import Engine

Outcome = Literal["passed", "failed", "not_applicable", "skipped"]

CHECK_TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check. `detail` says why it failed."""

    name: str
    outcome: Outcome
    detail: str = ""
    seconds: float = 0.0


async def run_conformance(engine: Engine, *, skip: Collection[str] = ()) -> list[CheckResult]:
    """Runs every check but those in `skip` against a connected engine, one after the other.

    Raises:
        ValueError: `skip` names a check that does not exist.
    """
    if unknown := set(skip) - set(CHECKS):
        raise ValueError(f"no such checks: {', '.join(sorted(unknown))}")
    results = []
    for name in CHECKS:
        if name in skip:
            results.append(CheckResult(name, "skipped"))
        else:
            results.append(await run_check(engine, name))
    return results


async def run_check(engine: Engine, name: str) -> CheckResult:
    """Runs one check and removes what it made, whatever came of it."""
    wanted = CHECKS[name]
    if wanted.isolating and not engine.isolates:
        return CheckResult(name, "not_applicable")
    started = time.monotonic()
    subject = Subject(engine)
    detail = ""
    try:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_clear, subject)
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await wanted.run(subject)
    except (Broken, SandboxError, OSError) as error:
        detail = f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - started
    return CheckResult(name, "failed" if detail else "passed", detail, seconds)


async def _clear(subject: Subject) -> None:
    for name in subject.names:
        await subject.engine.remove(name)
