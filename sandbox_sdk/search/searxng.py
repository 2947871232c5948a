"""Searches with an instance of SearXNG.

https://docs.searxng.org/dev/search_api.html: GET /search with q, format=json and time_range. It
answers a page of about ten to thirty results, however many are wanted, and 403 where JSON is not
among the `search.formats` of its settings.
"""

from collections.abc import Sequence
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from .api import MISCONFIGURED, Answer, Api, http_error
from .domains import with_sites
from .provider import Hit, Query, SearchProvider
from .reading import items, text
from .settings import SearxngSettings

MAX_QUERY_CHARS = 1000
MAX_QUERY_WORDS = 100


class SearxngSearch(SearchProvider):
    """An instance of SearXNG. Domains are asked for with `site:`, which its engines may ignore."""

    name = "searxng"

    def __init__(self, settings: SearxngSettings) -> None:
        self._api = Api(self.name, settings, _explain)

    async def search(self, query: Query) -> Sequence[Hit]:
        """See `SearchProvider.search`."""
        asked = {"q": with_sites(query, MAX_QUERY_CHARS, MAX_QUERY_WORDS), "format": "json"}
        if query.recency is not None:
            asked["time_range"] = query.recency
        return [
            Hit(text(each, "title"), text(each, "url"), text(each, "content"), _date(each))
            for each in items(await self._api.get("/search", asked, {}), "results")
        ]


def _date(result: dict[str, Any]) -> str | None:
    return text(result, "publishedDate") or None


def _explain(answer: Answer) -> ToolError | None:
    if answer.status == 401:
        return ToolError(
            ErrorCode.PERMISSION_DENIED,
            "searxng does not accept the user name and password it was given",
            hint=f"the operator must check the url; {MISCONFIGURED}",
            details={"status": answer.status},
        )
    if answer.status == 403:
        hint = "the operator must add json to search.formats in the settings of the instance"
        return http_error("searxng", answer, hint=f"{hint}; {MISCONFIGURED}")
    return None
