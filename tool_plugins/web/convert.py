"""Turns the bytes of a page into Markdown. Pure: fetches nothing, runs nothing, expands nothing.

Left out of article and full: scripts, styles, comments, what the page's own CSS or attributes hide,
links that are not http or https, data: URIs, and characters nobody sees. Style sheets that would
have to be loaded are not known, so what only they hide is still there.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.invisible import visible, well_formed

from .charset import decode, looks_binary

if TYPE_CHECKING:
    from .clean import Tree

Mode = Literal["article", "full", "raw"]

MAX_CONTENT_CHARS = 5_000_000
MAX_LINKS = 50
MAX_ARTICLE_ELEMENTS = 60_000
MAX_ARTICLE_DEPTH = 150

_HTML = ("text/html", "application/xhtml+xml")
_MARKUP_STARTS = (b"<!doctype html", b"<html", b"<head", b"<body", b"<!--")
_TEXTS = ("json", "xml", "javascript", "ecmascript", "yaml", "toml", "csv", "sql", "graphql")
_UNKNOWN = ("", "application/octet-stream", "binary/octet-stream")


@dataclass(slots=True)
class Page:
    """A page as text. `links` are pairs of text and absolute URL, those of the content first.

    `note` is what a reader should know about the conversion; empty where there is nothing to say.
    """

    title: str
    content: str
    links: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""


def convert(body: bytes, *, content_type: str, charset: str | None, url: str, mode: Mode) -> Page:
    """The page that `body` is, as `mode` says.

    article: the main text; where none is found, all of it, and `note` says so. full: all of it.
    raw: the text as it was sent, only without NUL and lone surrogates; invisible and control
    characters are kept there. What is text but not HTML is given as it is in every mode, in article
    and full without what cannot be seen. `charset` is the server's word, and may be wrong.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is no text; TOO_LARGE, it has more tags than can be
            converted.
    """
    kind = content_type.partition(";")[0].strip().lower()
    is_html = _is_html(kind, body)
    if (not is_html and not _is_text(kind)) or looks_binary(body):
        raise ToolError(
            ErrorCode.UNSUPPORTED_CONTENT,
            f"the content is {kind[:100]!r} and no text" if kind else "the content is no text",
            hint="use web_download to keep it as a file",
            details={"content_type": kind[:100]},
        )
    markup = is_html or "xml" in kind
    text = decode(body, charset or "", markup=markup)
    if mode == "raw" or not is_html:
        return Page("", well_formed(text) if mode == "raw" else visible(text))
    from .clean import parse  # lxml, for those who need it

    tree = parse(text, url, xhtml=kind == _HTML[1])
    if tree is None:
        return Page("", "", note="The page is empty.")
    return _article(tree, url) if mode == "article" else _full(tree)


def _is_html(kind: str, body: bytes) -> bool:
    start = body[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return kind in _HTML or (kind in _UNKNOWN and start.startswith(_MARKUP_STARTS))


def _is_text(kind: str) -> bool:
    if kind in _UNKNOWN or kind.startswith(("text/", "message/")):
        return True
    return kind.startswith("application/") and kind.endswith(_TEXTS)


def _full(tree: "Tree", note: str = "") -> Page:
    from .markdown import to_markdown

    content, cut = to_markdown(tree.root, MAX_CONTENT_CHARS)
    notes = [note] if note and content else []
    if not content:
        notes.append(_why_empty(tree))
    if cut:
        notes.append(f"Only the first {MAX_CONTENT_CHARS} characters are here.")
    if tree.cut:
        notes.append("The page is nested too deeply: what follows is not here.")
    return Page(tree.title, content, _first_links(tree, content), " ".join(notes))


def _why_empty(tree: "Tree") -> str:
    if tree.forward:
        return f"The page has no text; it leads on to {tree.forward}"
    if tree.hidden:
        return "All text of the page is hidden by its style; mode='raw' shows its source."
    return "The page has no text of its own; its scripts may make it. mode='raw' shows its source."


def _article(tree: "Tree", url: str) -> Page:
    from .markdown import to_markdown

    large = "The page is too large to look for its article: this is all of it."
    if tree.elements > MAX_ARTICLE_ELEMENTS or tree.depth > MAX_ARTICLE_DEPTH or tree.cut:
        return _full(tree, large)
    from .article import find_article

    try:
        found = find_article(tree.root, url)
    except MemoryError:
        return _full(tree, large)  # this takes a tenth of it
    if found is None:
        return _full(tree, "No article was found: this is all of the page.")
    content, cut = to_markdown(found, MAX_CONTENT_CHARS)
    note = f"Only the first {MAX_CONTENT_CHARS} characters are here." if cut else ""
    return Page(tree.title, content, _first_links(tree, content), note)


def _first_links(tree: "Tree", content: str) -> list[tuple[str, str]]:
    """Those in the content first, in the page's order."""
    inside = sorted(tree.links, key=lambda link: f"({link[1]})" not in content)
    return inside[:MAX_LINKS]
