"""Links of a page, as a caller can use them."""

from collections.abc import Iterable

from tool_plugins.errors import ToolError

from .url import Url

MAX_LINKS = 50
MAX_TEXT_CHARS = 200


def absolute_links(links: Iterable[tuple[str, str]], base: Url) -> list[tuple[str, str]]:
    """The first `MAX_LINKS` that web_fetch could take: absolute, http or https, each once."""
    found: dict[str, str] = {}
    for text, reference in links:
        try:
            url = str(base.join(reference.strip().replace(" ", "%20")))
        except ToolError:
            continue
        words = " ".join(text.split())[:MAX_TEXT_CHARS]
        if words or url not in found:
            found.setdefault(url, words)
        if len(found) == MAX_LINKS:
            break
    return [(text, url) for url, text in found.items()]
