"""Measures a text: how long it is, how hard to read, which words it repeats."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$)")
WORDS_PER_MINUTE = 230


@dataclass
class Statistics:
    """What was counted. `reading_minutes` is for an adult who reads silently."""

    characters: int
    words: int
    sentences: int
    words_per_sentence: float
    reading_minutes: float


def measure(text: str) -> Statistics:
    """Counts characters, words and sentences of a text.

    Args:
        text: The text itself, in any language that has blanks between words.
    """
    words = len(WORD.findall(text))
    sentences = max(1, len(SENTENCE_END.findall(text.strip()))) if words else 0
    return Statistics(
        characters=len(text),
        words=words,
        sentences=sentences,
        words_per_sentence=round(words / sentences, 1) if sentences else 0.0,
        reading_minutes=round(words / WORDS_PER_MINUTE, 1),
    )


def frequent_words(
    text: str,
    count: Annotated[int, Field(ge=1, le=100)] = 10,
    *,
    min_letters: Annotated[int, Field(ge=1)] = 4,
    order: Literal["count", "alphabet"] = "count",
) -> dict[str, int]:
    """The words that a text repeats most, and how often.

    Args:
        text: The text itself.
        count: How many words to give.
        min_letters: Shorter words are left out.
        order: Whether the most frequent word comes first, or the first of the alphabet.
    """
    found = Counter(each.lower() for each in WORD.findall(text) if len(each) >= min_letters)
    most = found.most_common(count)
    return dict(sorted(most) if order == "alphabet" else most)
