"""Unified diffs that stay small and cheap whatever the files are."""

import difflib

MAX_DIFF_CHARACTERS = 64 * 1024
MAX_CHANGED_LINES = 3000
CONTEXT_LINES = 3


def unified_diff(path: str, old: str, new: str) -> tuple[str, bool]:
    """The diff from `old` to `new`, and whether it was cut.

    Lines end at `\\n` only. What both sides share at their beginning and end is set aside first,
    so that a small change in a large file costs little.
    """
    before, after = old.split("\n"), new.split("\n")
    head = _shared(before, after)
    tail = _shared(before[head:][::-1], after[head:][::-1])
    start = max(0, head - CONTEXT_LINES)
    old_end = min(len(before), len(before) - tail + CONTEXT_LINES)
    new_end = min(len(after), len(after) - tail + CONTEXT_LINES)
    old_part, new_part = _marked(before, start, old_end), _marked(after, start, new_end)
    if max(len(old_part), len(new_part)) > MAX_CHANGED_LINES:
        return (
            f"--- {path}\n+++ {path}\n@@ diff left out: about {len(old_part)} lines changed, "
            f"from line {head + 1} @@\n",
            True,
        )
    lines = difflib.unified_diff(old_part, new_part, path, path, lineterm="", n=CONTEXT_LINES)
    return _joined([_shifted(line, start) for line in lines])


def _shared(left: list[str], right: list[str]) -> int:
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count


def _marked(lines: list[str], start: int, end: int) -> list[str]:
    """The lines of a part; a last line without a line end says so, as diff does."""
    part = lines[start:end]
    if end == len(lines) and part:
        last = part.pop()
        if last:
            part.append(f"{last}\n\\ No newline at end of file")
    return part


def _shifted(line: str, start: int) -> str:
    """A hunk header with the line numbers of the whole file."""
    if not start or not line.startswith("@@ "):
        return line
    ranges = []
    for side in line.split()[1:3]:
        first, _, count = side[1:].partition(",")
        ranges.append(f"{side[0]}{int(first) + start}{',' + count if count else ''}")
    return f"@@ {ranges[0]} {ranges[1]} @@"


def _joined(lines: list[str]) -> tuple[str, bool]:
    size = 0
    for index, line in enumerate(lines):
        size += len(line) + 1
        if size > MAX_DIFF_CHARACTERS:
            rest = len(lines) - index
            return "\n".join([*lines[:index], f"… {rest} more lines of diff left out", ""]), True
    return "".join(f"{line}\n" for line in lines), False
