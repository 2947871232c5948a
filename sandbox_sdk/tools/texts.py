"""Words and values that come out of a sandbox, before anybody is shown them.

What a text asks of a model cannot be judged here. What it can do by its form alone can: hide from
who reads it, redraw a terminal, or look like the tags, sections and messages that a client builds
its prompt of. So a description is one block of visible text without markup.
"""

import json
import re
from typing import Any

from tool_plugins.invisible import visible
from tool_plugins.terminal.text import clean

MAX_VALUE_CHARS = 2_000
MAX_VALUE_DEPTH = 8

_CONTAINERS = frozenset({dict, list})
# Brackets keep the words of `<path>` and `list<int>`; what they name cannot open or close a tag.
_TAG = re.compile(r"<([/!?|]*[A-Za-z][^<>]{0,200})>")


def plain(text: str, limit: int) -> str:
    """Visible text: lines without indents, gaps, tags or escape codes; a cut is marked by `…`."""
    # The slice keeps megabytes from costing more than their beginning.
    seen = _TAG.sub(r"[\1]", visible(clean(text[: limit * 4])))
    lines = (" ".join(line.split()) for line in seen.split("\n"))
    block = "\n".join(line for line in lines if line)
    return block if len(block) <= limit else block[: limit - 1].rstrip() + "…"


def is_plain(text: str) -> bool:
    """Whether nothing of a line is hidden: it is shown as it is, or not at all."""
    return text.isprintable() and visible(text) == text


def is_shallow(value: Any, levels: int) -> bool:
    """Whether a JSON value is nested at most that deep. Does not recurse."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(levels):
        if not level:
            return True
        level = [
            part
            for each in level
            for part in (each.values() if type(each) is dict else each)
            if type(part) in _CONTAINERS
        ]
    return not level


def is_small(value: Any) -> bool:
    """Whether a value can be shown as it is: finite, short, shallow, nothing hidden in it."""
    if not is_shallow(value, MAX_VALUE_DEPTH):
        return False
    try:
        if len(json.dumps(value, allow_nan=False)) > MAX_VALUE_CHARS:
            return False
    except ValueError:  # not finite
        return False
    return all(visible(text) == text for text in _strings(value))


def _strings(value: Any) -> list[str]:
    """Every text of a shallow value, keys too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for each in (*value, *value.values()) for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return []
