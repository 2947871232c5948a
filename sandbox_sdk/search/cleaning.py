"""Makes plain, short text and plain addresses of what search engines answer."""

import html
import re
from urllib.parse import quote, urlsplit

from sandbox_sdk.egress.rules import parse_host
from tool_plugins.invisible import IGNORABLE, SELECTORS, SURROGATES

MAX_RAW_CHARS = 4_000
MAX_URL_CHARS = 2_048
ROUNDS = 3
ELLIPSIS = "…"

_ELEMENTS = (
    "a abbr address applet area article aside audio b base bdi bdo big blink blockquote body "
    "br button canvas caption center cite code col colgroup data datalist dd del details dfn "
    "dialog dir div dl dt em embed fieldset figcaption figure font footer form frame frameset "
    "h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input ins kbd label legend li "
    "link main map mark marquee math menu meta meter nav nobr noframes noscript object ol "
    "optgroup option output p param picture pre progress q rp rt ruby s samp script search "
    "section select slot small source span strike strong style sub summary sup svg table "
    "tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr"
)
ELEMENTS = frozenset(_ELEMENTS.split())
# No two parts of it can match the same character, so it takes time in proportion to the text.
_TAG = re.compile(r"<(/?[a-z][^<>]*)>|<[!?][^<>]*>", re.IGNORECASE | re.ASCII)
# Controls and separators become blanks.
_BLANKS = re.compile(r"[\s\x00-\x20\x7f-\xa0\u2028\u2029]+")
# No selector is needed in a line of a search result; the empty Braille cell looks like a blank.
_INVISIBLE = re.compile(f"[{IGNORABLE}{SELECTORS}{SURROGATES}\u2800]")


def plain(raw: str, max_chars: int) -> str:
    """One line of visible text without markup, cut to a length."""
    text = raw[:MAX_RAW_CHARS]
    for _ in range(ROUNDS):  # what is escaped twice shows its tags the second time
        before, text = text, html.unescape(_untagged(_INVISIBLE.sub("", text)))
        if text == before:
            break
    text = visible(_untagged(_INVISIBLE.sub("", text)))
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + ELLIPSIS


def visible(raw: str) -> str:
    """The text on one line, without characters that nobody sees."""
    return _BLANKS.sub(" ", _INVISIBLE.sub("", raw)).strip()


def _untagged(text: str) -> str:
    """The text without elements of HTML. `vector<int>` and `a < b` stay."""

    def replace(found: re.Match[str]) -> str:
        inside = found[1]
        if inside is None:  # a comment, a declaration
            return " "
        name = re.split(r"[\s/]", inside.strip("/"), maxsplit=1)[0].lower()
        return " " if name in ELEMENTS or "-" in name or "=" in inside else found[0]

    return _TAG.sub(replace, text)


def address(raw: str) -> tuple[str, str] | None:
    """The URL in ASCII, and its host; None where it is not one to open.

    Only http and https, with a host and without a user name, are.
    """
    raw = raw.strip()
    if len(raw) > MAX_URL_CHARS or _BLANKS.search(raw) or _INVISIBLE.search(raw) or "\\" in raw:
        return None
    try:
        parts = urlsplit(raw)
        port = parts.port
        host = parse_host(parts.hostname or "")[0]
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        return None
    where = f"[{host}]" if ":" in host else host
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
    fragment = quote(parts.fragment, safe="/%:@!$&'()*+,;=~?")
    url = f"{parts.scheme}://{where}" + (f":{port}" if port is not None else "") + path
    return url + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else ""), host
