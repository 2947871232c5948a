"""Explains a failed match: the block of the file that is most like what was looked for.

It only ever explains. Nothing is written on the strength of a likeness.
"""

import difflib
from collections import Counter
from dataclasses import dataclass

MAX_LINES = 20_000
MAX_COMPARED = 12
MAX_BLOCK_CHARACTERS = 2000
MIN_SIMILARITY = 0.4


@dataclass(frozen=True, slots=True)
class Nearest:
    """The closest block: its text, its first line's number and its likeness from 0 to 1."""

    closest: str
    line: int
    similarity: float
    only_whitespace: bool


def nearest_block(text: str, wanted: str) -> Nearest | None:
    """The block of as many lines as `wanted` that is most like it; None if nothing is."""
    lines = text.split("\n")[:MAX_LINES]
    lines = [line.removesuffix("\r") for line in lines]
    target = [line.removesuffix("\r") for line in wanted.strip("\n").split("\n")]
    goal = "\n".join(target)[: 2 * MAX_BLOCK_CHARACTERS]
    best: Nearest | None = None
    for start in _candidates(lines, target):
        block = "\n".join(lines[start : start + len(target)])[: 2 * MAX_BLOCK_CHARACTERS]
        ratio = difflib.SequenceMatcher(None, block, goal, autojunk=False).ratio()
        if ratio >= MIN_SIMILARITY and (best is None or ratio > best.similarity):
            same = "".join(block.split()) == "".join(goal.split())
            best = Nearest(block[:MAX_BLOCK_CHARACTERS], start + 1, round(ratio, 3), same)
    return best


def _candidates(lines: list[str], target: list[str]) -> list[int]:
    """The starts worth a real comparison: those that share the most words with the target."""
    if not lines:
        return []
    goal = Counter(word for line in target for word in _words(line))
    size = min(len(target), len(lines))
    scores = [sum((_bag(line) & goal).values()) for line in lines]
    window = sum(scores[:size])
    ranked = [(window, 0)]
    for start in range(1, len(lines) - size + 1):
        window += scores[start + size - 1] - scores[start - 1]
        ranked.append((window, -start))
    ranked.sort(reverse=True)
    return [-start for _, start in ranked[:MAX_COMPARED]]


def _bag(line: str) -> Counter[str]:
    return Counter(_words(line))


def _words(line: str) -> list[str]:
    """Pieces to compare quickly: words, and pairs of characters so that typos still count."""
    words = line[:500].split()
    return words + [word[i : i + 2] for word in words for i in range(len(word) - 1)]
