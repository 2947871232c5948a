"""Parses a page and takes out of its tree what a reader of the page would not see.

Nothing of a page is run, loaded or expanded: the parser knows no entities but those of HTML.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any
from urllib.parse import urljoin, urlsplit

from lxml import etree, html  # pyright: ignore[reportAttributeAccessIssue] - it has no types

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.invisible import one_line, visible

from .deep import flatten
from .styles import Styles

MAX_TAGS = 1_500_000
MAX_PROLOG_CHARS = 4096
MAX_TITLE_CHARS = 300
MAX_FORMULA_CHARS = 2000
MAX_LINK_CHARS = 2000
MAX_LINK_TEXT_CHARS = 200
MAX_LINKS_LOOKED_AT = 2000

_GONE = (
    *("script", "style", "noscript", "template", "svg", "canvas", "audio", "video", "object"),
    *("embed", "iframe", "applet", "datalist", "title"),
)
_HIDDEN = "is-hidden"
_VOID_NAMES = "area base br col embed frame hr img input link meta param source track wbr"
_VOID = frozenset(_VOID_NAMES.split())
# The parser takes characters that no tree may be given afterwards.
_BAD_REFERENCE = re.compile(
    r"&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|7f|fff[ef])|0*(?:[0-8]|1[124-9]|2\d|3[01]|127"
    r"|6553[45]))(?:;|(?![0-9a-f]))",
    re.IGNORECASE,
)
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]{0,1000}\[", re.IGNORECASE)
_SUBSET_END = re.compile(r"\]\s*>")
_CLOSED = re.compile(r"<([a-zA-Z][\w:-]*)((?:\s[^<>]*)?)/>")
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language|lang|highlight(?:-source)?|brush:)[-\s]*([\w+#.-]{1,30})"
)
_LINES = frozenset(("div", "li", "p", "tr"))
_REFRESH = re.compile(r"\s*[\d.]*\s*[;,]\s*(?:url\s*=)?\s*[\"']?([^\"']+)", re.IGNORECASE)
_UNSAFE_IN_MARKDOWN = {ord(each): f"%{ord(each):02X}" for each in ' ()<>"\\`|{}^*'}


@dataclass(slots=True)
class Tree:
    """A cleaned page: its root, and what was read from it on the way.

    `cut` says that it was nested too deeply to be read to its end. `forward` is where the page
    sends its readers to by itself.
    """

    root: Any
    title: str = ""
    links: list[tuple[str, str]] = field(default_factory=list)
    elements: int = 0
    depth: int = 0
    hidden: int = 0
    cut: bool = False
    forward: str = ""

    def has_text(self) -> bool:
        """Whether anything is left to read."""
        return any(not text.isspace() for text in self.root.itertext())


def parse(text: str, url: str, *, xhtml: bool = False) -> Tree | None:
    """The cleaned tree of an HTML page that came from `url`; None if there is no element in it.

    Links are absolute and http or https, or no links any more.

    Raises:
        ToolError: TOO_LARGE, it has more than `MAX_TAGS` tags, or memory does not suffice.
    """
    if text.count("<") > MAX_TAGS:
        raise _too_large(f"has more than {MAX_TAGS} tags")
    root, cut = _root(_prepared(text, xhtml=xhtml))
    if root is None:
        return None
    base = _base(root, url)
    tree = Tree(root, _title(root), cut=cut, forward=_forward(root, base))
    styles = Styles(_sheets(root))
    etree.strip_elements(root, *_GONE, etree.Comment, etree.ProcessingInstruction, with_tail=False)
    _judge(tree, styles, base, url)
    etree.strip_elements(root, _HIDDEN, with_tail=False)
    _tidy(root)
    tree.links = _links(root.iter("a"))
    return tree


def _prepared(text: str, *, xhtml: bool) -> str:
    text = _BAD_REFERENCE.sub("", visible(text))
    if found := _DOCTYPE.search(text[:MAX_PROLOG_CHARS]):
        # What it declares would be taken for text. Nothing of it is ever expanded.
        end = _SUBSET_END.search(text, found.end()) or found
        text = text[: found.start()] + text[end.end() :]
    return _CLOSED.sub(_opened, _told(text)) if xhtml else text


def _told(text: str) -> str:
    """The page with its CDATA sections written as HTML knows text."""
    first, *others = text.split("<![CDATA[")
    pieces = [first]
    for each in others:
        inside, _, after = each.partition("]]>")
        pieces += (inside.replace("&", "&amp;").replace("<", "&lt;"), after)
    return "".join(pieces)


def _opened(found: re.Match[str]) -> str:
    """`<script/>` is an element of its own in XHTML and would never end in HTML."""
    name, rest = found.groups()
    return found[0] if name.lower() in _VOID else f"<{name}{rest}></{name}>"


def _root(text: str) -> tuple[Any, bool]:
    """The root element, and whether the end of the page was too deep for the parser."""
    root, deep = _parsed(text)
    if deep:
        root, deep = _parsed(flatten(text))
    return root, deep


def _parsed(text: str) -> tuple[Any, bool]:
    parser = html.HTMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError:
        # HTML knows no syntax errors: the parser has run into a limit of its own.
        raise _too_large("does not fit into memory") from None
    errors = {error.type_name for error in parser.error_log}
    if "ERR_NO_MEMORY" in errors:
        raise _too_large("does not fit into memory")
    return root, "ERR_RESOURCE_LIMIT" in errors


def _too_large(why: str) -> ToolError:
    return ToolError(
        ErrorCode.TOO_LARGE,
        f"the page {why}",
        hint="use mode='raw', or web_download and a program of your own",
    )


def _title(root: Any) -> str:
    for each in root.iter("title"):
        if next(each.iterancestors("svg"), None) is None and (text := "".join(each.itertext())):
            return one_line(text, MAX_TITLE_CHARS)
    for each in root.iter("meta"):
        if each.get("property", each.get("name", "")).lower() == "og:title":
            return one_line(each.get("content", ""), MAX_TITLE_CHARS)
    return ""


def _base(root: Any, url: str) -> str:
    for each in root.iter("base"):
        if each.get("href"):
            return absolute(url, each.get("href")) or url
    return url


def _forward(root: Any, base: str) -> str:
    for each in root.iter("meta"):
        if each.get("http-equiv", "").lower() == "refresh":
            found = _REFRESH.match(each.get("content", "")[:MAX_LINK_CHARS])
            return absolute(base, found[1]) or "" if found else ""
    return ""


def _sheets(root: Any) -> Iterable[str]:
    for each in root.iter("style"):
        if "print" not in each.get("media", "").lower():
            yield "".join(each.itertext())


def _judge(tree: Tree, styles: Styles, base: str, url: str) -> None:
    """Marks what is hidden, makes links absolute, and measures the tree."""
    depth = 0
    for event, element in etree.iterwalk(tree.root, events=("start", "end")):
        if event == "end":
            depth -= 1
            continue
        depth += 1
        tree.elements += 1
        tree.depth = max(tree.depth, depth)
        tag = element.tag
        attributes = element.attrib
        if (attributes or styles.any or tag == "dialog") and styles.hide(tag, attributes):
            tree.hidden += 1
            element.tag = _HIDDEN
        elif tag == "a" or tag == "img":
            _point(element, "href" if tag == "a" else "src", base, url)


def _tidy(root: Any) -> None:
    """Puts right what neither trafilatura nor the writer of Markdown can make sense of."""
    for code in list(root.iter("pre", "listing", "xmp")):
        if code.getroottree().getroot() is root:  # else one around it has just been flattened
            _flatten_code(code)
    for caption in list(root.iter("caption")):
        table = caption.getparent()
        if table is not None and table.tag == "table":
            caption.tag, caption.tail = "p", None
            table.addprevious(caption)
    for entry in list(root.iter("dd", "dt")):
        around = entry.getparent()
        if around is not None and around.tag in ("dd", "dt"):
            around.addnext(entry)  # the one before it was never closed
    for formula in list(root.iter("math")):
        if source := _formula(formula):
            formula.clear(keep_tail=True)
            formula.tag, formula.text = "code", f"${source}$"


def _flatten_code(element: Any) -> None:
    """Leaves of code its text with its own lines, and its language as the class."""
    pieces = [element.text or ""]
    for each in element.iterdescendants():
        if each.tag == "br" or (each.tag in _LINES and pieces[-1][-1:] not in ("", "\n")):
            pieces.append("\n")
        pieces += (each.text or "", each.tail or "")
    language = _language(element)
    element.clear(keep_tail=True)
    element.tag, element.text = "pre", "".join(pieces)
    if language:
        element.set("class", f"language-{language}")


def _language(element: Any) -> str:
    around = element.getparent()
    above = around.getparent() if around is not None else None
    for place in (element, next(element.iter("code"), None), around, above):
        if place is not None and (found := _LANGUAGE.search(place.get("class", "")[:1000])):
            return found[1]
    return ""


def _formula(element: Any) -> str:
    source = element.get("alttext")
    for each in element.iter("annotation") if not source else ():
        if "tex" in each.get("encoding", ""):
            source = each.text
    return one_line(source or "", MAX_FORMULA_CHARS)


def _point(element: Any, name: str, base: str, url: str) -> None:
    reference = element.get(name)
    if reference is None:
        return
    target = absolute(base, reference)
    # What points into the same page is of no use to one who reads its text.
    if target and not (
        name == "href" and "#" in target and target.split("#")[0] == url.split("#")[0]
    ):
        element.set(name, target)
    else:
        del element.attrib[name]


@lru_cache(maxsize=1024)
def absolute(base: str, reference: str) -> str | None:
    """The http or https URL that `reference` means on a page of `base`, fit for Markdown."""
    reference = "".join(visible(reference).split("\n")).replace("\t", "").strip()
    if len(reference) > MAX_LINK_CHARS:
        return None
    try:
        target = urljoin(base, reference)
        parts = urlsplit(target)
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.netloc or len(target) > MAX_LINK_CHARS:
        return None
    return target.translate(_UNSAFE_IN_MARKDOWN)


def _links(anchors: Iterable[Any]) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for each in islice(anchors, MAX_LINKS_LOOKED_AT):
        if target := each.get("href"):
            text = " ".join(islice(each.itertext(), 50))
            if not text.strip():
                text = next((image.get("alt", "") for image in each.iter("img")), "")
            text = one_line(text, MAX_LINK_TEXT_CHARS)
            if text or target not in found:
                found[target] = found.get(target) or text
    return [(text, target) for target, text in found.items()]
