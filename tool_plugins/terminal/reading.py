"""Reading on in the output of a process, from a cursor, and waiting for more of it."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from .output import Output
from .pattern import Pattern, PatternError
from .process import Process
from .text import clean, decode, first_chars, without_cut_char

# Output that pauses for so long is taken for an answer.
QUIET_S = 0.2
# Changes within this time are looked at together.
GATHER_S = 0.02
# How much of the newest output is searched at a time, and how far back a match may begin.
SEARCH_BYTES = 64 * 1024
OVERLAP_BYTES = 2048
_CURSOR = re.compile(r"(\d{1,15})\.(\d{1,15})")

Cursor = tuple[int, int]


def parse_cursor(text: str) -> Cursor:
    """The places in both streams that a cursor stands for.

    Raises:
        ToolError: it is none (INVALID_ARGUMENT).
    """
    if text == "0":
        return 0, 0
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"since={text!r} is not a cursor",
            hint="pass next_cursor of an earlier result, or '0' for the beginning",
        )
    return int(found[1]), int(found[2])


async def read_process(
    process: Process, *, since: str | None, wait_s: float, wait_for: str | None, max_chars: int
) -> dict[str, Any]:
    """The output after a cursor, or what was not shown yet; first waits as it is told."""
    cursor = process.seen if since is None else parse_cursor(since)
    if wait_for is not None:
        matched = await _wait_for(process, cursor, _compiled(wait_for), wait_s)
    else:
        matched = None
        await _wait_for_more(process, cursor, wait_s)
    return _slice(process, cursor, max_chars) | {"matched": matched}


def _compiled(source: str) -> Pattern:
    try:
        return Pattern(source)
    except PatternError as exc:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"wait_for: {exc}",
            hint="use a plain regular expression, or \\-escape text that is meant literally",
        ) from exc


async def _wait_for_more(process: Process, cursor: Cursor, wait_s: float) -> None:
    """Waits for output and then for a pause in it, for the end, or for the time to pass."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while process.live and (left := deadline - loop.time()) > 0:
        size = process.size
        news = size[0] > cursor[0] or size[1] > cursor[1]
        await process.wait_change(min(left, QUIET_S) if news else left)
        if news and process.size == size:
            return


async def _wait_for(process: Process, cursor: Cursor, pattern: Pattern, wait_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    searches = [_Search(process.stdout, cursor[0]), _Search(process.stderr, cursor[1])]
    while True:
        if any([search.advance(pattern) for search in searches]):
            return True
        left = deadline - loop.time()
        if left <= 0 or not process.live:
            return False
        await process.wait_change(left)
        await asyncio.sleep(min(GATHER_S, max(0.0, left)))


@dataclass(slots=True)
class _Search:
    output: Output
    at: int
    looked: int = -1

    def advance(self, pattern: Pattern) -> bool:
        """Looks at what is new. Of a flood, only at its end."""
        if self.output.total == self.looked:
            return False
        start = max(0, self.at, self.output.total - SEARCH_BYTES)
        data = self.output.span(start, self.output.total)
        # The next look begins a little before the end: a match may be only half there.
        self.looked = self.output.total
        self.at = max(start, self.output.total - OVERLAP_BYTES)
        return pattern.search(clean(decode(data)))


def _slice(process: Process, cursor: Cursor, max_chars: int) -> dict[str, Any]:
    stderr_chars = max_chars // 2 if process.stdout.total > cursor[0] else max_chars
    err = _take(process.stderr, cursor[1], stderr_chars, whole=not process.live)
    out = _take(process.stdout, cursor[0], max_chars - len(err.text), whole=not process.live)
    process.seen = (out.end, err.end)
    return {
        **process.state(),
        "stdout": out.text,
        "stderr": err.text,
        "next_cursor": f"{out.end}.{err.end}",
        "more": out.end < process.stdout.total or err.end < process.stderr.total,
        "omitted": out.lost + err.lost,
    }


@dataclass(frozen=True, slots=True)
class _Taken:
    text: str
    end: int
    lost: int


def _take(output: Output, offset: int, chars: int, *, whole: bool) -> _Taken:
    offset = min(offset, output.total)
    start, data = output.read(offset, 4 * chars)
    data = first_chars(data, chars)
    at_end = start + len(data) == output.total
    if not (whole and at_end):
        data = without_cut_char(data) or data
    text = clean(decode(data))
    return _Taken(text, start + len(data), start - offset)
