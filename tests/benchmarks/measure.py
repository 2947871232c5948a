"""Takes times in milliseconds, subject and baseline in turns so that both see the same machine."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

# The engine tidies up after a command has returned; that is not the next one's time.
SETTLE_S = 0.1

Step = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sample:
    """Times of one kind of step, in milliseconds."""

    times: Sequence[float]

    @property
    def p50(self) -> float:
        """Half of the steps took no longer."""
        return self.percentile(50)

    @property
    def p99(self) -> float:
        """Ninety-nine in a hundred took no longer; with few steps, the slowest."""
        return self.percentile(99)

    def percentile(self, percent: float) -> float:
        """The nearest-rank percentile."""
        ordered = sorted(self.times)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    def less(self, milliseconds: float) -> "Sample":
        """The same steps without a part that each of them has."""
        return Sample([value - milliseconds for value in self.times])


async def timed(step: Step) -> float:
    """How long the step took, in milliseconds."""
    started = time.perf_counter()
    await step()
    return (time.perf_counter() - started) * 1000


async def repeated(step: Step, *, times: int, warm_up: int = 1) -> Sample:
    """The times of a step done again and again, the first ones left out."""
    for _ in range(warm_up):
        await step()
    return Sample([await timed(step) for _ in range(times)])


async def in_turns(
    subject: Step, baseline: Step, *, rounds: int, per_round: int = 1
) -> tuple[Sample, Sample]:
    """The times of both: `per_round` subjects for each baseline, round after round."""
    await subject()
    await baseline()
    subjects: list[float] = []
    baselines: list[float] = []
    for _ in range(rounds):
        subjects += [await timed(subject) for _ in range(per_round)]
        baselines.append(await timed(baseline))
        await asyncio.sleep(SETTLE_S)
    return Sample(subjects), Sample(baselines)
