"""A budget, what was measured against it, and the table of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from .measure import Sample

P99_FACTOR = 3
COLUMNS = ("what", "p50", "p99", "against", "ratio", "budget", "verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `reasons` says why a budget does not hold; none means it does."""

    what: str
    p50: str
    p99: str
    against: str
    ratio: str
    budget: str
    reasons: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the budget was kept."""
        return not self.reasons

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of its columns."""
        verdict = "holds" if self.holds else f"OVER: {', '.join(self.reasons)}"
        return (self.what, self.p50, self.p99, self.against, self.ratio, self.budget, verdict)


def milliseconds(value: float) -> str:
    """A time for people."""
    return f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def fraction(what: str, subject: Sample, baseline: Sample, against: str, *, at_most: float) -> Row:
    """A row whose subject may take at most that fraction of its baseline, at p50."""
    ratio = subject.p50 / baseline.p50
    return Row(
        what=what,
        p50=milliseconds(subject.p50),
        p99=milliseconds(subject.p99),
        against=f"{against}: {milliseconds(baseline.p50)}",
        ratio=_ratio(ratio),
        budget=f"<= {_ratio(at_most)}",
        reasons=(*_over(ratio, at_most), *_spread(subject)),
    )


def absolute(
    what: str,
    subject: Sample,
    *,
    at_most_ms: float,
    baseline: Sample | None = None,
    against: str = "",
) -> Row:
    """A row whose subject may take at most so long, at p50.

    A baseline takes no part in the verdict: it tells a slow subject from a slow machine.
    """
    return Row(
        what=what,
        p50=milliseconds(subject.p50),
        p99=milliseconds(subject.p99),
        against=f"{against}: {milliseconds(baseline.p50)}" if baseline else "-",
        ratio=_ratio(subject.p50 / baseline.p50) if baseline else "-",
        budget=f"<= {milliseconds(at_most_ms)}",
        reasons=(*_over(subject.p50, at_most_ms), *_spread(subject)),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned text."""
    lines = [COLUMNS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    texts = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
             for line in lines]  # fmt: skip
    texts.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text.rstrip() for text in texts)


def _ratio(value: float) -> str:
    return f"1/{1 / value:.0f}" if value < 0.5 else f"{value:.2f} x"


def _over(value: float, limit: float) -> tuple[str, ...]:
    return (f"{(value / limit - 1) * 100:.0f} % too slow",) if value > limit else ()


def _spread(sample: Sample) -> tuple[str, ...]:
    factor = sample.p99 / sample.p50
    return (f"p99 is {factor:.1f} x p50, not {P99_FACTOR}",) if factor > P99_FACTOR else ()
