"""Makes a page that is nested out of all reason flat enough to be parsed.

The parser stops at 2048 elements within each other and drops the rest of the page, so where it
did, the tags that only group and carry no attributes are taken out of the source.
"""

import re
from collections import Counter

MAX_DEPTH = 500
_GROUP_NAMES = (
    "abbr address article aside b big blockquote center cite code del details dfn div dl em "
    "fieldset figure font footer form header i ins kbd main mark nav ol q s samp section small "
    "span strike strong sub sup tt u ul var"
)
_GROUPS = frozenset(_GROUP_NAMES.split())
_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)([^<>]*)>")


def flatten(text: str) -> str:
    """The source without plain grouping tags that are more than `MAX_DEPTH` deep."""
    pieces: list[str] = []
    opened: list[tuple[str, bool]] = []
    number: Counter[str] = Counter()
    at = 0
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        if name not in _GROUPS:
            continue
        kept = True
        if not tag[1]:
            kept = len(opened) < MAX_DEPTH or not _plain(tag[3])
            opened.append((name, kept))
            number[name] += 1
        elif number[name]:
            while True:
                last, kept = opened.pop()
                number[last] -= 1
                if last == name:
                    break
        if not kept:
            pieces += (text[at : tag.start()], " ")
            at = tag.end()
    pieces.append(text[at:])
    return "".join(pieces)


def _plain(attributes: str) -> bool:
    """Whether the element could not be hidden: then nothing is lost with its tags."""
    return not re.search(r"hidden|style|class|id", attributes, re.IGNORECASE)
