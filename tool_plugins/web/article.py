"""Finds the article of a page, by trafilatura. Its door."""

import logging
from typing import Any

MIN_SHARE = 0.05
MIN_CHARS = 200
"""A find that is shorter than both is no article but the odd line of a page of something else."""

MAX_PLAIN_ELEMENTS = 20

_TAGS = {"lb": "br", "row": "tr", "quote": "blockquote", "ref": "a"}
_LISTS = ("ul", "ol", "dl")
_INLINE = {"#b": "b", "#i": "i", "#t": "code", "#u": "u", "#sub": "sub", "#sup": "sup"}

# It reports each page it finds nothing in as an error.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


def find_article(root: Any, url: str) -> Any | None:
    """The elements of the article, in a tree of its own; None if there is none."""
    from trafilatura import bare_extraction

    # It takes text in `pre` for a quotation, unless it looks like code, and fills its lines anew.
    verbatim = list(root.iter("pre"))
    for element in verbatim:
        element.tag = "code"
    try:
        found: Any = bare_extraction(
            root,
            url=url or None,
            output_format="xml",
            include_comments=False,
            include_formatting=True,
            include_links=True,
            include_tables=True,
            with_metadata=False,
        )
    except MemoryError:
        raise
    except Exception:
        # It meets trees its authors never saw, and everything it may raise means the same here.
        return None
    finally:
        for element in verbatim:
            element.tag = "pre"
    if found is None:
        return None
    size = _size(found.body)
    if size == 0 or (size < MIN_CHARS and size < _size(root) * MIN_SHARE):
        return None
    if len(found.body) == 1 and not len(found.body[0]) and _count(root) > MAX_PLAIN_ELEMENTS:
        return None  # its last resort: all words of the page in one paragraph
    for element in found.body.iter("*"):
        element.tag = _html(element)
    return found.body


def _size(root: Any) -> int:
    return sum(len(text.strip()) for text in root.itertext())


def _count(root: Any) -> int:
    return sum(1 for _ in root.iter("*"))


def _html(element: Any) -> str:
    """The element of HTML for one of trafilatura's, which are those of TEI."""
    tag, kind = element.tag, element.get("rend", "")
    if tag == "hi":
        return _INLINE.get(kind, "i")
    if tag == "list":
        return kind if kind in _LISTS else "ul"
    if tag == "item":
        return kind[:2] if kind[:3] in ("dt-", "dd-") else "li"
    if tag == "head":
        return kind if kind in ("h1", "h2", "h3", "h4", "h5", "h6") else "h3"
    if tag == "cell":
        return "th" if element.get("role") == "head" else "td"
    if tag == "code":
        return "pre" if "\n" in "".join(element.itertext()) else "code"
    if tag == "ref" and element.get("target"):
        element.set("href", element.get("target"))
    return _TAGS.get(tag, tag)
