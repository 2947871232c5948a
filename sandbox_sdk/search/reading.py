"""Reads what a provider answered: JSON whose form nobody vouches for."""

from collections.abc import Iterator
from typing import Any

MAX_ITEMS = 200


def items(answer: Any, *path: str) -> Iterator[dict[str, Any]]:
    """The objects of the list at a path; none where there is no list."""
    for step in path:
        answer = answer.get(step) if isinstance(answer, dict) else None
    for each in answer[:MAX_ITEMS] if isinstance(answer, list) else ():
        if isinstance(each, dict):
            yield each


def text(item: dict[str, Any], name: str) -> str:
    """The text of a field; empty where it has none."""
    value = item.get(name)
    return value if isinstance(value, str) else ""
